package run

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/cgroup"
)

// Exit statuses of a command that could not be started, as in a shell.
const (
	exitNotFound   = 127
	exitNotStarted = 126
)

// launch starts the command as a member of the group from its first
// instruction on, with no descriptor of ours but the standard three.
func launch(cfg *Config, group *cgroup.Group) (*exec.Cmd, error) {
	cmd, err := command(cfg)
	if err != nil {
		return nil, err
	}
	dir, err := group.Dir()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// Without a terminal nobody needs the command in our session, where the kernel would
	// signal whole process groups for what the command's processes do.
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setsid: !hasTerminal()}
	if cfg.User != "" {
		account, err := lookupUser(cfg.User)
		if err != nil {
			return nil, err
		}
		cmd.Env = account.environ(cmd.Environ())
		cmd.SysProcAttr.Credential = account.credential
	}
	return cmd, cmd.Start()
}

// keepDescriptors keeps descriptors that our own parent left open from being
// passed on.
func keepDescriptors() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w: nothing was started, inherited descriptors would bypass the policy; use Linux 5.11 or later", err)
	}
	return nil
}

// command prepares the command; its program is looked up as a shell does.
func command(cfg *Config) (*exec.Cmd, error) {
	for _, file := range []*os.File{cfg.Stdin, cfg.Stdout, cfg.Stderr} {
		if err := checkStdio(file); err != nil {
			return nil, err
		}
	}
	path, err := exec.LookPath(cfg.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, err
	}
	return &exec.Cmd{
		Path: path, Args: cfg.Args, Env: cfg.Env, Dir: cfg.Dir,
		Stdin: cfg.Stdin, Stdout: cfg.Stdout, Stderr: cfg.Stderr,
	}, nil
}

// checkStdio refuses io_uring: a ring with a polling thread that was made
// outside runs its operations outside.
func checkStdio(file *os.File) error {
	if file == nil {
		return nil
	}
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	if err == nil && strings.HasPrefix(target, "anon_inode:[io_uring]") {
		return fmt.Errorf("%s: is an io_uring: nothing was started, operations through it would bypass the policy; use a file or a pipe", file.Name())
	}
	return nil
}

// startError says why the command did not start, and with which status a shell
// would answer; 0 means that the failure is not the command's.
func startError(program string, err error) (status int, _ error) {
	var path *fs.PathError
	var look *exec.Error
	if !errors.As(err, &path) && !errors.As(err, &look) {
		return 0, &NotStartedError{err}
	}
	status, what, mend := exitNotStarted, err.Error(), "check the file"
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		status, what, mend = exitNotFound, "not found", "check the name, $PATH, and the interpreter it asks for"
	case errors.Is(err, fs.ErrPermission):
		what, mend = "permission denied", "check its mode, and that the policy permits to execute it"
	case errors.Is(err, syscall.EISDIR):
		what, mend = "is a directory", "name a program"
	case errors.Is(err, syscall.ENOEXEC):
		what, mend = "not a program", "give a script a #! line"
	}
	return status, fmt.Errorf("%s: %s: nothing was started; %s", quoteArg(program), what, mend)
}

// exitStatus is the status that a shell would show.
func exitStatus(state *os.ProcessState) int {
	ws := state.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// quoteArg renders a word of the command line for a message.
func quoteArg(word string) string { return sink.Token(word) }
