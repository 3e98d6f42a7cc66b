// Package wire is what the runner on the host and the init in the guest
// agree on: the configuration that goes in with the initramfs, and the
// frames that come back over the virtio port.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// ConfigPath is where the initramfs holds the Config, as JSON. Init
	// removes it, and the token with it, before the command starts.
	ConfigPath = "/vm.json"
	// FilesDir is where the initramfs holds the files for the guest's root.
	FilesDir = "/vm-files"
	// ModulesDir is where the initramfs holds the kernel modules.
	ModulesDir = "/vm-modules"
	// PortName is the name of the virtio port that carries the frames.
	PortName = "stockade.vm"
	// Mark is the first thing init prints on the kernel console.
	Mark = "stockade-vm: init has started"
	// Fault begins a line on the kernel console that says why init gave up
	// before it could open the port.
	Fault = "stockade-vm: init: "
)

// Config tells init what to do.
type Config struct {
	Token   string   // proves that a frame comes from init
	Seed    []byte   // entropy for the guest's random generator
	Modules []string // file names under ModulesDir, in loading order
	Disk    string   // block device of the root, or empty for a tmpfs
	Systemd bool     // let systemd be process 1
	Shell   string   // terminal device of an interactive command, or empty
	Rows    uint16   // size of that terminal
	Columns uint16
	Dir     string   // working directory of the command
	Env     []string // environment of the command
	Command []string
}

// Kind is the kind of a frame.
type Kind byte

// The kinds of frames, all from the guest to the host.
const (
	Hello  Kind = 'H' // JSON of a Greeting: the port is open
	Start  Kind = 'S' // token: the command is about to start
	Output Kind = 'O' // bytes that the command wrote
	Exit   Kind = 'X' // JSON of a Result: the command has ended
)

// Greeting is the payload of a Hello frame.
type Greeting struct {
	Token   string
	Release string  // uname -r
	Uptime  float64 // seconds of guest time since the kernel started
}

// Result is the payload of an Exit frame.
type Result struct {
	Token  string
	Status int    // exit status; 128 + signal number after a signal
	Fault  string // why the command could not be run, or empty
	Taint  uint64 // /proc/sys/kernel/tainted at the end
}

// Bits of Result.Taint.
const (
	TaintOops = 1 << 7
	TaintWarn = 1 << 9
)

const maxPayload = 1 << 20

// Write sends one frame.
func Write(w io.Writer, kind Kind, payload []byte) error {
	if len(payload) > maxPayload {
		return fmt.Errorf("frame: %d bytes are more than %d: not sent", len(payload), maxPayload)
	}
	frame := make([]byte, 5, 5+len(payload))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(payload)))
	_, err := w.Write(append(frame, payload...))
	return err
}

// Read takes one frame. At the end of the stream the error is io.EOF.
func Read(r io.Reader) (Kind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("frame: cut in its head: %w", err)
		}
		return 0, nil, err
	}
	kind, size := Kind(head[0]), binary.BigEndian.Uint32(head[1:])
	switch kind {
	case Hello, Start, Output, Exit:
	default:
		return 0, nil, fmt.Errorf("frame: unknown kind %#x", head[0])
	}
	if size > maxPayload {
		return 0, nil, fmt.Errorf("frame: %d bytes announced, at most %d are allowed", size, maxPayload)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, fmt.Errorf("frame: cut in its payload: %w", err)
	}
	return kind, payload, nil
}
