package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// fakeSet stands in for a pinned set: it outlives daemons.
type fakeSet struct {
	hosttest.Kernel
	mu         sync.Mutex
	loaded     int
	list       []bpf.Workload
	tables     map[uint32][]uint64
	groups     map[uint64]uint32
	tasks      map[uint32]int
	confined   map[int]bool
	container  map[uint32]bool
	installErr error
	pending    chan abi.Event
	strict     bool
	strictOf   map[uint32]bool
	real       bool // groups are those of the host
	roll       func() ([]bpf.Marked, error)
}

func newFakeSet() *fakeSet {
	return &fakeSet{tables: map[uint32][]uint64{}, groups: map[uint64]uint32{}, tasks: map[uint32]int{}, confined: map[int]bool{}, container: map[uint32]bool{}, pending: make(chan abi.Event, 100)}
}

// now returns a copy of what the set has of a workload, nil if nothing: the daemon goes on.
func (k *fakeSet) now(id uint32) *bpf.Workload {
	k.mu.Lock()
	defer k.mu.Unlock()
	if w := k.of(id); w != nil {
		copied := *w
		return &copied
	}
	return nil
}

// change changes what the set has.
func (k *fakeSet) change(how func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	how()
}

func (k *fakeSet) of(id uint32) *bpf.Workload {
	for i := range k.list {
		if k.list[i].ID == id {
			return &k.list[i]
		}
	}
	return nil
}

func (k *fakeSet) Claim(name string) (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id := uint32(len(k.list) + 1)
	k.list = append(k.list, bpf.Workload{ID: id, Name: name})
	return id, nil
}

func (k *fakeSet) Release(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.real {
		k.forgetGone()
	}
	for _, of := range k.groups {
		if of == id {
			return bpf.ErrInUse
		}
	}
	k.list = slices.DeleteFunc(k.list, func(w bpf.Workload) bool { return w.ID == id })
	return nil
}

// fakeEnded is the number that retired groups get.
const fakeEnded = 99

func (k *fakeSet) Retire(id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for group, of := range k.groups {
		if of == id {
			k.groups[group] = fakeEnded
		}
	}
	k.list = slices.DeleteFunc(k.list, func(w bpf.Workload) bool { return w.ID == id })
	return nil
}

func (k *fakeSet) SetContainer(id uint32, container bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.container[id] = container
	return nil
}

func (k *fakeSet) Install(id uint32, words []uint64, mode abi.Mode) (uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.installErr != nil {
		return 0, k.installErr
	}
	w := k.of(id)
	k.tables[id] = slices.Clone(words)
	w.Generation++
	if w.Mode != abi.Lockdown { // as the kernel side does
		w.Mode = mode
	}
	return w.Generation, nil
}

func (k *fakeSet) SetMode(id uint32, mode abi.Mode) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.of(id).Mode = mode
	return nil
}

func (k *fakeSet) Shift(id uint32, mode abi.Mode) (abi.Mode, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.of(id)
	if w.Mode != abi.Lockdown {
		w.Mode = mode
	}
	return w.Mode, nil
}

func (k *fakeSet) Mode(id uint32) (abi.Mode, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.of(id).Mode, nil
}

func (k *fakeSet) Confine(group uint64, id uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of(id).Generation == 0 {
		return errors.New("confined before there is a plan")
	}
	k.groups[group] = id
	return nil
}

func (k *fakeSet) Workloads() ([]bpf.Workload, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.list), nil
}

func (k *fakeSet) Groups() (map[uint64]uint32, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.real {
		k.forgetGone()
	}
	return maps.Clone(k.groups), nil
}

// forgetGone does what the hook of rmdir does, for groups of runs.
func (k *fakeSet) forgetGone() {
	alive := map[uint64]bool{}
	names, _ := cgroup.Children(cgroup.Parent)
	for _, rel := range names {
		id, _ := cgroup.ID(rel)
		alive[id] = true
	}
	maps.DeleteFunc(k.groups, func(id uint64, _ uint32) bool { return !alive[id] })
}

func (k *fakeSet) Tasks() (map[uint32]int, error)    { return k.tasks, nil }
func (k *fakeSet) Table(id uint32) ([]uint64, error) { return k.tables[id], nil }
func (k *fakeSet) Handled() abi.ActionMask           { return abi.DefaultActions }
func (k *fakeSet) SetStrict(id uint32, strict bool) error {
	k.change(func() {
		if k.strictOf == nil {
			k.strictOf = map[uint32]bool{}
		}
		k.strictOf[id] = strict
	})
	return nil
}

func (k *fakeSet) Strict() bool                    { return k.strict }
func (k *fakeSet) Used() int                       { return 100 }
func (k *fakeSet) Words() int                      { return 1 << 30 }
func (k *fakeSet) Confined(pid int) (bool, error)  { return k.confined[pid], nil }
func (k *fakeSet) Count(id uint32, delivered bool) { k.Account(id, delivered) }

