package vmtest

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// denial is the event that a refused operation must give. In its paths "@"
// stands for the fixture directory.
type denial struct {
	actions string // every action refused, in the order of their codes
	path    string // "#*" at its end is an inode number: a file without a name
	dest    string
	dir     bool // the resource is a Dir
	reason  abi.Reason
	mode    abi.Mode
	exe     string // "" is the probe itself
	status  abi.PathStatus
	trips   bool
}

// trial is one operation. The probe's arguments may hold "@".
type trial struct {
	name    string   // states the wanted verdict
	control []string // the same operation where the policy permits it
	probe   []string
	errno   syscall.Errno   // 0: allowed
	want    denial          // of a denied one
	files   []*os.File      // the probe's descriptors from 3 on
	steps   string          // taken before the probe is confined
	absent  []syscall.Errno // what kernels without this feature answer
	limit   limit           // a documented one: it ends so, or better
	undo    func()          // after the control, and before the probe
}

const eacces, eperm, exdev = syscall.EACCES, syscall.EPERM, syscall.EXDEV

// run runs trials one after the other.
func (s *stage) run(trials ...trial) {
	s.t.Helper()
	for _, tr := range trials {
		ok := s.t.Run(tr.name, func(t *testing.T) {
			s.sub(t, func() {
				s.renew()
				s.try(tr)
			})
		})
		if !ok {
			results.note(s.t.Name()+"/"+rewrite(tr.name), isFailed)
		}
	}
}

// rewrite turns a subtest's name into what testing makes of it.
func rewrite(name string) string {
	b := []byte(name)
	for i, c := range b {
		if c == ' ' {
			b[i] = '_'
		}
	}
	return string(b)
}

// sub makes t the stage's test while f runs.
func (s *stage) sub(t *testing.T, f func()) {
	outer := s.t
	s.t = t
	defer func() { s.t = outer }()
	f()
}

func (s *stage) try(tr trial) {
	t := s.t
	t.Helper()
	s.quiet("before the trial")
	if tr.control != nil {
		a := s.start(tr.steps, tr.files, 0, tr.control...).wait()
		if s.absent(a, tr.absent) {
			s.absentHere(a, s.unconfined(tr.files, tr.steps, tr.control))
			return
		}
		s.expectAllowed(a)
		if tr.undo != nil {
			tr.undo()
		}
	}
	a := s.start(tr.steps, tr.files, tr.errno, tr.probe...).wait()
	if s.absent(a, tr.absent) {
		s.absentHere(a, s.unconfined(tr.files, tr.steps, tr.probe))
		return
	}
	r, asSaid := isAllowed, func() { s.expectAllowed(a) }
	if tr.errno != 0 {
		r, asSaid = isDenied, func() { s.expectDenied(a, tr.want) }
	}
	s.end(tr.limit, a, tr.errno, r, asSaid)
}

// end ends a trial: as it said, which is the result r, or as its limit allows.
func (s *stage) end(l limit, a *attempt, errno syscall.Errno, r result, asSaid func()) {
	s.t.Helper()
	if l != "" {
		s.bounded(l, a, errno, asSaid)
	} else {
		asSaid()
		results.note(s.t.Name(), r)
	}
	if s.t.Failed() {
		results.note(s.t.Name(), isFailed)
	}
}

// absent: does a's end look as if the kernel had no such call?
func (s *stage) absent(a *attempt, also []syscall.Errno) bool {
	return a.errno == syscall.ENOSYS || slices.Contains(also, a.errno)
}

// unconfined lets a probe run to its end that nothing confines.
func (s *stage) unconfined(files []*os.File, steps string, argv []string) *attempt {
	s.t.Helper()
	a := s.command(files, "-1", steps, 0, argv)
	a.startErr = a.cmd.Start()
	return a.wait()
}

// quiet asserts that no event is pending.
func (s *stage) quiet(when string) {
	s.t.Helper()
	got := s.collect()
	for _, e := range got {
		s.t.Errorf("%s: unwanted event: %s", when, show(e))
	}
	s.balance(len(got))
}

