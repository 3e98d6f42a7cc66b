// Package evidence takes what tells of a workload that misbehaves, before it is stopped,
// into one file. Who has that file and the public key of the host can check it, years
// later and anywhere.
//
// The file is a tar of
//
//	processes.json ...   the parts, in the order in which they were taken
//	manifest.json        what each is, how it was taken, its SHA-256; and what is missing
//	manifest.dsse.json   a DSSE envelope: a signed in-toto Statement v1 about all of these
//
// There is one way to write it: each header, all padding and the texts of the manifest and
// of the envelope follow from what they say. Any other byte is refused.
package evidence

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a bundle, in bytes.
const (
	DefaultLimit     = 256 << 20 // of all parts, with their headers
	DefaultPartLimit = 8 << 20
	MaxLimit         = 4 << 30 // of the file: a greater one is not looked at
)

// MaxParts is how many parts there can be, those that are missing included.
const MaxParts = 256

// Options say what a bundle is about, and who signs it.
type Options struct {
	Workload string
	Host     Host
	Key      ed25519.PrivateKey
	// Limit bounds all parts together, in bytes; 0: DefaultLimit.
	Limit int64
	Now   func() time.Time     // nil: time.Now
	Boot  func() time.Duration // since boot, sleep included; nil: CLOCK_BOOTTIME
}

// Bundle is evidence that is being taken. One goroutine at a time may use it.
type Bundle struct {
	o        Options
	public   ed25519.PublicKey
	folder   *os.Root
	path     string // as it was asked for
	name     string // the last part of it
	partial  string // the name that the file has until it is whole; "": it is closed
	file     *os.File
	size     int64   // of what is in the file and is to stay
	begins   []int64 // where each part begins
	manifest Manifest
	names    names
}

// Summary says what a bundle came to.
type Summary struct {
	Path    string   `json:"path"`
	SHA256  string   `json:"sha256"` // of the file, in hex
	Size    int64    `json:"size"`   // of the file, in bytes
	KeyID   string   `json:"keyid"`
	Parts   []string `json:"parts"`
	Missing []string `json:"missing"`
}

// Create begins a bundle, for its owner alone. It has another name (path, ".partial-" and
// some letters) until it is whole; a file that is there is an error. Close or Abandon ends
// it.
func Create(path string, o Options) (*Bundle, error) {
	b, err := create(path, o)
	if err != nil {
		return nil, fmt.Errorf("evidence: %w: nothing is taken; name a new file, in a folder that is there", err)
	}
	return b, nil
}

