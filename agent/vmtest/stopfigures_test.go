package vmtest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

// gang is what is killed for the figures, by a script that ends in a wait.
type gang struct {
	name, script string
	n            int // of processes
	// out moves those of a cgroup beneath out of the workload's.
	out bool
	// user has sleeping processes of another user in place of a script.
	user bool
}

var gangs = []gang{
	{name: "1 process", script: "exec sleep 1000", n: 1},
	{name: "100 processes", script: "for i in {1..99}; do sleep 1000 & done; wait", n: 100},
	{name: "1,000 processes", script: "for i in {1..999}; do sleep 1000 & done; wait", n: 1000},
	{name: "a fork bomb, at most 300", script: "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done", n: 290},
	{name: "100 stopped ones", script: "for i in {1..99}; do sleep 1000 & kill -STOP $!; done; wait", n: 100},
	{name: "20 traced ones", script: "for i in {1..20}; do strace -f -o /dev/null sleep 1000 & done; wait", n: 41},
	{name: "100 in 10 nested cgroups", script: nested, n: 100},
	{name: "10 of another user", n: 10, user: true},
	{name: "1 that left its cgroup", script: "exec sleep 1000", n: 1, out: true},
}

const nested = "d=" + agentGroup + "; for i in {1..10}; do d=$d/n; mkdir $d; echo $$ >$d/cgroup.procs; for j in {1..10}; do sleep 1000 & done; done; wait"

// gather starts it.
func (c *gang) gather(t *testing.T) {
	t.Helper()
	if c.user {
		c.others(t)
		return
	}
	if !c.out {
		gather(t, agentGroup, c.n, c.script)
		return
	}
	must(os.MkdirAll(agentGroup+"/out", 0o755))
	gather(t, agentGroup+"/out", c.n, c.script)
	moveOut(t, agentGroup+"/out")
}

// others starts processes of another user in the cgroup.
func (c *gang) others(t *testing.T) {
	t.Helper()
	group, err := os.Open(agentGroup)
	must(err)
	defer group.Close()
	for range c.n {
		p := exec.Command("/usr/bin/sleep", "1000")
		p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, UseCgroupFD: true, CgroupFD: int(group.Fd())}
		must(p.Start())
		go func() { _ = p.Wait() }()
	}
}

// bareKill ends what is in the cgroup as the kernel does by itself, and returns what that
// took.
func bareKill(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	must(os.WriteFile(agentGroup+"/cgroup.kill", []byte("1"), 0))
	empty(t)
	return time.Since(began)
}

