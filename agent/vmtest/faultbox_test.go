package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leaks makes an entry that leaves a mark if it can read the secret at its first instruction.
func leaks(c *container) {
	script := []string{"/bin/sh", "-c", "/bin/cat /data/secret >/dev/null 2>&1 && echo x >/vol/leak\n" + entry[2]}
	c.spec.Process.Args = script
}

// waitsLong is how long the wrapper waits there: a killed agent's next one comes meanwhile.
const waitsLong = 40 * time.Second

// TestContainersUnderFaults lets the agent be killed, fail and be slow at each step of a
// container's start. Nothing of the container runs before it is confined; the wrapper waits
// for the next agent, or tells the error, and then a new start works.
func TestContainersUnderFaults(t *testing.T) {
	runtime := oneRuntime(t)
	f := newFaults(t)
	put(faultConf, containersYAML)
	must(os.Remove(agentConf))
	must(os.Link(faultConf, agentConf))
	writeBoxPolicies()
	put(wrapperConf, fmt.Sprintf(`{"runtime": %q, "socket": "/run/stockade/agent.sock", "wait": %q}`+"\n", runtime, waitsLong))
	free := newContainer(t, runtime, "free-leak", false, leaks).begin() // the control
	if got := fmt.Sprint(free.marks()); got != "[leak]" {
		t.Errorf("without the wrapper its marks are %s", got)
	}
	free.end()
	f.up()
	defer func() {
		f.kill()
		f.order("")
		if r := stockade(t, "uninstall", "--force"); r.code != 0 || len(pins()) > 0 {
			t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
		}
	}()
	began := time.Now()
	for _, action := range faultActions {
		cases, _ := casesOf("container", action)
		for _, c := range cases {
			f.startOf(runtime, c, action)
		}
	}
	for i, point := range askedPoints {
		if os.Getenv("STOCKADE_FAULTS") == "all" || i%3 == share() {
			f.startOfAsking(runtime, point)
		}
	}
	f.row("of containers %d pairs; %.0f s", len(f.rows), time.Since(began).Seconds())
}

// startOf lets one thing go wrong while a container starts.
func (f *faults) startOf(program string, c faultCase, action string) {
	t := f.t
	what := "container " + c.point + " " + action
	f.order("")
	box := newContainer(t, program, f.name("box"), true, leaks)
	if err := box.create(); err != nil {
		t.Fatalf("%s: create: %v: %s", what, err, box.said())
	}
	f.order(c.order(action))
	outcome := "it waits for the next agent"
	type end struct {
		out string
		err error
	}
	started := make(chan end, 1)
	go func() {
		out, err := box.do("start", box.id)
		started <- end{out, err}
	}()
	if action == "kill" {
		if err := f.ended(); !wasKilled(err) {
			t.Errorf("%s: the agent ended with %v\n%s", what, err, f.said(f.seen))
		}
		box.rests(what)
		f.up()
	}
	got := <-started
	if action == "error" && !c.suffers {
		if got.err == nil || !strings.Contains(got.out+box.log(), c.says) {
			t.Errorf("%s: start: %v, says nothing of %q: %s%s", what, got.err, c.says, got.out, box.log())
		}
		box.rests(what)
		f.nothingOf(what, box)
		f.order("")
		got.out, got.err = box.do("start", box.id)
		outcome = "the error is told, then it starts"
	}
	if action == "delay" {
		outcome = "done"
	}
	if action != "kill" && !f.fired(c.point) && action != "error" {
		t.Errorf("%s: did not happen\n%s", what, f.said(f.seen))
	}
	if got.err != nil {
		t.Fatalf("%s: start: %v: %s%s", what, got.err, got.out, box.said())
	}
	if line := box.line(); line != "ready" {
		t.Fatalf("%s: it says %q: %s", what, line, box.said())
	}
	box.isConfined()
	box.can("read", "/data/ok", "ok")
	box.cannot("read", "/data/secret")
	box.wantDenials(secretDenied, secretDenied) // the first of its first program
	if len(box.marks()) > 0 {
		t.Errorf("%s: its marks are %v", what, box.marks())
	}
	box.end()
	box.gone()
	f.nothingOf(what, box)
	f.row("%-42s %s", what, outcome)
}

// askedPoints are where the agent is killed while a container starts whose programs are asked
// about: as that begins, and as the first one waits for an answer.
var askedPoints = []string{"agent.hold-group", "bpf.hold-flags", "agent.hold-mark", "bpf.read-hold", "bpf.answer", "agent.go-on"}

// startOfAsking kills the agent while such a container starts. Its entry runs confined, or,
// where it waited for the agent that was killed, not at all; the next one starts.
func (f *faults) startOfAsking(program, point string) {
	t := f.t
	what := "container that asks, " + point + " kill"
	asking := annotated(map[string]string{template: "asking"})
	f.order("")
	box := newContainer(t, program, f.name("asking"), true, asking, leaks)
	if err := box.create(); err != nil {
		t.Fatalf("%s: create: %v: %s", what, err, box.said())
	}
	f.order(point + "=kill")
	started := make(chan error, 1)
	go func() {
		_, err := box.do("start", box.id)
		started <- err
	}()
	if err := f.ended(); !wasKilled(err) || !f.fired(point) {
		t.Errorf("%s: the agent ended with %v\n%s", what, err, f.said(f.seen))
	}
	f.up()
	err := <-started
	outcome := "it waits for the next agent"
	switch line := box.line(); {
	case line == "ready" && err == nil:
		box.isConfined()
		box.cannot("read", "/data/secret")
	case line == "":
		outcome = "its entry does not run"
	default:
		t.Errorf("%s: start: %v, it says %q: %s", what, err, line, box.said())
	}
	if len(box.marks()) > 0 {
		t.Errorf("%s: its marks are %v", what, box.marks())
	}
	box.remove()
	box.gone()
	f.nothingOf(what, box)
	next := newContainer(t, program, f.name("asking"), true, asking, leaks).begin()
	next.isConfined()
	next.cannot("read", "/data/secret")
	next.end()
	f.row("%-42s %s", what, outcome)
}

// rests demands that a container has been prepared, and runs nothing.
func (c *container) rests(what string) {
	c.t.Helper()
	if s := c.runtimeState(); s != "created" {
		c.t.Errorf("%s: it is %q: %s", what, s, c.said())
	}
	select {
	case line := <-c.lines:
		c.t.Errorf("%s: its entry says %q", what, line)
	case <-time.After(500 * time.Millisecond):
	}
	if len(c.marks()) > 0 {
		c.t.Errorf("%s: its marks are %v", what, c.marks())
	}
}

// runtimeState is state, asked without the wrapper.
func (c *container) runtimeState() string {
	defer func(w bool) { c.wrapped = w }(c.wrapped)
	c.wrapped = false
	return c.state()
}

// nothingOf demands that no workload and no memory is there of a container.
func (f *faults) nothingOf(what string, c *container) {
	f.t.Helper()
	if w := c.workload(); w != nil {
		f.t.Errorf("%s: a workload is left: %+v", what, w)
	}
	left, err := filepath.Glob("/run/stockade/agent/*" + c.id + "*")
	must(err)
	if len(left) > 0 {
		f.t.Errorf("%s: remembered: %v", what, left)
	}
}
