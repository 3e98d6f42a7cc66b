package evidence

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Keys of the host, and of another.
var (
	hosts  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	others = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
)

func public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// options are those of a host whose clocks go on by a quarter of a second a look.
func options() Options {
	now, up := time.Date(2026, 3, 1, 12, 0, 0, 987654321, time.FixedZone("", 7200)), 90*time.Minute
	return Options{
		Workload: "agent-7", Key: hosts,
		Host: Host{Name: "node-1", BootID: "0b9e4c1e-6f0a-4a39-9a9f-2f6f0f3f7a11", Kernel: "6.12.0", Version: "v0.9.0"},
		Now: func() time.Time {
			now = now.Add(time.Second / 4)
			return now
		},
		Boot: func() time.Duration {
			up += time.Second / 4
			return up
		},
	}
}

// begin begins a bundle in a folder of the test.
func begin(t testing.TB, o Options) *Bundle {
	t.Helper()
	b, err := Create(filepath.Join(t.TempDir(), "evidence.tar"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Abandon)
	return b
}

// add adds a part whose Take writes a text.
func add(t testing.TB, b *Bundle, name, text string) {
	t.Helper()
	if err := b.Add(t.Context(), Part{Name: name, Method: "read", Take: writes(text, nil)}); err != nil {
		t.Fatal(err)
	}
}

// writes is a Take that writes a text, then fails.
func writes(text string, then error) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		if _, err := io.WriteString(w, text); err != nil {
			return err
		}
		return then
	}
}

// finish closes a bundle, and returns what it is found to hold.
func finish(t testing.TB, b *Bundle) (Summary, Report) {
	t.Helper()
	s, err := b.Close()
	if err != nil {
		t.Fatal(err)
	}
	r, err := VerifyFile(s.Path, public(hosts))
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

// small makes a bundle of two parts, one of them in a folder, and one that is missing.
func small(t testing.TB) []byte {
	t.Helper()
	b := begin(t, options())
	add(t, b, "processes.json", `[{"pid":7,"command":"agent"}]`)
	add(t, b, "net/tcp.txt", strings.Repeat("0A00020F:01BB\n", 40))
	if err := b.Missing("memory.bin", "process_vm_readv", "no process lives"); err != nil {
		t.Fatal(err)
	}
	s, _ := finish(t, b)
	text, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// member is a file of a tar.
type member struct {
	name, text string
	at         time.Time
}

func unpack(t testing.TB, text []byte) (list []member) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, member{h.Name, string(content), h.ModTime})
	}
}

func pack(t testing.TB, list []member) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, m := range list {
		if err := writeEntry(&b, m.name, m.at, []byte(m.text)); err != nil {
			t.Fatal(err)
		}
	}
	b.Write(zeros[:])
	return b.Bytes()
}

// files lists what lies in the folder of a file.
func files(t testing.TB, path string) (list []string) {
	t.Helper()
	dir, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range dir {
		list = append(list, e.Name())
	}
	return list
}

// says fails unless an error has a text.
func says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v\nwant %q in it", err, want)
	}
}
