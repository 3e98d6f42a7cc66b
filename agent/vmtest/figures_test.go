package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// TestAgentFigures logs what the agent takes: memory idle and with 100
// workloads, a reload of 10,000 policies, adoption. It takes minutes, and runs
// only when STOCKADE_BENCH is set.
func TestAgentFigures(t *testing.T) {
	if os.Getenv("STOCKADE_BENCH") == "" {
		t.Skip("figures, not a test of behaviour: set STOCKADE_BENCH=1")
	}
	agentFixture(t)
	put(agentConf, strings.Replace(agentYAML, "workloads:", "limits: {tables: 64MiB}\nworkloads:", 1))
	a := startAgent(t)
	defer removeAgent(t)
	time.Sleep(time.Second)
	idle := resident(t, a.cmd.Process.Pid)
	t.Logf("one workload: %d KiB resident", idle)

	var more strings.Builder
	for i := range 99 {
		fmt.Fprintf(&more, "  - {name: w%d, match: {cgroup: w%d.slice}, principal: 'User::\"w\"', policies: agent.cedar}\n", i, i)
	}
	put(agentConf, strings.Replace(agentYAML, "workloads:", "limits: {tables: 64MiB}\nworkloads:", 1)+more.String())
	for end := time.Now().Add(2 * time.Minute); len(status(t).Workloads) < 100; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d workloads", len(status(t).Workloads))
		}
	}
	full := resident(t, a.cmd.Process.Pid)
	t.Logf("100 workloads: %d KiB resident", full)

	var policies strings.Builder
	policies.WriteString(permitting("a", "both"))
	for i := range 10_000 {
		fmt.Fprintf(&policies, "permit (principal, action == file_system::Action::\"read\", resource == file_system::File::\"/srv/many/%d/file\");\n", i)
	}
	put("/policy/many.cedar", policies.String())
	began := time.Now()
	if r := stockade(t, "policy", "apply", "--policy", "/policy/many.cedar", "agents"); r.code != 0 {
		t.Fatalf("10,000 policies: exit %d: %s", r.code, r.stderr)
	}
	t.Logf("10,000 policies applied in %v, then %d KiB resident", time.Since(began), resident(t, a.cmd.Process.Pid))
	wantReads(t, agentGroup, "with 10,000 policies", "a both")

	must(a.cmd.Process.Kill())
	<-a.done
	began = time.Now()
	a = startAgent(t)
	t.Logf("100 workloads adopted, and all policies compiled, in %v", time.Since(began))
	if s := status(t); !s.Adopted || len(s.Workloads) != 100 {
		t.Errorf("adopted %v, %d workloads", s.Adopted, len(s.Workloads))
	}
	if limit := 512 << 10; full > limit {
		t.Errorf("%d KiB, of at most %d", full, limit)
	}
}

// resident returns the memory of a process in KiB, without the tables: they are
// the kernel's, and mapped.
func resident(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(err)
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var n int
	if _, err := fmt.Sscan(rest, &n); err != nil {
		t.Fatal(err)
	}
	return n
}
