package respond

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/socket"
	"github.com/stockade-dev/stockade/cgroup"
)

// Custody says how evidence is taken, and where it is kept.
type Custody struct {
	// Folder has the bundles for which no file is named. It is made, for its owner alone.
	Folder string
	// Key is the host's, which signs.
	Key func() (ed25519.PrivateKey, error)
	// Look starts a helper that reads what a workload may have arranged to take for ever.
	Look []string
}

// NewCustody returns that of a machine, with its folder for bundles.
func NewCustody(folder string, key func() (ed25519.PrivateKey, error)) *Custody {
	return &Custody{Folder: folder, Key: key, Look: []string{"/proc/self/exe", "look"}}
}

// Paper is a part of the evidence that the keeper of a workload has.
type Paper struct {
	Name, Method string
	Write        func(io.Writer) error
	// Missing is why it cannot be had; "": it can.
	Missing string
}

// partLimit bounds one part, in bytes.
const partLimit = 32 << 20

// parts are what helpers read: what may take long is last.
var parts = []struct{ name, method string }{
	{inspect.Processes, "/proc/PID/{stat,status,cmdline,exe,cgroup}"},
	{inspect.Descriptors, "/proc/PID/task/TID/{fd,fdinfo}"},
	{inspect.Namespaces, "/proc/PID/ns"},
	{inspect.ControlGroup, "cgroupfs"},
	{inspect.Credentials, "/proc/PID/{status,loginuid,attr/current}"},
	{inspect.Environment, "/proc/PID/environ"},
	{inspect.Executables, "/proc/PID/{maps,exe,map_files}, content hashed"},
}

// open begins a bundle.
func (c *Custody) open(workload string, at time.Time, file string) (*evidence.Bundle, error) {
	if file == "" {
		if err := os.MkdirAll(c.Folder, 0o700); err != nil {
			return nil, fmt.Errorf("evidence: %w: nothing is taken; run as root, or make room", err)
		}
		file = filepath.Join(c.Folder, fmt.Sprintf("%s-%s.tar", workload, at.UTC().Format("20060102T150405.000Z")))
	}
	key, err := c.Key()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoKey, err)
	}
	return evidence.Create(file, evidence.Options{Workload: workload, Host: thisHost(), Key: key})
}

// errNoKey is about evidence that nobody could sign.
var errNoKey = errors.New("evidence: it cannot be signed, and is not taken")

// thisHost says where evidence is taken.
func thisHost() evidence.Host {
	var h evidence.Host
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		h.Name, h.Kernel = unix.ByteSliceToString(uts.Nodename[:]), unix.ByteSliceToString(uts.Release[:])
	}
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	h.BootID = strings.TrimSpace(string(id))
	if info, ok := debug.ReadBuildInfo(); ok {
		h.Version = info.Main.Version
	}
	return h
}

// gather takes the evidence until ctx is done; what is missing then is named in it. It is
// closed by seal. What is known already comes first, whatever time is left.
func (r *response) gather(ctx context.Context, c *Custody, ask *api.Respond) (err error) {
	if r.bundle == nil {
		if r.bundle, err = c.open(r.target.Name, time.Now(), ask.Evidence); err != nil {
			return err
		}
	}
	if err := r.gatherKnown(); err != nil {
		return err
	}
	who := r.subjects()
	for _, p := range parts {
		request := inspect.Request{Collector: p.name, Processes: who, Values: ask.Values}
		if p.name == inspect.ControlGroup {
			request.Processes, request.Groups = nil, r.paths()
		}
		if err := r.part(ctx, p.name+".json", p.method, func(ctx context.Context, w io.Writer) error {
			return inspect.Run(ctx, c.Look, request, w)
		}); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errors.New("it was not all taken in time: the bundle says what is missing; allow a longer --within")
	}
	return nil
}

// socketPaper is the part about sockets, in the form of those that helpers write.
type socketPaper struct {
	Type    string          `json:"type"`
	Version int             `json:"version"`
	Sockets []socket.Socket `json:"sockets"`
}

// socketsVersion grows when a field of it goes or gets another meaning.
const (
	socketsName    = "sockets"
	socketsVersion = 1
)

// knownLimit is how long what is known already may take.
const knownLimit = 2 * time.Second

// gatherKnown takes what is known already.
func (r *response) gatherKnown() error {
	ctx, cancel := context.WithTimeout(context.Background(), knownLimit)
	defer cancel()
	if r.net != nil {
		if err := r.part(ctx, socketsName+".json", "sock_diag, before any was destroyed", writes(socketPaper{socketsName, socketsVersion, r.net.seen})); err != nil {
			return err
		}
	}
	for _, p := range r.target.Papers() {
		if p.Missing != "" {
			if err := r.bundle.Missing(p.Name, p.Method, p.Missing); err != nil {
				return err
			}
			continue
		}
		if err := r.part(ctx, p.Name, p.Method, func(_ context.Context, w io.Writer) error { return p.Write(w) }); err != nil {
			return err
		}
	}
	return nil
}

func (r *response) part(ctx context.Context, name, method string, take func(context.Context, io.Writer) error) error {
	return r.bundle.Add(ctx, evidence.Part{Name: name, Method: method, Limit: partLimit, Take: take})
}

// writes is how a part that is known already is taken.
func writes(what any) func(context.Context, io.Writer) error {
	return func(_ context.Context, w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		return enc.Encode(what)
	}
}

// SealLimit is how long the last part may take.
const SealLimit = 5 * time.Second

// seal adds what was done and found, and signs all.
func (r *response) seal() error {
	ctx, cancel := context.WithTimeout(context.Background(), SealLimit)
	defer cancel()
	told := *r.Response
	told.Standing = api.Standing{}
	if err := r.part(ctx, "response.json", "the response itself, up to the signature", writes(told)); err != nil {
		return err
	}
	summary, err := r.bundle.Close()
	if err != nil {
		r.bundle.Abandon()
		return err
	}
	r.Evidence = &summary
	return nil
}

// subjects names the processes that evidence is about.
func (r *response) subjects() (list []inspect.Process) {
	for _, pid := range both(r.pids()) {
		if start, err := inspect.Start(pid); err == nil {
			list = append(list, inspect.Process{PID: pid, Start: start})
		}
	}
	return list
}

// paths are those of the cgroups in the file system.
func (r *response) paths() (list []string) {
	mount, err := cgroup.Mountpoint()
	for _, rel := range r.target.Groups {
		if err == nil {
			list = append(list, filepath.Join(mount, rel))
		}
	}
	return list
}
