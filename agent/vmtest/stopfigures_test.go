package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

// crowds are what is killed for the figures, each by a script that ends in a wait.
var crowds = []struct {
	name, script string
	n            int // of processes
}{
	{"1 process", "exec sleep 1000", 1},
	{"100 processes", "for i in {1..99}; do sleep 1000 & done; wait", 100},
	{"1,000 processes", "for i in {1..999}; do sleep 1000 & done; wait", 1000},
	{"a fork bomb, at most 300", "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done", 290},
	{"100 stopped ones", "for i in {1..99}; do sleep 1000 & kill -STOP $!; done; wait", 100},
}

// TestResponseFigures logs what a kill takes, beside the kernel's own of one cgroup, in one
// run. It runs only when STOCKADE_BENCH is set.
func TestResponseFigures(t *testing.T) {
	if os.Getenv("STOCKADE_BENCH") == "" {
		t.Skip("figures, not a test of behaviour: set STOCKADE_BENCH=1")
	}
	agentFixture(t)
	put(agentConf, strings.Replace(agentYAML, "workloads:", "limits: {tables: 64MiB}\nworkloads:", 1))
	startAgent(t)
	defer removeAgent(t)
	must(os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+pids"), 0))
	for _, c := range crowds {
		limit := "max"
		if strings.Contains(c.name, "bomb") {
			limit = "300"
		}
		must(os.WriteFile(agentGroup+"/pids.max", []byte(limit), 0))
		gather(t, c.n, c.script)
		began := time.Now()
		must(os.WriteFile(agentGroup+"/cgroup.kill", []byte("1"), 0))
		empty(t)
		bare := time.Since(began)
		gather(t, c.n, c.script)
		began = time.Now()
		r := respond(t, 0, "kill", "agents", "--no-evidence", "--within", "2m")
		command := time.Since(began)
		fmt.Printf("figure: kill of %s: bare %.0f ms, verified by the agent after %.0f ms (%.2f of bare), the whole command %.0f ms (%.2f); %d processes\n",
			c.name, ms(bare), ms(steps(&r, "verify")), float64(steps(&r, "verify"))/float64(bare), ms(command), float64(command)/float64(bare), r.Processes)
		must(os.WriteFile(agentGroup+"/pids.max", []byte("max"), 0))
		respond(t, 0, "unlock", "agents")
	}
	gather(t, crowds[1].n, crowds[1].script)
	r := respond(t, 0, "kill", "agents", "--within", "2m")
	for _, s := range r.Steps {
		fmt.Printf("figure: kill of 100 processes with evidence: %s: %.0f ms\n", s.Name, s.Seconds*1000)
	}
	if r.Evidence == nil || len(r.Evidence.Missing) > 0 {
		t.Errorf("%+v", r)
	}
	respond(t, 0, "unlock", "agents")
}

// gather starts a crowd, and waits until it is complete.
func gather(t *testing.T, n int, script string) {
	t.Helper()
	begins(t, agentGroup, script)
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		text, err := os.ReadFile(agentGroup + "/pids.current")
		must(err)
		var now int
		if fmt.Sscan(string(text), &now); now >= n {
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
