package agent

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
	name := testName(t)
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
	wantGone(t, name)
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
		n, err := master.Read(buf)
		if err != nil || time.Now().After(end) {
			t.Fatalf("%q instead of %q: %v", seen, want, err)
		}
		seen = append(seen, buf[:n]...)
	}
}
