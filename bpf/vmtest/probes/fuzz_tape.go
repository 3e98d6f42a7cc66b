package probes

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const tapeLines, tapeLine = 255, 512 // and a line for the number of calls

// Tape holds what a process of the fuzzer called last. The process that started it
// sees it, too, also when the other one is stuck or killed.
type Tape []byte

// NewTape makes one, and the descriptor by which another process gets at it.
func NewTape() (*os.File, Tape, error) {
	fd, err := unix.MemfdCreate("tape", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fd), "tape")
	if err := file.Truncate((tapeLines + 1) * tapeLine); err != nil {
		file.Close()
		return nil, nil, err
	}
	tape, err := openTape(fd)
	if err != nil {
		file.Close()
		return nil, nil, err
	}
	return file, tape, nil
}

func openTape(fd int) (Tape, error) {
	return unix.Mmap(fd, 0, (tapeLines+1)*tapeLine, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Close frees the memory on this side.
func (t Tape) Close() error { return unix.Munmap(t) }

// begin begins a new line, in the place of the oldest.
func (t Tape) begin() {
	n := binary.NativeEndian.Uint64(t) + 1
	binary.NativeEndian.PutUint64(t, n)
	clear(t.line(n))
}

// add adds to the last line.
func (t Tape) add(text string) {
	line := t.line(binary.NativeEndian.Uint64(t))
	if end := bytes.IndexByte(line, 0); end >= 0 {
		copy(line[end:], text)
	}
}

func (t Tape) line(n uint64) []byte {
	at := (1 + n%tapeLines) * tapeLine
	return t[at : at+tapeLine]
}

// String is the lines, the oldest first.
func (t Tape) String() string {
	var b strings.Builder
	last := binary.NativeEndian.Uint64(t)
	for n := last - min(last, tapeLines-1); n <= last; n++ {
		if text := bytes.TrimRight(t.line(n), "\x00"); len(text) > 0 {
			b.WriteString("  " + strings.ToValidUTF8(string(text), "?") + "\n")
		}
	}
	return b.String()
}
