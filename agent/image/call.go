package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// elf reports a little-endian ELF file of a machine.
func (h *Head) elf(machine uint16) bool {
	return string(h[:4]) == "\x7fELF" && h[5] == 1 && uint16(h[18])|uint16(h[19])<<8 == machine
}

// Read returns the execve inside which a task waits. proc is an open /proc.
func Read(proc *os.File, tid int) (*Call, error) {
	number, args, err := readSyscall(proc, tid)
	if err != nil {
		return nil, err
	}
	m := &memory{pid: tid, left: Limit}
	c := &Call{}
	dir, at := int32(atCwd), args
	switch number {
	case sysExecve:
	case sysExecveat:
		dir, at = int32(uint32(args[0])), args[1:]
	default:
		return nil, fmt.Errorf("system call %d: no execve of this machine's own", number)
	}
	path, err := m.text(at[0])
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	c.named(dir, path)
	if c.Args, err = m.texts(at[1]); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	if c.Env, err = m.texts(at[2]); err != nil {
		return nil, fmt.Errorf("environment: %w", err)
	}
	return c, nil
}

// settling is how many milliseconds a task may take until it waits.
const settling = 1000

// readSyscall returns the system call that a task is in.
func readSyscall(proc *os.File, tid int) (number int, args []uint64, err error) {
	text := ""
	for range settling { // who is told of a task may run before it waits
		if text, err = readAt(proc, strconv.Itoa(tid)+"/syscall"); err != nil {
			return 0, nil, err
		}
		if !strings.HasPrefix(text, "running") {
			break
		}
		time.Sleep(time.Millisecond)
	}
	words := strings.Fields(text)
	if len(words) < 7 {
		return 0, nil, errors.New("the task is in no system call")
	}
	if number, err = strconv.Atoi(words[0]); err != nil {
		return 0, nil, err
	}
	for _, word := range words[1:7] {
		value, err := strconv.ParseUint(word, 0, 64)
		if err != nil {
			return 0, nil, err
		}
		args = append(args, value)
	}
	return number, args, nil
}

func readAt(dir *os.File, name string) (string, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	return string(text), err
}

// memory reads that of another process, a page at a time.
type memory struct {
	pid   int
	left  int // bytes that may still be read as strings
	page  uint64
	bytes []byte // of the page, from its beginning; nil: none is at hand
}

const pageSize = 4096 // or a part of a page

// at returns the bytes from an address to the end of its page.
func (m *memory) at(address uint64) ([]byte, error) {
	page := address &^ (pageSize - 1)
	if m.bytes == nil || m.page != page {
		b := make([]byte, pageSize)
		n, err := unix.ProcessVMReadv(m.pid, []unix.Iovec{{Base: &b[0], Len: pageSize}}, []unix.RemoteIovec{{Base: uintptr(page), Len: pageSize}}, 0)
		if err != nil {
			return nil, err
		}
		if n < pageSize {
			return nil, io.ErrUnexpectedEOF
		}
		m.page, m.bytes = page, b
	}
	return m.bytes[address-page:], nil
}

var errLong = fmt.Errorf("more than %d bytes", Limit)

// text reads a string.
func (m *memory) text(address uint64) (string, error) {
	var s []byte
	for {
		b, err := m.at(address)
		if err != nil {
			return "", err
		}
		end := bytes.IndexByte(b, 0)
		if end >= 0 {
			b = b[:end]
		}
		s = append(s, b...)
		if m.left -= len(b) + 1; m.left < 0 {
			return "", errLong
		}
		if end >= 0 {
			return string(s), nil
		}
		address += uint64(len(b))
	}
}

// texts reads a list of strings that a null pointer ends. No list is empty.
func (m *memory) texts(address uint64) (list []string, err error) {
	if address == 0 {
		return nil, nil
	}
	pointers, err := m.pointers(address)
	if err != nil {
		return nil, err
	}
	for _, p := range pointers {
		s, err := m.text(p)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (m *memory) pointers(address uint64) (list []uint64, err error) {
	for ; len(list) < Limit; address += 8 {
		var word [8]byte
		for n := 0; n < len(word); {
			b, err := m.at(address + uint64(n))
			if err != nil {
				return nil, err
			}
			n += copy(word[n:], b)
		}
		p := uint64(0)
		for i, b := range word {
			p |= uint64(b) << (8 * i)
		}
		if p == 0 {
			return list, nil
		}
		list = append(list, p)
	}
	return nil, errLong
}
