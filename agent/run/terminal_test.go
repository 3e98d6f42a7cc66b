package run

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host/hosttest"
)

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	return master, terminal
}

// TestCtrlCReachesTheCommandOnce: the terminal signals the command itself; a
// run that passed the signal on would interrupt twice.
func TestCtrlCReachesTheCommandOnce(t *testing.T) {
	name := hosttest.TestName(t)
	master, terminal := openTerminal(t)
	cmd := exec.Command(os.Args[0], "victim", name, "exec "+os.Args[0]+" interrupts")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	waitOutput(t, master, "ready")
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 41 {
		t.Errorf("%v, want status 41: one interrupt", err)
	}
	hosttest.WantGone(t, name)
}

// countInterrupts says that it is ready, and counts for a while.
func countInterrupts() (n int) {
	interrupts := make(chan os.Signal, 8)
	signal.Notify(interrupts, unix.SIGINT)
	fmt.Println("ready")
	limit := time.After(10 * time.Second)
	for {
		select {
		case <-interrupts:
			n++
			limit = time.After(300 * time.Millisecond)
		case <-limit:
			return n
		}
	}
}

// waitOutput reads until a text appears.
func waitOutput(t *testing.T, master *os.File, want string) {
	t.Helper()
	var seen []byte
	buf := make([]byte, 1024)
	for end := time.Now().Add(10 * time.Second); !bytes.Contains(seen, []byte(want)); {
		n, err := 0, error(nil)
		ready := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if _, err = unix.Poll(ready, 100); ready[0].Revents != 0 {
			n, err = master.Read(buf)
		}
		if err != nil && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			t.Fatalf("%q instead of %q: %v", seen, want, err)
		}
		seen = append(seen, buf[:n]...)
	}
}

// runInShell starts a run as a job of a shell on a terminal of its own.
func runInShell(t *testing.T, name, script, after string) (*exec.Cmd, *os.File) {
	t.Helper()
	master, terminal := openTerminal(t)
	cmd := exec.Command("bash", "-mc", `"$0" victim "$1" "$2"; `+after, os.Args[0], name, script)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	terminal.Close()
	return cmd, master
}

// TestStoppedRunStandsStill stops a run by the terminal: what of it ignores that stands
// still, too, until the run goes on.
func TestStoppedRunStandsStill(t *testing.T) {
	name := hosttest.TestName(t)
	file := t.TempDir() + "/count"
	script := `trap "" TSTP; (trap "" TSTP; while :; do echo >>` + file + `; sleep 0.02; done) & sleep 0.2; echo ready; read line; echo went on; exit 7`
	cmd, master := runInShell(t, name, script, `echo stopped; read line; fg; echo status $?`)
	waitOutput(t, master, "ready")
	if _, err := master.WriteString("\x1a"); err != nil {
		t.Fatal(err)
	}
	waitOutput(t, master, "stopped")
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := size()
	if before == 0 {
		t.Error("it did nothing before")
	}
	time.Sleep(200 * time.Millisecond)
	if after := size(); after != before {
		t.Errorf("it went on while the run was stopped: %d lines, then %d", before, after)
	}
	if _, err := master.WriteString("\n"); err != nil { // the shell's
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); size() == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it stands still after the run went on")
		}
	}
	if _, err := master.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	waitOutput(t, master, "status 7")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	hosttest.WantGone(t, name)
}

// TestStoppedOutputGoesOn: a command that stops the terminal's output does not keep its
// run from ending.
func TestStoppedOutputGoesOn(t *testing.T) {
	name := hosttest.TestName(t)
	cmd, master := runInShell(t, name, "echo ready; exec "+os.Args[0]+" stop-output", "echo status $?")
	waitOutput(t, master, "status 0")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	hosttest.WantGone(t, name)
}

// stopOutput suspends the terminal's output.
func stopOutput() int {
	const flowOff = 0 // TCOOFF
	if err := unix.IoctlSetInt(0, unix.TCXONC, flowOff); err != nil {
		return 1
	}
	return 0
}
