//go:build linux

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// runCommand runs the command to its end and forwards what it wrote. A
// fault says why it could not be run.
func runCommand(config *wire.Config, out *port) (status int, fault string) {
	os.Clearenv()
	for _, pair := range config.Env {
		name, value, _ := strings.Cut(pair, "=")
		os.Setenv(name, value)
	}
	if err := os.Chdir(config.Dir); err != nil {
		return 125, err.Error()
	}
	path, err := exec.LookPath(config.Command[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return failedStart(err)
	}
	if config.Shell != "" {
		return runOnTerminal(config, path)
	}
	return runOnPipe(config, path, out)
}

func failedStart(err error) (int, string) {
	status := 126
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		status = 127
	}
	if inner := errors.Unwrap(err); inner != nil { // the host names the command
		err = inner
	}
	return status, err.Error()
}

func runOnPipe(config *wire.Config, path string, out *port) (int, string) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 125, err.Error()
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return 125, err.Error()
	}
	child, err := os.StartProcess(path, config.Command, &os.ProcAttr{
		Env:   config.Env,
		Files: []*os.File{null, writer, writer},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	writer.Close()
	if err != nil {
		return failedStart(err)
	}
	forwarded := make(chan struct{})
	go func() {
		defer close(forwarded)
		forward(reader, out)
	}()
	status := reap(child.Pid)
	// A process left behind may hold the pipe: take what is there, then go.
	reader.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	<-forwarded
	return status, ""
}

func forward(reader *os.File, out *port) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := reader.Read(buffer)
		if n > 0 {
			out.send(wire.Output, buffer[:n])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			drain(reader, out)
			return
		}
		if err != nil {
			return
		}
	}
}

// drain takes what is in a full pipe, but no more than that: whoever holds
// its other end may write for ever.
func drain(reader *os.File, out *port) {
	raw, err := reader.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		buffer := make([]byte, 64<<10)
		for total := 0; total < 1<<20; {
			n, err := syscall.Read(int(fd), buffer)
			if err != nil || n <= 0 {
				return
			}
			out.send(wire.Output, buffer[:n])
			total += n
		}
	})
}

func runOnTerminal(config *wire.Config, path string) (int, string) {
	terminal, err := os.OpenFile(config.Shell, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return 125, err.Error()
	}
	size := [4]uint16{config.Rows, config.Columns}
	if config.Rows > 0 {
		syscall.Syscall(syscall.SYS_IOCTL, terminal.Fd(), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size)))
	}
	child, err := os.StartProcess(path, config.Command, &os.ProcAttr{
		Env:   config.Env,
		Files: []*os.File{terminal, terminal, terminal},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: true},
	})
	if err != nil {
		return failedStart(err)
	}
	status := reap(child.Pid)
	fmt.Fprint(terminal, "\r\n")
	return status, ""
}

// reap waits for the child, and buries the orphans that process 1 inherits.
func reap(child int) int {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 125
		case pid != child:
		case status.Signaled():
			return 128 + int(status.Signal())
		default:
			return status.ExitStatus()
		}
	}
}
