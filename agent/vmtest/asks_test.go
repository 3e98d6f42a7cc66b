package vmtest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// asking leaves it to a human whether id may be run: which of its arguments have
// values is not known. true may run.
const asking = `@id("all") permit (principal, action, resource);
@id("id-asks") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/id")
unless { context.arguments.keys.contains("ok") };
`

// TestWhatIsAskedIsDeniedUntilItIsApproved: a ticket, an answer, its end by the
// kernel's clock, and exact counts.
func TestWhatIsAskedIsDeniedUntilItIsApproved(t *testing.T) {
	agentFixture(t)
	put(agentFile, asking)
	startAgent(t)
	defer retireAgent(t)
	runs := func(when, script string, want bool) {
		t.Helper()
		if out, err := in(agentGroup, script); (err == nil) != want {
			t.Errorf("%s: %s: %v: %s", when, script, err, out)
		}
	}
	ticket := func() string {
		t.Helper()
		var list struct{ Asks []struct{ ID, Path string } }
		for end := time.Now().Add(30 * time.Second); len(list.Asks) == 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if r := stockade(t, "asks", "--json"); r.code != 0 || json.Unmarshal([]byte(r.stdout), &list) != nil {
				t.Fatalf("asks: exit %d: %s%s", r.code, r.stdout, r.stderr)
			}
		}
		if len(list.Asks) != 1 || list.Asks[0].Path != "/usr/bin/id" {
			t.Fatalf("asks: %+v", list)
		}
		return list.Asks[0].ID
	}
	runs("control", "/usr/bin/true", true)
	runs("asked", "/usr/bin/id", false)
	if r := stockade(t, "approve", ticket(), "--for", "20s"); r.code != 0 || !strings.Contains(r.stdout, "generation 2") {
		t.Fatalf("approve: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	lapses := time.Now().Add(20 * time.Second)
	runs("approved", "/usr/bin/id", true)
	time.Sleep(time.Until(lapses))
	runs("lapsed", "/usr/bin/id", false)
	if r := stockade(t, "refuse", ticket(), "--scope", "policy"); r.code != 0 {
		t.Fatalf("refuse: exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
	runs("refused", "/usr/bin/id", false)
	if w := status(t).Workloads[0]; w.Origin != "answered" || w.Generation != 3 || w.Denied != 3 {
		t.Errorf("%+v", w)
	}
	if r := stockade(t, "asks"); !strings.Contains(r.stdout, "nothing waits") { // refused is no question
		t.Errorf("asks: %s", r.stdout)
	}
}
