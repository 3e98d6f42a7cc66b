//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
	"unsafe"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// End says how one boot came to its end.
type End int

// The ways a boot ends.
const (
	EndResult      End = iota // init reported the command's result
	EndExit                   // the emulator went away by itself
	EndBootTimeout            // init did not report in time
	EndTimeout                // the command did not end in time
	EndSignal                 // the runner was told to stop
	EndBroken                 // init spoke nonsense
)

// Outcome is what is known after one boot.
type Outcome struct {
	End      End
	Greeting *wire.Greeting // nil when init did not come that far
	Started  bool           // the command was about to start
	Result   *wire.Result   // set with EndResult
	Signal   syscall.Signal // set with EndSignal
	Status   int            // of the emulator, with EndExit
	Messages string         // of the emulator
	Err      error          // set with EndBroken
	BootTime time.Duration  // until the command started
	RunTime  time.Duration  // from there on
}

// Machine is one boot.
type Machine struct {
	options  *Options
	token    string
	command  *exec.Cmd
	port     net.Conn
	messages bytes.Buffer
}

type frame struct {
	kind    wire.Kind
	payload []byte
	err     error
}

// startMachine starts the emulator. It dies with this process.
func startMachine(o *Options, token string, args []string) (*Machine, error) {
	program, err := lookTool(emulator)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("socket: %w: nothing booted", err)
	}
	defer theirs.Close()
	m := &Machine{options: o, token: token, port: ours, command: exec.Command(program, args...)}
	m.command.ExtraFiles = []*os.File{theirs}
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !o.Shell}
	m.command.Stderr = &m.messages
	if o.Shell {
		m.command.Stdin, m.command.Stdout = os.Stdin, os.Stdout
	}
	if err := m.command.Start(); err != nil {
		ours.Close()
		return nil, fmt.Errorf("%s: %w: nothing booted", emulator, err)
	}
	return m, nil
}

func socketPair() (net.Conn, *os.File, error) {
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	mine := os.NewFile(uintptr(pair[0]), "port")
	defer mine.Close()
	theirs := os.NewFile(uintptr(pair[1]), "port")
	conn, err := net.FileConn(mine)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// watch follows the machine to its end, copies the command's output, and
// leaves no emulator behind.
func (m *Machine) watch(output io.Writer) *Outcome {
	began := time.Now()
	out := new(Outcome)
	frames := make(chan frame)
	done := make(chan struct{})
	go m.receive(frames, done)
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	boot := time.NewTimer(m.options.BootTimeout)
	defer boot.Stop()
	var run <-chan time.Time // a shell takes what time it likes

	var started time.Time
	for ended := false; !ended; {
		select {
		case f := <-frames:
			if f.err != nil {
				out.End, out.Err = EndExit, nil
				if !errors.Is(f.err, io.EOF) {
					out.End, out.Err = EndBroken, f.err
				}
				ended = true
				break
			}
			if err := m.take(f, out, output); err != nil {
				out.End, out.Err, ended = EndBroken, err, true
				break
			}
			if out.Started && started.IsZero() {
				started = time.Now()
				out.BootTime = started.Sub(began)
				boot.Stop()
				if !m.options.Shell {
					run = time.After(m.options.Timeout)
				}
			}
			ended = out.Result != nil
		case <-boot.C:
			if !out.Started {
				out.End, ended = EndBootTimeout, true
			}
		case <-run:
			out.End, ended = EndTimeout, true
		case s := <-signals:
			out.End, out.Signal, ended = EndSignal, s.(syscall.Signal), true
		}
	}
	if !started.IsZero() {
		out.RunTime = time.Since(started)
	}
	close(done)
	m.stop(out.End == EndExit)
	out.Status, out.Messages = m.command.ProcessState.ExitCode(), m.messages.String()
	return out
}

func (m *Machine) receive(frames chan<- frame, done <-chan struct{}) {
	for {
		kind, payload, err := wire.Read(m.port)
		if errors.Is(err, syscall.ECONNRESET) {
			err = io.EOF
		}
		select {
		case frames <- frame{kind, payload, err}:
		case <-done:
			return
		}
		if err != nil {
			return
		}
	}
}

// take handles one frame.
func (m *Machine) take(f frame, out *Outcome, output io.Writer) error {
	token := string(f.payload)
	switch f.kind {
	case wire.Output:
		if _, err := output.Write(f.payload); err != nil {
			return fmt.Errorf("output: %w", err)
		}
		return nil
	case wire.Start:
		out.Started = true
	case wire.Hello:
		out.Greeting = new(wire.Greeting)
		if err := json.Unmarshal(f.payload, out.Greeting); err != nil {
			return err
		}
		token = out.Greeting.Token
	case wire.Exit:
		result := new(wire.Result)
		if err := json.Unmarshal(f.payload, result); err != nil {
			return err
		}
		token, out.Result, out.End = result.Token, result, EndResult
	}
	if token != m.token {
		return errors.New("frame: wrong token: it does not come from init")
	}
	return nil
}

// stop ends the emulator and waits for it. In a shell it may still have to
// restore the terminal.
func (m *Machine) stop(leaving bool) {
	ended := make(chan struct{})
	go func() {
		m.command.Wait()
		close(ended)
	}()
	patience := time.Duration(0)
	if leaving || m.options.Shell {
		patience = 3 * time.Second
		if !leaving {
			m.command.Process.Signal(syscall.SIGTERM)
		}
	}
	select {
	case <-ended:
	case <-time.After(patience):
		m.command.Process.Kill()
		<-ended
	}
	m.port.Close()
}

// terminalSize is the size of the runner's terminal, or zeros.
func terminalSize() (rows, columns uint16) {
	var size [4]uint16
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, os.Stdin.Fd(), syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
	if errno != 0 {
		return 0, 0
	}
	return size[0], size[1]
}

// holdTerminal returns a function that brings the terminal back to what it
// is now.
func holdTerminal() func() {
	var state syscall.Termios
	ioctl := func(request uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, os.Stdin.Fd(), request, uintptr(unsafe.Pointer(&state)))
		return errno
	}
	if ioctl(syscall.TCGETS) != 0 {
		return func() {}
	}
	return func() { ioctl(syscall.TCSETS) }
}