// TestResponseFigures logs what a kill takes, beside the kernel's own of one cgroup, in one
// run. It runs only when STOCKADE_BENCH is set.
func TestResponseFigures(t *testing.T) {
	if os.Getenv("STOCKADE_BENCH") == "" {
		t.Skip("figures, not a test of behaviour: set STOCKADE_BENCH=1")
	}
	agentFixture(t)
	put(agentConf, strings.Replace(agentYAML, "workloads:", "limits: {tables: 64MiB}\nworkloads:", 1))
	put(agentFile, permitting("a")+`permit (principal, action, resource); @respond("freeze") forbid (principal, action, resource == file_system::File::"`+agentDir+`/none");`)
	startAgent(t)
	defer removeAgent(t)
	must(os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids"), 0))
	for i := range gangs {
		killFigure(t, &gangs[i])
	}
	evidenceFigure(t)
	deadFigure(t)
	tripFigure(t)
}

func killFigure(t *testing.T, c *gang) {
	limit := "max"
	if strings.Contains(c.name, "bomb") {
		limit = "300"
	}
	must(os.WriteFile(agentGroup+"/pids.max", []byte(limit), 0))
	inside := *c
	inside.out = false // what left it, the kernel's own does not find
	inside.gather(t)
	bare := bareKill(t)
	c.gather(t)
	began := time.Now()
	r := respond(t, 0, "kill", "agents", "--no-evidence", "--within", "2m")
	command := time.Since(began)
	fmt.Printf("figure: kill of %s: bare %.0f ms, verified by the agent after %.0f ms (%.2f of bare), the whole command %.0f ms (%.2f); %d processes\n",
		c.name, ms(bare), ms(steps(&r, "verify")), float64(steps(&r, "verify"))/float64(bare), ms(command), float64(command)/float64(bare), r.Processes)
	if c.n == 1000 {
		for _, s := range r.Steps {
			fmt.Printf("figure: kill of %s: of that, %s: %.0f ms\n", c.name, s.Name, s.Seconds*1000)
		}
	}
	must(os.WriteFile(agentGroup+"/pids.max", []byte("max"), 0))
	respond(t, 0, "unlock", "agents")
	prune(t)
}

// prune removes the cgroups beneath the workload's.
func prune(t *testing.T) {
	t.Helper()
	await(t, "cgroups to be removed", func() bool {
		out, err := exec.Command("find", agentGroup, "-mindepth", "1", "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").CombinedOutput()
		return err == nil && len(out) == 0
	})
}

func evidenceFigure(t *testing.T) {
	gather(t, agentGroup, gangs[1].n, gangs[1].script)
	r := respond(t, 0, "kill", "agents", "--within", "2m")
	for _, s := range r.Steps {
		fmt.Printf("figure: kill of 100 processes with evidence: %s: %.0f ms\n", s.Name, s.Seconds*1000)
	}
	if r.Evidence == nil || len(r.Evidence.Missing) > 0 {
		t.Errorf("%+v", r)
	}
	respond(t, 0, "unlock", "agents")
}

// deadFigure is of one that no kill ends: how long until that is said.
func deadFigure(t *testing.T) {
	silent := mountSilent(t, "/mnt/silent")
	begins(t, agentGroup, "read -r x <"+silent.dir+"/x")
	await(t, "a question", func() bool { return silent.asked.Load() > 0 })
	began := time.Now()
	r := respond(t, 3, "kill", "agents", "--no-evidence", "--within", "2s")
	fmt.Printf("figure: kill of 1 in state D: bare never ends it, NOT STOPPED is said after %.0f ms of --within 2s; %d left\n", ms(time.Since(began)), len(r.Left))
	silent.end()
	respond(t, 0, "kill", "agents", "--no-evidence")
	respond(t, 0, "unlock", "agents")
}

// tripFigure is from the denial by a tripwire to the next refused operation, and to the
// response of the agent, by the times of the kernel's events and of the agent's note.
func tripFigure(t *testing.T) {
	const tries = 10
	var next, freeze []time.Duration
	for range tries {
		before := len(logged(t))
		begins(t, agentGroup, "read -r x <"+agentDir+"/none; read -r x <"+agentDir+"/a; while :; do :; done") // it can execute nothing any more
		await(t, "both denials", func() bool { return len(logged(t)) >= before+2 })
		list := logged(t)[before:]
		if !list[0].LockedDown || list[1].Mode != "lockdown" {
			t.Fatalf("%+v", list)
		}
		next = append(next, list[1].Time.Sub(list[0].Time))
		await(t, "the freeze", func() bool {
			text, err := os.ReadFile(agentGroup + "/cgroup.events")
			return err == nil && strings.Contains(string(text), "frozen 1")
		})
		freeze = append(freeze, time.Since(list[0].Time))
		respond(t, 0, "kill", "agents", "--no-evidence")
		respond(t, 0, "unlock", "agents")
	}
	slices.Sort(next)
	slices.Sort(freeze)
	fmt.Printf("figure: tripwire: the very next operation was refused in %d of %d tries, %.1f ms later (median; as soon as it was tried); the agent had frozen the workload after at most %.0f ms (median)\n",
		len(next), tries, ms(next[tries/2]), ms(freeze[tries/2]))
}

// loggedDenial is what the figures read of one in the log.
type loggedDenial struct {
	Time       time.Time `json:"time"`
	Workload   string    `json:"workload"`
	Mode       string    `json:"mode"`
	Boundary   string    `json:"boundary"`
	LockedDown bool      `json:"locked_down"`
}

// logged are those in the agent's log.
func logged(t *testing.T) (list []loggedDenial) {
	t.Helper()
	text, err := os.ReadFile(agentLog)
	must(err)
	for line := range strings.Lines(string(text)) {
		var d loggedDenial
		if json.Unmarshal([]byte(line), &d) == nil && d.Mode != "" {
			list = append(list, d)
		}
	}
	return list
}

// gather starts a crowd, and waits until it is complete.
func gather(t *testing.T, group string, n int, script string) {
	t.Helper()
	begins(t, group, script)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		now := 0
		must(filepath.WalkDir(group, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				text, _ := os.ReadFile(path)
				now += strings.Count(string(text), "\n")
			}
			return nil
		}))
		if now >= n {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d of %d processes", now, n)
		}
	}
	time.Sleep(time.Second) // the last ones execute
}

// empty waits until nothing lives in the group, nor beneath.
func empty(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		text, err := os.ReadFile(agentGroup + "/cgroup.events")
		must(err)
		if strings.Contains(string(text), "populated 0") {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the group is not empty")
		}
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// steps is how long a response took, up to the end of a step.
func steps(r *agent.Response, last string) time.Duration {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if s := r.Steps[i]; s.Name == last {
			return s.At.Add(time.Duration(s.Seconds * float64(time.Second))).Sub(r.Steps[0].At)
		}
	}
	return 0
}