// collect returns the pending events, and asserts that none is missing between
// them.
func (s *stage) collect() []abi.Event {
	s.t.Helper()
	var list []abi.Event
	for _, e := range s.take(s.t, s.id) {
		if e.Seq != s.seq+1 {
			s.t.Errorf("event %d after %d", e.Seq, s.seq)
		}
		s.seq = e.Seq
		list = append(list, e)
	}
	return list
}

// balance asserts that the counters moved by as many denials as events came.
func (s *stage) balance(denied int) {
	s.t.Helper()
	c := must1(s.Counters(s.id))(s.t)
	if c.Denied-s.denied != uint64(denied) {
		s.t.Errorf("counter of denials rose by %d with %d events", c.Denied-s.denied, denied)
	}
	if c.Dropped != s.dropped {
		s.t.Errorf("%d events dropped", c.Dropped-s.dropped)
	}
	s.denied, s.dropped = c.Denied, c.Dropped
}

// expectAllowed asserts success without a trace.
func (s *stage) expectAllowed(a *attempt) {
	s.t.Helper()
	if a.startErr != nil || a.code != probes.Allowed {
		s.t.Errorf("not allowed: %v", a)
	}
	s.quiet("allowed operation")
}

// expectDenied asserts the errno and exactly the wanted events.
func (s *stage) expectDenied(a *attempt, want ...denial) {
	s.t.Helper()
	if a.startErr != nil || a.code != probes.Denied {
		s.t.Errorf("not denied as wanted: %v", a)
	}
	s.expectEvents(a.pid, want...)
}

// expectAudited asserts success, with these events.
func (s *stage) expectAudited(a *attempt, want ...denial) {
	s.t.Helper()
	if a.startErr != nil || a.code != probes.Allowed {
		s.t.Errorf("not allowed: %v", a)
	}
	s.expectEvents(a.pid, want...)
}

// expectEvents asserts that exactly these events are pending, in order.
func (s *stage) expectEvents(pid int, want ...denial) {
	s.t.Helper()
	got := s.collect()
	if len(got) != len(want) {
		s.t.Errorf("%d events, want %d", len(got), len(want))
	}
	for i, e := range got {
		if i >= len(want) {
			s.t.Errorf("unwanted event: %s", show(e))
			continue
		}
		s.compare(e, want[i], pid)
	}
	s.balance(len(got))
}

func (s *stage) compare(e abi.Event, want denial, pid int) {
	s.t.Helper()
	kind, exe := abi.File, want.exe
	if want.dir {
		kind = abi.Dir
	}
	if exe == "" {
		exe = s.exe
	}
	if want.status == abi.PathNone && want.path != "" {
		want.status = abi.PathOK
	}
	check := func(what string, got, want any) {
		s.t.Helper()
		if got != want {
			s.t.Errorf("event's %s: got %q, want %q in %s", what, got, want, show(e))
		}
	}
	check("actions", e.Missing.String(), want.actions)
	if all := e.Missing.Actions(); len(all) > 0 {
		check("action", e.Action, all[0])
	}
	path := e.Path
	if strings.HasSuffix(want.path, "#*") {
		path = unnamed.ReplaceAllString(path, "#*")
	}
	check("path", path, s.at(want.path))
	check("destination", e.Dest, s.at(want.dest))
	check("kind", e.Kind, kind)
	check("mode", e.Mode, want.mode)
	check("tripping", e.Trips, want.trips)
	check("reason", e.Reason, want.reason)
	check("status", e.PathStatus, want.status)
	check("executable", e.Exe, s.at(exe))
	if e.PID != uint32(pid) {
		s.t.Errorf("event's process: got %d, want %d", e.PID, pid)
	}
}

var unnamed = regexp.MustCompile(`#[0-9]+$`)

func show(e abi.Event) string {
	text := e.Missing.String() + " " + e.Kind.String() + " " + e.Path
	if e.Dest != "" {
		text += " to " + e.Dest
	}
	return text + " by " + e.Exe + " (" + e.Comm + "): " + e.Reason.String()
}
