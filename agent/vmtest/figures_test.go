package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
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

	sustained(t, full)
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

// floodTime is how long a flood lasts.
const floodTime = 10 * time.Second

// flood enters the agent's cgroup and is denied as often as it can; it prints
// how often.
func flood() int {
	if err := os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	n := 0
	for end := time.Now().Add(floodTime); time.Now().Before(end); n++ {
		if _, err := syscall.Open(agentDir+"/none", syscall.O_RDONLY, 0); err != syscall.EACCES {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	fmt.Print(n)
	return 0
}

// sustained logs how many denials a second the agent delivers while one task
// makes as many as it can.
func sustained(t *testing.T, before int) {
	t.Helper()
	counts := func() (denied, delivered, dropped uint64) {
		for _, w := range status(t).Workloads {
			if w.Name == "agents" {
				return w.Denied, w.Delivered, w.Dropped + w.Lost
			}
		}
		t.Fatal("no workload agents")
		return
	}
	denied, delivered, dropped := counts()
	began := time.Now()
	out, err := exec.Command("/proc/self/exe", "flood").Output()
	if err != nil {
		t.Fatalf("flood: %v", err)
	}
	made, err := strconv.Atoi(string(out))
	must(err)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		a, b, c := counts()
		if a -= denied; a < uint64(made) {
			t.Fatalf("%d of %d denials are counted", a, made)
		} else if b, c = b-delivered, c-dropped; a == b+c {
			took := time.Since(began).Seconds()
			t.Logf("flood: %d denials in %v, %.0f a second; delivered %d, %.0f a second; no room for %d", a, floodTime, float64(a)/floodTime.Seconds(), b, float64(b)/took, c)
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d denials, %d delivered, %d dropped", a, b, c)
		}
	}
	if now := resident(t, status(t).PID); now > before+(64<<10) {
		t.Errorf("after the flood %d KiB resident, before it %d", now, before)
	} else {
		t.Logf("after the flood: %d KiB resident", now)
	}
}
