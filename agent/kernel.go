package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// kernel is what the daemon needs of the kernel side: bpf.Enforcer, or in tests
// something else.
type kernel interface {
	enforcer
	Claim(name string) (uint32, error)
	Release(id uint32) error
	Retire(id uint32) error
	SetMode(id uint32, mode abi.Mode) error
	Workloads() ([]bpf.Workload, error)
	Groups() (map[uint64]uint32, error)
	Tasks() (map[uint32]int, error)
	Table(id uint32) ([]uint64, error)
	Account(id uint32, delivered bool)
	Count(id uint32, delivered bool)
	Handled() abi.ActionMask
	Strict() bool
	Words() int
	Used() int
	Confined(pid int) (bool, error)
}

// machine is what the daemon is on.
type machine struct {
	check    func() error
	load     func(bpf.Options) (kernel, error)
	adopt    func(dir string) (kernel, error)
	identity string
	pins     string // the folder of the pinned set
	runPins  string // the folder with that of each run in it
	state    string // folder of the memories and of the lock
}

// Names that no run can have: theirs begin with a small letter or a digit.
const (
	agentPins = "@agent"
	agentLock = "agent.lock"
)

// thisMachine is the machine itself.
var thisMachine = machine{
	check: bpf.Ready,
	load: func(o bpf.Options) (kernel, error) {
		e, err := bpf.Load(o)
		if err != nil {
			return nil, err
		}
		return loaded{e}, nil
	},
	adopt: func(dir string) (kernel, error) {
		e, err := bpf.Adopt(dir)
		if err != nil {
			return nil, err
		}
		return loaded{e}, nil
	},
	identity: bpf.Identity(),
	pins:     pinRoot + "/" + agentPins,
	runPins:  pinRoot,
	state:    stateRoot,
}

// registerRoot makes the root directory of a process that of a workload: its
// number, a file that holds one, or "" for this process.
func registerRoot(k kernel, id uint32, of string) error {
	if of == "" {
		return k.RegisterRoot(id)
	}
	pid, err := rootProcess(of)
	if err != nil {
		return err
	}
	root, err := os.OpenFile("/proc/"+pid+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return rootError(pid, err)
	}
	defer root.Close()
	space, err := os.Open("/proc/" + pid + "/ns/mnt")
	if err != nil {
		return rootError(pid, err)
	}
	defer space.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with its root
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return rootError(pid, err)
			}
			if err := unix.Setns(int(space.Fd()), unix.CLONE_NEWNS); err != nil {
				return rootError(pid, err)
			}
			if err := unix.Fchdir(int(root.Fd())); err != nil {
				return rootError(pid, err)
			}
			if err := unix.Chroot("."); err != nil {
				return rootError(pid, err)
			}
			return k.RegisterRoot(id)
		}()
	}()
	return <-done
}

var errNotThere = errors.New("no such process")

// rootProcess returns the process that a root names.
func rootProcess(of string) (string, error) {
	pid := of
	if strings.Trim(of, "0123456789") != "" {
		text, err := os.ReadFile(of)
		if err != nil {
			return "", fmt.Errorf("root: %w: nothing is changed; name a file that holds the number of a process", err)
		}
		pid = strings.TrimSpace(string(text))
	}
	if pid == "" || strings.Trim(pid, "0123456789") != "" {
		return "", fmt.Errorf("root %q: holds no number of a process: nothing is changed; name a file that does", of)
	}
	if _, err := os.Stat("/proc/" + pid + "/root"); err != nil {
		return "", rootError(pid, err)
	}
	return pid, nil
}

func rootError(pid string, err error) error {
	var in *fs.PathError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errNotThere
	case errors.As(err, &in):
		err = in.Err
	}
	return fmt.Errorf("root of process %s: %w: nothing is changed; name a process that runs", pid, err)
}
