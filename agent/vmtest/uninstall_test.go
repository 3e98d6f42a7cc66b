package vmtest

import "testing"

func TestUninstallEndsTheAgentAndLeavesNothing(t *testing.T) {
	agentFixture(t)
	a := startAgent(t)
	wantReads(t, agentGroup, "with the agent", "a both")
	if r := stockade(t, "uninstall"); r.code != 0 {
		t.Errorf("uninstall: exit %d: %s", r.code, r.stderr)
	}
	if err := <-a.done; err != nil {
		t.Errorf("the agent after uninstall: %v\n%s", err, a.said)
	}
	nothingLeft(t)
	wantReads(t, agentGroup, "after uninstall", "a b both none")
}
