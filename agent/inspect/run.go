package inspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// run is what Run does.
type run struct {
	patience, start, grace time.Duration
	program                []string
	stuck                  func(*helper) bool // asked when patience is over; nil: it is
	request                Request            // of what is not yet told
	total                  int                // processes asked for
	doc                    document
	hangs                  []error
}

// Run has helpers, which it starts by program, their argv, read what is asked for, and
// writes one JSON document to w. No helper outlives it but one that cannot be killed: Run
// waits for that no longer than Grace. It waits for w as long as w takes.
//
// The document can be parsed whatever the error is, unless that is of w; its "incomplete"
// says why records are missing. Errors that are a Hang alone, see Hangs, do not make it so.
// The error wraps that of ctx if it ended.
func Run(ctx context.Context, program []string, r Request, w io.Writer) error {
	return newRun(program, r, w).all(ctx)
}

func newRun(program []string, r Request, w io.Writer) *run {
	r.Spent = Spent{} // that is between helpers
	return &run{patience: Patience, start: startPatience, grace: Grace,
		program: program, request: r, total: len(r.Processes), doc: document{w: w, limit: MaxDocument}}
}

// all writes the document.
func (r *run) all(ctx context.Context) error {
	if err := r.request.check(); err != nil {
		return err
	}
	// A helper is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	n := min(r.total, MaxProcesses)
	r.request.Processes = slices.Clone(r.request.Processes[:n])
	if err := r.doc.begin(r.request.Collector); err != nil {
		return err
	}
	for {
		last, err := r.once(ctx)
		if h, ok := err.(*Hang); ok {
			r.hangs = append(r.hangs, h)
			if err = r.pass(h); err == nil {
				continue
			}
		}
		return r.close(last, err)
	}
}

// close ends the document. err is why it is incomplete, or nil.
func (r *run) close(last end, err error) error {
	t := tail{Cut: last.Cut}
	if r.total > MaxProcesses {
		t.Cut.note("processes", int64(r.total), false)
	}
	if err != nil {
		t.Incomplete = err.Error()
	}
	var torn *writeError
	if !errors.As(err, &torn) {
		err = errors.Join(err, r.doc.end(t))
	}
	return errors.Join(append(r.hangs, err)...)
}

// Hang is a read that did not end: what stands behind the file is the workload's.
type Hang struct {
	PID   int // 0: of no process, but of a cgroup
	File  string
	After time.Duration
	// Helper is the number of the helper that waits for it, if it could not be killed
	// either: it ends when what it waits for does.
	Helper int
}

func (h *Hang) Error() string {
	follows := "it is told as unread"
	if h.PID == 0 {
		follows = "no more is told"
	}
	if h.Helper != 0 {
		follows += fmt.Sprintf(", and helper %d, which cannot be killed before, is left behind", h.Helper)
	}
	return fmt.Sprintf("inspect: reading %s: no answer in %v: %s; kill the workload, which is to answer", place(h.PID, h.File), h.After, follows)
}

// place names what a helper reads.
func place(pid int, file string) string {
	if pid == 0 {
		return file
	}
	return fmt.Sprintf("%s of process %d", file, pid)
}

// Hangs splits the error of Run: the reads that did not end, which the document marks, and
// the rest; nil if the document is complete.
func Hangs(err error) (hangs []*Hang, rest error) {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	var others []error
	for _, err := range list {
		if h, ok := err.(*Hang); ok {
			hangs = append(hangs, h)
		} else {
			others = append(others, err)
		}
	}
	return hangs, errors.Join(others...)
}

// pass has the next helper leave out what the last one hung at, or says why there is no
// next one.
func (r *run) pass(h *Hang) error {
	if len(r.request.Processes) == 0 || len(r.hangs) == 2*MaxHangs {
		return fmt.Errorf("inspect: %d reads did not end, the last of %s: what follows was not read; kill the workload", len(r.hangs), place(h.PID, h.File))
	}
	first := &r.request.Processes[0]
	if first.Unread == "" {
		first.Unread = fmt.Sprintf("reading %s did not end", h.File)
	} else { // not even the rest of it can be read
		if err := r.record(marshal(first.head())); err != nil {
			return err
		}
	}
	if len(r.hangs) == MaxHangs {
		for i := range r.request.Processes {
			if p := &r.request.Processes[i]; p.Unread == "" {
				p.Unread = fmt.Sprintf("not tried: %d reads before did not end", MaxHangs)
			}
		}
	}
	return nil
}

// once has one helper read on. The error is a Hang if that waits for the workload.
func (r *run) once(ctx context.Context) (last end, err error) {
	h, err := startHelper(r.program, &r.request)
	if err != nil {
		return last, err
	}
	defer h.release()
	defer context.AfterFunc(ctx, h.kill)() // even while w takes its time
	timer := time.NewTimer(r.start)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return last, r.late(ctx, h)
		case <-timer.C:
			if r.stuck == nil || r.stuck(h) {
				return last, r.hung(h)
			}
		case e := <-h.events:
			switch {
			case e.word:
				h.at(e.line)
			case e.err != nil:
				if ctx.Err() != nil {
					return last, r.late(ctx, h)
				}
				return last, h.failure(e.err, r.patience)
			default:
				done, err := r.take(e.line, &last)
				if done || err != nil {
					h.end(r.grace)
					return last, err
				}
			}
		}
		timer.Reset(r.patience)
	}
}

// late says where the helper was when ctx ended.
func (r *run) late(ctx context.Context, h *helper) error {
	left := ""
	if !h.end(r.grace) {
		left = fmt.Sprintf("helper %d, which cannot be killed, is left behind, and ", h.cmd.Process.Pid)
	}
	return fmt.Errorf("inspect: reading %s: %w: %s%d of %d processes are told; allow more time",
		place(h.pid, h.file), context.Cause(ctx), left, r.doc.records, r.total)
}

// hung ends a helper that does not answer.
func (r *run) hung(h *helper) error {
	killed := h.end(r.grace)
	if h.file == "" {
		return fmt.Errorf("inspect: helper: it did not begin in %v: nothing more was read; try again when the machine is less busy", r.start)
	}
	hang := &Hang{PID: h.pid, File: h.file, After: r.patience}
	if !killed {
		hang.Helper = h.cmd.Process.Pid
	}
	return hang
}

// take takes a line of a helper; done if it was the last.
func (r *run) take(line []byte, last *end) (done bool, err error) {
	if len(line) == 0 {
		return false, errGarbled
	}
	switch text := line[1:]; line[0] {
	case lineRecord:
		if !json.Valid(text) {
			return false, errGarbled
		}
		return false, r.record(text)
	case lineSpent:
		var more Spent
		if json.Unmarshal(text, &more) != nil {
			return false, errGarbled
		}
		r.request.Spent.add(more)
		return false, nil
	case lineEnd:
		if json.Unmarshal(text, last) != nil || len(r.request.Processes) > 0 {
			return false, errGarbled
		}
		return true, nil
	}
	return false, errGarbled
}

var errGarbled = errors.New("inspect: helper: it answers what it was not asked: what follows is not told; it must be of the same build as who starts it")

// record writes the record of the next process, or of a group.
func (r *run) record(text []byte) error {
	if r.request.Collector != ControlGroup {
		if len(r.request.Processes) == 0 {
			return errGarbled
		}
		r.request.Processes = r.request.Processes[1:]
	}
	return r.doc.add(text)
}
