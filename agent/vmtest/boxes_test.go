package vmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (f *fleetOfBoxes) entries(t *testing.T) {
	c := f.box(t, "entry").begin()
	c.isConfined()
	c.can("read", "/data/ok", "ok")
	c.cannot("read", "/data/secret")
	c.can("read", "/data/ok", "ok")
	c.wantDenials(secretDenied)
	c.end()
	c.gone()
}

func (f *fleetOfBoxes) forbidden(t *testing.T) {
	c := f.box(t, "touch", runs("/bin/touch", "/vol/mark"))
	c.stillborn()
	c.wantDenials(touchDenied)
}

// stillborn demands that a container does not start, or ends before its entry runs.
func (c *container) stillborn() {
	c.t.Helper()
	err := c.create()
	if err == nil {
		_, err = c.do("start", c.id)
	}
	if err == nil {
		await(c.t, "the end of what does not start", func() bool { return c.state() != "running" })
	}
	if state := c.state(); state == "running" || len(c.marks()) > 0 {
		c.t.Errorf("%s is %s, its marks %v: %v: %s", c.id, state, c.marks(), err, c.said())
	}
}

func (f *fleetOfBoxes) executions(t *testing.T) {
	c := f.box(t, "exec").begin()
	if out, err := c.do("exec", c.id, "/bin/cat", "/data/ok"); err != nil || out != "ok\n" {
		t.Errorf("exec: %v: %s%s", err, out, c.log())
	}
	c.refuses("/bin/cat", "/data/secret")
	c.refuses("/bin/touch", "/vol/mark")
	if len(c.marks()) > 0 {
		t.Errorf("marks: %v", c.marks())
	}
	c.cannot("run", "/bin/touch") // and so is the entry's own
	c.wantDenials(secretDenied, touchDenied, touchDenied)
	c.end()
}

// refuses demands that a program fails that is executed in the running container.
func (c *container) refuses(argv ...string) {
	c.t.Helper()
	out, err := c.do(append([]string{"exec", c.id}, argv...)...)
	if err == nil || !strings.Contains(strings.ToLower(out+c.log()), "permission denied") {
		c.t.Errorf("exec %v: %v: %s%s, want a failure by EACCES", argv, err, out, c.log())
	}
}

// again ends its container by the entry's end and by a signal in turn. What follows takes
// over the name of what has ended, or comes after it is gone.
func (f *fleetOfBoxes) again(t *testing.T) {
	const times = 10
	var want []string
	began := time.Now()
	for i := range times {
		c := f.box(t, "again").begin()
		c.isConfined()
		c.cannot("read", "/data/secret")
		want = append(want, secretDenied)
		await(t, fmt.Sprint("denial ", i), func() bool { return len(c.denials()) == len(want) })
		if i%2 == 0 {
			if out, err := c.do("kill", c.id, "KILL"); err != nil {
				t.Errorf("kill: %v: %s", err, out)
			}
		}
		c.end()
		if i == 4 || i == times-1 {
			c.gone()
		}
		if got := c.denials(); len(got) != len(want) {
			t.Errorf("life %d: denied %q, want %q", i, got, want)
		}
	}
	t.Logf("%d lives took %v", times, time.Since(began))
}

func (f *fleetOfBoxes) unattended(t *testing.T) {
	leave(t)
	c := f.box(t, "unattended")
	began := time.Now()
	err := c.create()
	took := time.Since(began)
	if err == nil || took > 40*time.Second || !errorNames(c.log(), "agent") {
		t.Errorf("create without an agent: %v after %v, its log: %s", err, took, c.log())
	}
	if s := c.state(); s != "" {
		t.Errorf("the runtime knows it as %s", s)
	}
	startAgent(t)
	c.begin()
	c.isConfined()
	c.can("read", "/data/ok", "ok")
	c.end()
}

