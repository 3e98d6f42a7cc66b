package vmtest

import (
	"strings"
	"testing"
	"time"
)

// TestCapsFollowTheConfiguration grants a capability to a workload, and takes it
// away by a reload; a run has what it asks for, and no more.
func TestCapsFollowTheConfiguration(t *testing.T) {
	agentFixture(t)
	put(agentConf, agentYAML+"    caps: [SYS_NICE]\n")
	startAgent(t)
	defer retireAgent(t)
	const script = "chrt -f 1 true"
	if out, err := in(agentGroup, script); err != nil {
		t.Errorf("granted: %v: %s", err, out)
	}
	if out, err := in(agentGroup, "prlimit --pid $$ --rtprio=1:1 && prlimit --pid $$ --rtprio=9:9"); err == nil {
		t.Errorf("not granted: %s", out)
	}
	run := func(options ...string) result {
		args := append([]string{"run", "--agent=require", "--policy", agentFile}, options...)
		return stockade(t, append(args, "--", "chrt", "-f", "1", "true")...)
	}
	if r := run("--cap", "SYS_NICE"); r.code != 0 || strings.Contains(r.stderr, " denied ") && !strings.Contains(r.stderr, " 0 operations denied") {
		t.Errorf("run with a grant: exit %d: %s", r.code, r.stderr)
	}
	if r := run(); r.code != 1 || !strings.Contains(r.stderr, "denied the use of SYS_NICE by /usr/bin/chrt[") {
		t.Errorf("run without a grant: exit %d: %s", r.code, r.stderr)
	}
	put(agentConf, agentYAML)
	out, err := "", error(nil)
	for end := time.Now().Add(30 * time.Second); err == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		out, err = in(agentGroup, script)
	}
	if err == nil || !strings.Contains(out, "Operation not permitted") {
		t.Errorf("taken away by a reload: %v: %s", err, out)
	}
	exact(t)
}
