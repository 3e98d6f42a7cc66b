package vmtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const containersYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
containers:
  - name: box
    match: {annotation: {stockade.dev/policy: box}}
    policies: [box.cedar]
    principal: 'Agent::"box"'
  - {name: pause, unconfined: true, match: {annotation: {stockade.dev/policy: pause}}}
  - name: asking
    match: {annotation: {stockade.dev/policy: asking}}
    policies: [box.cedar, asking.cedar]
    principal: 'Agent::"asking"'
  - name: roaming
    match: {annotation: {stockade.dev/policy: roaming}}
    policies: [box.cedar, roaming.cedar]
    principal: 'Agent::"roaming"'
  - name: numbers
    match: {annotation: {stockade.dev/policy: numbers}}
    policies: [box.cedar, numbers.cedar]
    principal: 'Agent::"numbers"'
`

// boxPolicy is what a container of these tests may do. See container.
const boxPolicy = `@id("programs") permit (principal, action in [file_system::Action::"execute", file_system::Action::"open", file_system::Action::"read"], resource)
when { resource in [file_system::File::"/bin/sh", file_system::File::"/bin/cat", file_system::File::"/bin/sleep"] };
@id("data") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource)
when { resource in file_system::Dir::"/data" || resource in file_system::Dir::"/proc" };
@id("places") permit (principal, action in [file_system::Action::"open", file_system::Action::"read", file_system::Action::"write", file_system::Action::"create"], resource)
when { resource in file_system::Dir::"/vol" || resource in file_system::Dir::"/scratch" || resource == file_system::File::"/dev/null" };
@id("no-secret") @reason("it stays") forbid (principal, action, resource == file_system::File::"/data/secret");
`

// askingPolicy asks the agent about what a shell or another program is started with,
// roamingPolicy permits a program that leaves its namespace, numbersPolicy tests who starts one.
const (
	askingPolicy = `@id("no-99") forbid (principal, action == file_system::Action::"execute", resource)
when { resource in [file_system::File::"/bin/sleep", file_system::File::"/bin/sh"] && context has arguments && context.arguments.positional_values.contains("99") };
`
	roamingPolicy = `@id("roam") permit (principal, action, resource == file_system::File::"/bin/roam");
@id("sys") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource in file_system::Dir::"/sys");
`
	numbersPolicy = `@id("no-seven") forbid (principal, action == file_system::Action::"execute", resource)
