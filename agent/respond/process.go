package respond

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf"
)

// States of a process as /proc tells them.
const (
	stopped = "T"
	traced  = "t"
	asleep  = "D" // until what it waits for is there
)

// marked lists the living threads of the workload; those that ended and nobody asked how
// are noted.
func (r *response) marked() (living []bpf.Marked, err error) {
	list, err := r.kernel.Roll()
	r.dead = r.dead[:0]
	for _, m := range list {
		switch {
		case m.Workload != r.target.ID:
		case m.Dead:
			r.dead = append(r.dead, m)
		default:
			living = append(living, m)
		}
	}
	return living, err
}

// signal sends a signal to the process of a thread, unless its number is another's by now.
func signal(m bpf.Marked, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(m.TGID, 0)
	if err != nil {
		return gone(err, m)
	}
	defer unix.Close(fd)
	// The descriptor holds the process: if the thread is one of its, it is the one meant.
	if start, ok := startOf(m.TGID, m.PID); !ok || start != ticks(m) {
		return nil
	}
	return gone(unix.PidfdSendSignal(fd, sig, nil, 0), m)
}

// gone forgives that a process has ended.
func gone(err error, m bpf.Marked) error {
	if err == nil || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return fmt.Errorf("process %d: %w: it was sent no signal", m.TGID, err)
}

// userHz is the unit of times in /proc, in a second: the same on all that Linux runs on.
const userHz = 100

// ticks is the start of a thread as /proc tells it.
func ticks(m bpf.Marked) uint64 { return uint64(m.Started.Nanoseconds()) / (1e9 / userHz) }

// stat reads the fields of a thread's stat after the name: the state is the first.
func stat(pid, tid int) []string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", pid, tid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// startOf returns when a thread started, in ticks after boot.
func startOf(pid, tid int) (start uint64, ok bool) {
	fields := stat(pid, tid)
	if len(fields) < 20 {
		return 0, false
	}
	_, err := fmt.Sscan(fields[19], &start)
	return start, err == nil
}

// process says what can be known of a thread without a look at its memory, which it may
// have arranged to take for ever.
func process(m bpf.Marked) api.Process {
	p := api.Process{PID: m.TGID, TID: m.PID}
	read := func(file string) string {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/%s", m.TGID, m.PID, file))
		return strings.TrimSuffix(string(text), "\n")
	}
	p.Command, p.Wait = read("comm"), read("wchan")
	if fields := stat(m.TGID, m.PID); len(fields) > 0 {
		p.State = fields[0]
	}
	if p.State == "D" {
		p.Stack = strings.Split(read("stack"), "\n")
	}
	return p
}

// maxListed is how many of what is left are listed: there may be any number.
const maxListed = 100

// processes is process for a list.
func processes(list []bpf.Marked) []api.Process {
	all := []api.Process{}
	for _, m := range list[:min(len(list), maxListed)] {
		all = append(all, process(m))
	}
	return all
}