// errorNames reports whether an error in a runtime's log has a word.
func errorNames(log, word string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"level":"error"`) && strings.Contains(line, word) {
			return true
		}
	}
	return false
}

func (f *fleetOfBoxes) between(t *testing.T) {
	c := f.box(t, "between")
	if err := c.create(); err != nil {
		t.Fatalf("create: %v: %s", err, c.said())
	}
	leave(t)
	began := time.Now()
	out, err := c.do("start", c.id)
	took := time.Since(began)
	if err == nil || took < waits-time.Second || took > 40*time.Second || !errorNames(c.log(), "agent") {
		t.Errorf("start without an agent: %v after %v: %s%s", err, took, out, c.log())
	}
	if s := c.state(); s != "created" {
		t.Errorf("it is %q", s)
	}
	select {
	case line := <-c.lines:
		t.Errorf("its entry says %q", line)
	default:
	}
	startAgent(t)
	c.start()
	c.isConfined()
	c.cannot("read", "/data/secret")
	c.wantDenials(secretDenied)
	c.end()
}

func (f *fleetOfBoxes) orphaned(t *testing.T) {
	c := f.box(t, "orphaned").begin()
	c.cannot("read", "/data/secret")
	c.wantDenials(secretDenied)
	leave(t)
	c.can("read", "/data/ok", "ok")
	c.cannot("read", "/data/secret")
	if out, err := c.do("exec", c.id, "/bin/cat", "/data/ok"); err != nil || out != "ok\n" {
		t.Errorf("exec without an agent: %v: %s%s", err, out, c.log())
	}
	c.refuses("/bin/cat", "/data/secret")
	c.refuses("/bin/touch", "/vol/mark")
	if len(c.marks()) > 0 {
		t.Errorf("marks: %v", c.marks())
	}
	startAgent(t)
	c.isConfined()
	c.cannot("read", "/data/secret")
	// What was denied meanwhile is counted in the kernel, and told by the new agent or lost.
	await(t, "books that are exact", func() bool {
		w := c.workload()
		return w != nil && w.Denied == 5 && w.Denied == w.Delivered+w.Dropped+w.Lost
	})
	if got := c.denials(); len(got) < 2 || got[len(got)-1] != secretDenied {
		t.Errorf("denied: %q", got)
	}
	c.end()
	c.gone()
}

func (f *fleetOfBoxes) users(t *testing.T) {
	c := f.box(t, "users", inUserNamespace).begin()
	c.isConfined()
	c.can("read", "/proc/self/uid_map", "0 100000 65536")
	c.can("read", "/data/ok", "ok")
	c.cannot("read", "/data/secret")
	c.can("write", "/vol/mark", "")
	c.refuses("/bin/touch", "/vol/another")
	c.wantDenials(secretDenied, touchDenied)
	if got := fmt.Sprint(c.marks()); got != "[mark]" {
		t.Errorf("marks: %s", got)
	}
	c.end()
}

func (f *fleetOfBoxes) volumes(t *testing.T) {
	c := f.box(t, "volumes", withVolumes).begin()
	c.isConfined()
	c.can("read", "/data/file", "file")
	c.can("write", "/vol/mark", "")
	c.can("write", "/scratch/x", "")
	c.cannot("read", "/shut/key")
	c.cannot("write", "/shut/new")
	c.cannot("read", "/data/secret")
	c.can("read", "/data/ok", "ok")
	c.wantDenials("open /shut/key:", "create /shut/new:", secretDenied)
	c.end()
}

// asked: the agent judges what the runtime starts as it judges what the container does.
func (f *fleetOfBoxes) asked(t *testing.T) {
	asking := annotated(map[string]string{template: "asking"})
	c := f.box(t, "asking", asking).begin() // its entry was asked about, too
	c.isConfined()
	if out, err := c.do("exec", c.id, "/bin/sleep", "0"); err != nil {
		t.Errorf("exec: %v: %s%s", err, out, c.log())
	}
	c.refuses("/bin/sleep", "99")
	c.refuses("/bin/sh", "-c", "/bin/sleep 0", "99")
	c.wantDenials("execute /bin/sleep: no-99", "execute /bin/sh: no-99")
	c.end()
	c = f.box(t, "asking-99", asking, runs("/bin/sh", "-c", "echo x >/vol/mark", "99"))
	c.stillborn()
	c.wantDenials("execute /bin/sh: no-99")
}

// numbers: the kernel knows the host's, and a container with others does not start.
func (f *fleetOfBoxes) numbers(t *testing.T) {
	tested := annotated(map[string]string{template: "numbers"})
	c := f.box(t, "numbers", tested).begin()
	c.isConfined()
	c.can("read", "/data/ok", "ok")
	if out, err := c.do("exec", "--user", "8", c.id, "/bin/cat", "/data/ok"); err != nil || out != "ok\n" {
		t.Errorf("exec as another user: %v: %s%s", err, out, c.log())
	}
	if out, err := c.do("exec", "--user", "7", c.id, "/bin/cat", "/data/ok"); err == nil {
		t.Errorf("exec as the user that may not: %s", out)
	}
	c.wantDenials("execute /bin/cat: no-seven")
	c.end()
	c = f.box(t, "others", tested, inUserNamespace, runs("/bin/sh", "-c", "echo x >/vol/mark"))
	c.stillborn()
	if !strings.Contains(c.said(), "policies test numbers of users or groups (/policy/numbers.cedar:1:1)") {
		t.Error(c.said())
	}
}

func (f *fleetOfBoxes) unmatched(t *testing.T) {
	for id, with := range map[string]map[string]string{"other": {template: "nothing"}, "bare": nil} {
		c := f.box(t, id, annotated(with), runs("/bin/sh", "-c", "echo x >/vol/mark"))
		c.stillborn()
		if !strings.Contains(c.said(), "no template of ") {
			t.Errorf("annotations %v: %s", with, c.said())
		}
		if w := c.workload(); w != nil {
			t.Errorf("annotations %v: %+v", with, w)
		}
	}
}

// atOnce: create and start in one would leave no time to confine it.
func (f *fleetOfBoxes) atOnce(t *testing.T) {
	c := f.box(t, "at-once", runs("/bin/sh", "-c", "echo x >/vol/mark"))
	for _, argv := range [][]string{{"run", "--bundle", c.dir, c.id}, {"restore", "--bundle", c.dir, c.id}} {
		out, err := c.do(argv...)
		if err == nil || !strings.Contains(out, argv[0]) {
			t.Errorf("%v: %v: %s", argv, err, out)
		}
		if s := c.state(); s != "" || len(c.marks()) > 0 {
			t.Errorf("%v: it is %s, its marks %v", argv, s, c.marks())
		}
	}
}

// self has the runtime's own program as the entry, by which a container once wrote to it
// (CVE-2019-5736).
func (f *fleetOfBoxes) self(t *testing.T) {
	c := f.box(t, "self", runs("/proc/self/exe", "--version"), withLibraries)
	c.stillborn()
	select {
	case line, more := <-c.lines:
		if more {
			t.Errorf("it says %q", line)
		}
	case <-time.After(5 * time.Second):
	}
	got := c.denials()
	if len(got) != 1 || !strings.HasPrefix(got[0], "execute ") {
		t.Errorf("denied: %q: %s", got, c.said())
	}
}