when { context has user && context.user.uid == 7 };
`
)

func writeBoxPolicies() {
	put("/policy/box.cedar", boxPolicy)
	put("/policy/asking.cedar", askingPolicy)
	put("/policy/roaming.cedar", roamingPolicy)
	put("/policy/numbers.cedar", numbersPolicy)
}

// runtimesHere are the runtimes that the machine has, by their name and version.
func runtimesHere(t *testing.T) map[string]string {
	t.Helper()
	inVM(t)
	programs := map[string]string{}
	found, err := filepath.Glob("/vmtest/runtimes/*/*")
	must(err)
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			programs[filepath.Base(filepath.Dir(path))] = path
		}
	}
	if len(programs) == 0 {
		t.Fatal("no runtimes: vm run --runtimes puts them in /vmtest/runtimes")
	}
	return programs
}

// oneRuntime is the first of them in the order of eachRuntime.
func oneRuntime(t *testing.T) string {
	t.Helper()
	programs := runtimesHere(t)
	return programs[slices.Max(slices.Collect(maps.Keys(programs)))]
}

// eachRuntime runs tests with all of them.
func eachRuntime(t *testing.T, test func(t *testing.T, program string)) {
	t.Helper()
	programs := runtimesHere(t)
	var names []string
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	slices.Reverse(names) // the first has tests that others have not: one of runc
	for _, name := range names {
		t.Run(name, func(t *testing.T) { test(t, programs[name]) })
	}
}

// TestContainersWithoutUs is the control of all below: what is denied there is done here.
func TestContainersWithoutUs(t *testing.T) {
	eachRuntime(t, func(t *testing.T, program string) {
		free := func(id string, change ...func(*container)) *container {
			return newContainer(t, program, "free-"+id, false, change...)
		}
		began := time.Now()
		c := free("entry").begin()
		started := time.Since(began)
		c.can("read", "/data/ok", "ok")
		c.can("read", "/data/secret", "secret")
		c.can("write", "/vol/mark", "")
		began = time.Now()
		if out, err := c.do("exec", c.id, "/bin/touch", "/vol/another"); err != nil {
			t.Errorf("exec: %v: %s", err, out)
		}
		t.Logf("create and start took %v, exec %v", started, time.Since(began))
		if out, err := c.do("exec", c.id, "/bin/cat", "/data/secret"); err != nil || out != "secret\n" {
			t.Errorf("exec: %v: %s", err, out)
		}
		if got := fmt.Sprint(c.marks()); got != "[another mark]" {
			t.Errorf("marks: %s", got)
		}
		if out, err := c.do("kill", c.id, "KILL"); err != nil {
			t.Errorf("kill: %v: %s", err, out)
		}
		c.end()

		c = free("touch", runs("/bin/touch", "/vol/mark"))
		if err := c.create(); err != nil || len(c.marks()) > 0 {
			t.Fatalf("create: %v, marks %v: %s", err, c.marks(), c.said())
		}
		if out, err := c.do("start", c.id); err != nil {
			t.Errorf("start: %v: %s", err, out)
		}
		await(t, "the mark of an entry", func() bool { return len(c.marks()) == 1 })
		c.end()

		c = free("users", inUserNamespace).begin()
		c.can("read", "/data/secret", "secret")
		c.can("read", "/proc/self/uid_map", "0 100000 65536")
		c.end()

		c = free("roaming", roams).begin()
		if out, err := c.do("exec", c.id, "/bin/cat", "/data/secret"); err != nil || out != "secret\n" {
			t.Errorf("exec where it has gone: %v: %s", err, out)
		}
		c.end()

		c = free("volumes", withVolumes).begin()
		c.can("read", "/shut/key", "key")
		c.can("write", "/scratch/x", "")
		c.end()

		c = free("self", runs("/proc/self/exe", "--version"), withLibraries)
		c.create()
		c.do("start", c.id)
		if line := c.line(); !strings.Contains(line, "version") {
			t.Errorf("the runtime itself as the entry: %q: %s", line, c.said())
		}
	})
}

// waits is how long the wrapper waits for an agent: one that attaches the hooks for what is
// asked takes some seconds here.
const waits = 10 * time.Second

// fleetOfBoxes are the containers of one runtime under one agent.
type fleetOfBoxes struct{ program, name string }

// TestContainers starts containers by the wrapper, as an engine does.
func TestContainers(t *testing.T) {
	runtimesHere(t)
	must(os.RemoveAll(agentLog))
	must(os.MkdirAll(filepath.Dir(agentLog), 0o755))
	put(agentConf, containersYAML)
	writeBoxPolicies()
	startAgent(t)
	defer retireAgent(t)
	first := true
	eachRuntime(t, func(t *testing.T, program string) {
		put(wrapperConf, fmt.Sprintf(`{"runtime": %q, "socket": "/run/stockade/agent.sock", "wait": %q}`+"\n", program, waits))
		f := &fleetOfBoxes{program, filepath.Base(filepath.Dir(program))}
		for _, c := range []struct {
			name  string
			test  func(*testing.T)
			every bool // runtime's; another is for the first that the machine has
		}{
			{"what it may not read is denied", f.entries, true},
			{"an entry that no policy permits does not run", f.forbidden, true},
			{"what is executed in it later is confined", f.executions, true},
			{"it is started again under the same name", f.again, false},
			{"without an agent none is created", f.unattended, false},
			{"none starts while the agent is gone", f.between, false},
			{"it stays confined without the agent", f.orphaned, false},
			{"with a user namespace", f.users, true},
			{"with volumes, a tmpfs and a read-only root", f.volumes, false},
			{"what its programs are started with is asked about", f.asked, false},
			{"numbers of users are not compared with others", f.numbers, false},
			{"it has left its mount namespace", f.roaming, true},
			{"a hook has moved it", f.moved, true},
			{"it is paused before its start", f.paused, false},
			{"beside one that is not held", f.pod, false},
			{"its cgroup is within another's", f.within, false},
			{"it is killed", f.killed, false},
			{"what no template matches does not start", f.unmatched, false},
			{"what would start one at once is refused", f.atOnce, false},
			{"the runtime itself is no entry", f.self, true},
		} {
			if !first && !c.every {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				attended(t)
				c.test(t)
			})
		}
		first = false
	})
}

// attended starts an agent where an earlier test has left none.
func attended(t *testing.T) {
	t.Helper()
	if !listens() {
		must(agents.cmd.Process.Kill())
		startAgent(t)
	}
}

// leave kills the agent.
func leave(t *testing.T) {
	t.Helper()
	if err := agents.signal(syscall.SIGKILL); err == nil {
		t.Error("the agent survived SIGKILL")
	}
}

// box makes a container of the wrapper's, whose name no other test has.
func (f *fleetOfBoxes) box(t *testing.T, id string, change ...func(*container)) *container {
	t.Helper()
	return newContainer(t, f.program, f.name+"-"+id, true, change...)
}

// boxed is what ps shows of a container's workload.
type boxed struct {
	Name, Origin, Mode               string
	Tasks                            int
	Denied, Delivered, Dropped, Lost uint64
}

// workloadName begins with its template's.
func (c *container) workloadName() string {
	return cmp.Or(c.spec.Annotations[template], "box") + "." + c.id
}

// workload returns that of a container; nil if there is none.
func (c *container) workload() *boxed {
	c.t.Helper()
	name := c.workloadName()
	r := stockade(c.t, "ps", "--json")
	var s struct{ Workloads []boxed }
	if err := json.Unmarshal([]byte(r.stdout), &s); r.code != 0 || err != nil {
		c.t.Fatalf("ps: exit %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	for _, w := range s.Workloads {
		if w.Name == name {
			return &w
		}
	}
	return nil
}

// isConfined demands that the agent shows it.
func (c *container) isConfined() {
	c.t.Helper()
	if w := c.workload(); w == nil || w.Origin != "container" || w.Mode != "enforce" {
		c.t.Errorf("%s as ps shows it: %+v", c.id, w)
	}
}

// denials are those of a container in the agent's log.
func (c *container) denials() []string { return denialsOf(c.workloadName()) }

// denialsOf are those of a workload in the agent's log: "ACTION PATH: POLICY…".
func denialsOf(workload string) (list []string) {
	text, err := os.ReadFile(agentLog)
	must(err)
	for line := range bytes.Lines(text) {
		var d struct {
			Type, Workload, Action, Path string
			Policies                     []struct{ ID string }
		}
		if err := json.Unmarshal(line, &d); err != nil {
			continue // torn, where an agent was killed
		}
		if d.Type != "denial" || d.Workload != workload {
			continue
		}
		text := d.Action + " " + d.Path + ":"
		for _, p := range d.Policies {
			text += " " + p.ID
		}
		list = append(list, text)
	}
	return list
}

// wantDenials demands that these are all that was denied to it, of which the agent has
// counted as many.
func (c *container) wantDenials(want ...string) {
	c.t.Helper()
	end := time.Now().Add(10 * time.Second)
	for len(c.denials()) < len(want) && time.Now().Before(end) {
		time.Sleep(50 * time.Millisecond)
	}
	w := c.workload() // its books are brought up to date
	if got := c.denials(); !slices.Equal(got, want) {
		c.t.Errorf("%s: denied %q, want %q", c.id, got, want)
	}
	if w != nil && (w.Denied != uint64(len(want)) || w.Dropped+w.Lost > 0) {
		c.t.Errorf("%s: books %+v, want %d denials", c.id, w, len(want))
	}
}

const (
	secretDenied = "open /data/secret: no-secret"
	touchDenied  = "execute /bin/touch:"
)

// gone waits until the agent shows it no more.
func (c *container) gone() {
	c.t.Helper()
	for end := time.Now().Add(30 * time.Second); c.workload() != nil; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("%s ended half a minute ago: %+v", c.id, c.workload())
		}
	}
}