func (k *fakeSet) Roll() ([]bpf.Marked, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.roll == nil {
		return nil, nil
	}
	return k.roll()
}

func (k *fakeSet) Accounted(id uint32) (delivered, lost uint64) {
	if w := k.now(id); w != nil {
		return w.Delivered, w.Lost
	}
	return 0, 0
}

func (k *fakeSet) Account(id uint32, delivered bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch w := k.of(id); {
	case w == nil:
	case delivered:
		w.Delivered++
	default:
		w.Lost++
	}
}

func (k *fakeSet) Events() (delivery.Source, error) {
	return hosttest.Source(k.pending), nil
}

// yard is a host for daemons: folders, a configuration and a fake set.
type yard struct {
	t   *testing.T
	set *fakeSet
	dir string
	machine
	said bytes.Buffer
	seq  uint64 // of the last denial
}

const yardConfig = `
socket: sock
log: {file: log, format: json}
workloads:
  - name: one
    match: {cgroup: stockade-test-none}
    principal: User::"one"
    policies: one.cedar
`

const (
	permitA = `@id("a") permit (principal, action, resource in file_system::Dir::"/a");` + "\n"
	permitB = `@id("b") permit (principal, action, resource in file_system::Dir::"/b");` + "\n"
)

func newYard(t *testing.T) *yard {
	t.Helper()
	if _, err := cgroup.Mountpoint(); err != nil && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	y := &yard{t: t, set: newFakeSet(), dir: t.TempDir()}
	y.machine = machine{host.Machine{
		Check: func() error { return nil },
		Load:  func(bpf.Options) (host.Kernel, error) { y.set.loaded++; return y.set, nil },
		Adopt: func(string) (host.Kernel, error) {
			if y.set.loaded == 0 {
				return nil, fs.ErrNotExist
			}
			return y.set, nil
		},
		Bury: func(string, func(bpf.Reader) error) error { return nil },
		Pins: filepath.Join(y.dir, "pins"), RunPins: filepath.Join(y.dir, "runs"), State: filepath.Join(y.dir, "state"),
		Lasting: filepath.Join(y.dir, "lasting"),
	}}
	y.write("agent.yaml", yardConfig)
	y.write("one.cedar", permitA)
	return y
}

func (y *yard) write(name, text string) {
	y.t.Helper()
	path := filepath.Join(y.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		y.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		y.t.Fatal(err)
	}
}

func (y *yard) config() string { return filepath.Join(y.dir, "agent.yaml") }

// up starts a daemon; the function returned kills it: it leaves no trace but
// what it wrote.
func (y *yard) up() (*Daemon, func()) {
	y.t.Helper()
	d, err := y.machine.open(y.config(), &y.said)
	if err != nil {
		y.t.Fatal(err)
	}
	d.served = true
	return d, func() {
		if err := errors.Join(d.groups.tree.Close(), d.close()); err != nil {
			y.t.Error(err)
		}
	}
}

// serving starts a daemon that answers; stop ends it in order.
func (y *yard) serving() (client *api.Client, stop func() error) {
	y.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- y.machine.serve(ctx, y.config(), &y.said) }()
	client = api.NewClient(filepath.Join(y.dir, "sock"))
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := client.Status(ctx); err == nil {
			break
		}
		select {
		case err := <-done:
			y.t.Fatalf("the daemon ended: %v\n%s", err, y.said.String())
		default:
		}
		if time.Now().After(end) {
			y.t.Fatal("the daemon does not answer")
		}
	}
	return client, func() error { cancel(); return <-done }
}

// want demands what a daemon's only workload is.
func (y *yard) want(s api.Status, generation uint32, mode, origin string) {
	y.t.Helper()
	if len(s.Workloads) != 1 {
		y.t.Fatalf("%+v", s)
	}
	w := s.Workloads[0]
	if got := fmt.Sprint(w.Generation, w.Mode, w.Origin); got != fmt.Sprint(generation, mode, origin) {
		y.t.Errorf("generation, mode and origin: %s, want %d %s %s", got, generation, mode, origin)
	}
}

func (y *yard) status(d *Daemon) api.Status {
	y.t.Helper()
	s, err := d.Status()
	if err != nil {
		y.t.Fatal(err)
	}
	return s
}

// logged counts the denials of a workload and a path in the log.
func (y *yard) logged(name, path string) (n int) {
	y.t.Helper()
	text, err := os.ReadFile(filepath.Join(y.dir, "log"))
	if err != nil {
		y.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e struct{ Workload, Path string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			y.t.Fatalf("%s: %v", line, err)
		}
		if e.Workload == name && e.Path == path {
			n++
		}
	}
	return n
}

// deliver has a daemon deliver a denial as if it had been read.
func deliver(d *Daemon, e abi.Event) { d.out.deliver(d.out.known(&e)) }