func create(path string, o Options) (*Bundle, error) {
	o.complete()
	dir, name := filepath.Split(path)
	switch {
	case len(o.Key) != ed25519.PrivateKeySize:
		return nil, fmt.Errorf("%s: the key has %d bytes, an Ed25519 key has %d", path, len(o.Key), ed25519.PrivateKeySize)
	case o.Limit < 0 || o.Limit > MaxLimit-maxManifest-maxEnvelope-8*block: // their headers, padding, the end
		return nil, fmt.Errorf("%s: a limit of %d bytes: it is too great, or less than nothing", path, o.Limit)
	case name == "" || name == "." || name == "..":
		return nil, fmt.Errorf("%q: it names no file", path)
	}
	folder, err := os.OpenRoot(filepath.Clean(dir))
	if err != nil {
		return nil, err
	}
	// What was there is not replaced in the end either; this is to know it at once.
	if _, err := folder.Lstat(name); err == nil {
		folder.Close()
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	partial := name + partialMark + rand.Text()[:8]
	file, err := folder.OpenFile(partial, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		folder.Close()
		return nil, err
	}
	return &Bundle{
		o: o, public: o.Key.Public().(ed25519.PublicKey), folder: folder, path: path, name: name, partial: partial, file: file,
		manifest: Manifest{
			Version: version, Workload: o.Workload, Host: o.Host, Began: wall(o.Now()),
			Parts: []Record{}, Missing: []Absent{},
		},
		names: names{},
	}, nil
}

// partialMark is in the name of a bundle that is not whole, and unfinished matches such a
// name.
const partialMark = ".partial-"

var unfinished = regexp.MustCompile(regexp.QuoteMeta(partialMark) + "[A-Z2-7]{8}$")

// complete fills in what is left out.
func (o *Options) complete() {
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Boot == nil {
		o.Boot = boot
	}
}

func boot() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // it has been there since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

func wall(t time.Time) time.Time { return t.UTC().Round(0) }

// Add takes a part, until ctx is done. A part that fails, that comes too late or that
// finds no room is noted in the manifest, with as much of it as has come: that is no
// error. An error is a part of which nothing is noted: its name is refused, or the bundle
// is closed.
func (b *Bundle) Add(ctx context.Context, p Part) error {
	if err := b.enter(p.Name); err != nil {
		return err
	}
	began := b.o.Boot()
	r := Record{
		Name: p.Name, Method: p.Method, Limit: b.room(p.Limit),
		Began: wall(b.o.Now()), Boot: began.Nanoseconds(),
	}
	if r.Limit <= 0 {
		b.miss(p.Name, p.Method, b.full())
		return nil
	}
	text, cut, err := p.take(ctx, r.Limit)
	r.Seconds, r.Truncated = (b.o.Boot() - began).Seconds(), cut
	if err != nil {
		r.Error = err.Error()
	}
	if err != nil && len(text) == 0 {
		b.miss(p.Name, p.Method, r.Error)
		return nil
	}
	if err := b.keep(r, text); err != nil {
		b.miss(p.Name, p.Method, err.Error())
	}
	return nil
}

// Missing notes that a part could not be taken, and why. An error is as with Add.
func (b *Bundle) Missing(name, method, why string) error {
	if err := b.enter(name); err != nil {
		return err
	}
	b.miss(name, method, why)
	return nil
}

func (b *Bundle) enter(name string) error {
	err := errClosed
	if b.partial != "" {
		err = b.names.take(name)
	}
	if err != nil {
		return fmt.Errorf("evidence: %s: %w: it is not taken", b.path, err)
	}
	return nil
}

var errClosed = errors.New("the bundle is closed")

func (b *Bundle) miss(name, method, why string) {
	b.manifest.Missing = append(b.manifest.Missing, Absent{Name: name, Method: method, Why: why})
}

// room is how long a part can be: what is asked for, and what the whole leaves.
func (b *Bundle) room(limit int64) int64 {
	if limit <= 0 {
		limit = DefaultPartLimit
	}
	return min(limit, (b.o.Limit-b.size)/block*block-block) // a block is its header
}

func (b *Bundle) full() string {
	return fmt.Sprintf("the bundle is full: its parts have %d bytes, with their headers, of at most %d", b.size, b.o.Limit)
}

// keep writes a part. If it cannot, none of it stays.
func (b *Bundle) keep(r Record, text []byte) error {
	r.Size, r.SHA256 = int64(len(text)), digest(text)
	if err := b.append(r.Name, r.Began, text); err != nil {
		return err
	}
	b.begins = append(b.begins, b.size)
	b.manifest.Parts = append(b.manifest.Parts, r)
	b.size += block + padded(r.Size)
	return nil
}

// append writes an entry after what is there. If it cannot, it takes back what it wrote.
func (b *Bundle) append(name string, at time.Time, text []byte) error {
	err := writeEntry(io.NewOffsetWriter(b.file, b.size), name, at, text)
	if err != nil {
		err = errors.Join(err, b.file.Truncate(b.size))
	}
	return err
}

// Abandon ends a bundle and removes the file. After Close it does nothing.
func (b *Bundle) Abandon() {
	if b.partial == "" {
		return
	}
	_ = b.folder.Remove(b.partial) // what stays has a name that says that it is no bundle
	b.shut()
}

func (b *Bundle) shut() {
	b.partial = ""
	b.file.Close()
	b.folder.Close()
}
