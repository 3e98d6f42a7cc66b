//go:build linux

package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

const (
	sysFinitModule = 313        // amd64
	rndAddEntropy  = 0x40085203 // RNDADDENTROPY
)

// addEntropy credits the seed, so that nothing in the guest waits for the
// random generator, even when the emulator's clock counts instructions.
func addEntropy(seed []byte) error {
	random, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer random.Close()
	request := binary.NativeEndian.AppendUint32(nil, uint32(8*len(seed)))
	request = binary.NativeEndian.AppendUint32(request, uint32(len(seed)))
	request = append(request, seed...)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, random.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&request[0])))
	if errno != 0 {
		return fmt.Errorf("/dev/urandom: adding entropy failed: %w", errno)
	}
	return nil
}

func loadModules(names []string) error {
	var empty byte
	for _, name := range names {
		file, err := os.Open(filepath.Join(wire.ModulesDir, name))
		if err != nil {
			return err
		}
		_, _, errno := syscall.Syscall(sysFinitModule, file.Fd(), uintptr(unsafe.Pointer(&empty)), 0)
		file.Close()
		if errno != 0 && errno != syscall.EEXIST {
			return fmt.Errorf("module %s: loading failed: %w", name, errno)
		}
	}
	return nil
}

func setLoopbackUp() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("lo: no socket: %w", err)
	}
	defer syscall.Close(socket)
	var request struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return fmt.Errorf("lo: setting it up failed: %w", errno)
	}
	return nil
}

// port is the way to the host. Its file is open once only: the kernel
// refuses every other opener, the command included.
type port struct{ fd int }

func openPort() (*port, error) {
	for tries := 0; tries < 1000; tries++ {
		names, _ := filepath.Glob("/sys/class/virtio-ports/*/name")
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil || strings.TrimSpace(string(text)) != wire.PortName {
				continue
			}
			device := "/dev/" + filepath.Base(filepath.Dir(name))
			fd, err := syscall.Open(device, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
			if err == nil {
				return &port{fd}, nil
			}
			if !errors.Is(err, syscall.ENOENT) {
				return nil, fmt.Errorf("%s: opening failed: %w", device, err)
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("virtio port %s: did not appear", wire.PortName)
}

// Write sends all of data, and waits while the host is slow.
func (p *port) Write(data []byte) (int, error) {
	sent := 0
	for sent < len(data) {
		n, err := syscall.Write(p.fd, data[sent:])
		if err == syscall.EINTR || err == syscall.EAGAIN {
			continue
		}
		if err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// send gives up the machine when the host cannot be told anything any more.
func (p *port) send(kind wire.Kind, payload []byte) {
	if err := wire.Write(p, kind, payload); err != nil {
		fmt.Println(wire.Fault + "virtio port: " + err.Error())
		halt()
	}
}

func (p *port) sendJSON(kind wire.Kind, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	p.send(kind, text)
}

func (p *port) hello(token string) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	uptime, _ := os.ReadFile("/proc/uptime")
	first, _, _ := strings.Cut(string(uptime), " ")
	seconds, _ := strconv.ParseFloat(first, 64)
	p.sendJSON(wire.Hello, wire.Greeting{Token: token, Release: strings.TrimSpace(string(release)), Uptime: seconds})
}
