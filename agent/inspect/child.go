package inspect

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// helper is a child that reads.
type helper struct {
	cmd    *exec.Cmd
	out    *os.File
	words  *os.File
	plaint *os.File // its stderr
	events chan event
	quit   chan struct{}
	done   chan struct{} // it has ended
	status error         // how; read it when done

	pid  int // what it reads, or did last
	file string
}

// event is a line of a helper, or the end of its lines.
type event struct {
	word bool
	line []byte
	err  error
}

// startHelper starts one. Its request is a file in memory, so that nobody has to feed it.
func startHelper(program []string, r *Request) (h *helper, err error) {
	h = &helper{events: make(chan event), quit: make(chan struct{}), done: make(chan struct{})}
	var theirs []*os.File
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			h.release()
			h, err = nil, fmt.Errorf("inspect: helper: %w: nothing more was read; mount /proc, and see that memory and descriptors are left", err)
		}
	}()
	request, err := memory("request", marshal(r))
	if err != nil {
		return h, err
	}
	theirs = append(theirs, request)
	if h.plaint, err = memory("stderr", nil); err != nil {
		return h, err
	}
	pipe := func() (ours *os.File, err error) {
		ours, their, err := os.Pipe()
		if err == nil {
			theirs = append(theirs, their)
		}
		return ours, err
	}
	if h.out, err = pipe(); err != nil {
		return h, err
	}
	if h.words, err = pipe(); err != nil {
		return h, err
	}
	return h, h.exec(program, request, theirs[1], theirs[2])
}

// exec starts the program and begins to listen to it.
func (h *helper) exec(program []string, request, out, words *os.File) error {
	h.cmd = exec.Command(program[0], program[1:]...)
	h.cmd.Args[0] = "stockade"
	h.cmd.Dir = "/"
	h.cmd.Env = []string{"GOMAXPROCS=1"}
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = request, out, h.plaint
	h.cmd.ExtraFiles = []*os.File{words}
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		return err
	}
	go func() {
		h.status = h.cmd.Wait() // for ever, if it cannot be killed
		close(h.done)
	}()
	go h.listen(h.out, false, MaxRecord)
	go h.listen(h.words, true, maxWord)
	return nil
}

// memory returns a file in memory that holds text and is read from its beginning.
func memory(name string, text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(text, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// listen passes lines on until they end or nobody waits for them.
func (h *helper) listen(from io.Reader, word bool, limit int) {
	send := func(e event) bool {
		select {
		case h.events <- e:
			return true
		case <-h.quit:
			return false
		}
	}
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, limit)
	for lines.Scan() {
		if !send(event{word: word, line: bytes.Clone(lines.Bytes())}) {
			return
		}
	}
	if err := lines.Err(); !word {
		if err == nil {
			err = io.EOF
		}
		send(event{err: err})
	}
}

// at notes what the helper is about to read.
func (h *helper) at(word []byte) {
	pid, file, _ := bytes.Cut(word, []byte(" "))
	h.pid, _ = strconv.Atoi(string(pid))
	h.file = string(file)
}

// kill sends the signal.
func (h *helper) kill() { _ = h.cmd.Process.Kill() } // or it has ended

// end kills the helper; false: it did not end within grace.
func (h *helper) end(grace time.Duration) bool {
	h.kill()
	return h.ended(grace)
}

func (h *helper) ended(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-h.done:
		return true
	case <-timer.C:
		return false
	}
}

// failure says why a helper stopped in the middle; err is how its lines ended.
func (h *helper) failure(err error, patience time.Duration) error {
	if errors.Is(err, io.EOF) && h.ended(patience) {
		err = h.status
		if err == nil {
			err = errors.New("it ended early")
		}
	}
	h.end(Grace)
	plaint := make([]byte, maxPlaint)
	n, _ := h.plaint.ReadAt(plaint, 0)
	return fmt.Errorf("inspect: helper: %w, last at %q, and it said %q: what follows was not read; see that it is the program that `stockade look` is of",
		err, place(h.pid, h.file), plaint[:n])
}

// release lets go of a helper, whether it has ended or not.
func (h *helper) release() {
	close(h.quit)
	for _, f := range []*os.File{h.out, h.words, h.plaint} {
		if f != nil {
			f.Close()
		}
	}
}
