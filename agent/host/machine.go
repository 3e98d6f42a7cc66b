package host

import (
	"os"
	"path/filepath"

	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/bpf"
)

// Places that the run of a workload uses; cgroups lie in cgroup.Parent. What is in
// LastingRoot outlives a reboot.
const (
	StateRoot   = "/run/stockade"
	PinRoot     = "/sys/fs/bpf/stockade"
	LastingRoot = "/var/lib/stockade"
)

// Folders in those of what is kept.
const (
	evidence = "evidence"   // in what lasts
	lockBook = "locks.json" // a file, there, too
	Memories = "agent"      // in the state
)

// RunWorkload is the number of the one workload, without a name, of a run's own set.
const RunWorkload = 1

// Names that no run can have: theirs begin with a small letter or a digit.
const (
	AgentPins = "@agent"
	AgentLock = "agent.lock"
)

// Machine is what the daemon is on.
type Machine struct {
	Check func() error
	Load  func(bpf.Options) (Kernel, error)
	Adopt func(dir string) (Kernel, error)
	// Succeed takes the place of another build's set, Bury ends what that leaves beside it:
	// see package bpf.
	Succeed  func(dir string, o bpf.Options, h bpf.Heir) (Kernel, error)
	Bury     func(dir string, read func(bpf.Reader) error) error
	Identity string
	Pins     string // the folder of the pinned set
	RunPins  string // the folder with that of each run in it
	State    string // folder of the memories and of the lock
	Lasting  string // folder of what outlives a reboot
}

// This is the machine itself.
var This = Machine{
	Check:    bpf.Ready,
	Load:     func(o bpf.Options) (Kernel, error) { return loaded(bpf.Load(o)) },
	Adopt:    func(dir string) (Kernel, error) { return loaded(bpf.Adopt(dir)) },
	Succeed:  func(dir string, o bpf.Options, h bpf.Heir) (Kernel, error) { return loaded(bpf.Succeed(dir, o, h)) },
	Bury:     bpf.Bury,
	Identity: bpf.Identity(),
	Pins:     PinRoot + "/" + AgentPins,
	RunPins:  PinRoot,
	State:    StateRoot,
	Lasting:  LastingRoot,
}

// Evidence is the folder for bundles of evidence.
func (m Machine) Evidence() string { return filepath.Join(m.Lasting, evidence) }

// LockBook is the file of what is locked.
func (m Machine) LockBook() string { return filepath.Join(m.Lasting, lockBook) }

// Own lists the directories that no workload reaches: sockets, memories and locks are in
// them, the key that signs, and evidence. They are made, for root alone: one that cannot
// be made has nothing in it.
func (m Machine) Own() []string {
	list := []string{m.State, filepath.Join(m.State, Memories), m.Lasting, m.Evidence()}
	for _, dir := range list {
		_ = os.MkdirAll(dir, 0o700)
	}
	return list
}

// Loaded is a kernel side that is loaded, or adopted.
type Loaded struct{ *bpf.Enforcer }

func loaded(e *bpf.Enforcer, err error) (Kernel, error) {
	if err != nil {
		return nil, err
	}
	return Loaded{e}, nil
}

// Events opens the ring of denials.
func (l Loaded) Events() (delivery.Source, error) { return l.Enforcer.Events() }

var _ HoldKernel = Loaded{}

// Holds opens the ring of operations that wait.
func (l Loaded) Holds() (HoldReader, error) { return l.Enforcer.Holds() }
