package vmtest

import (
	"os/exec"
	"strings"
	"testing"
)

// kept: what the agent takes others' word for is out of reach of a workload that is
// permitted everything, and runs as root.
func kept(t *testing.T) {
	put(agentFile, "permit (principal, action, resource);")
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	if x := stockade(t, "key", "show"); x.code != 0 { // makes it
		t.Fatal(x.stderr)
	}
	const aside = "mkdir -p /var/aside/x && mv /var/aside /var/beside && rm -r /var/beside"
	if out, err := in(agentGroup, aside); err != nil {
		t.Errorf("beside it: %v: %s", err, out)
	}
	if out, err := exec.Command("cat", "/var/lib/stockade/host.key").CombinedOutput(); err != nil {
		t.Errorf("who is not confined: %v: %s", err, out)
	}
	boundary := func() (list []loggedDenial) {
		for _, d := range logged(t) {
			if d.Boundary != "" {
				list = append(list, d)
			}
		}
		return list
	}
	before := len(boundary())
	trials := []string{
		"read -r x </var/lib/stockade/host.key",
		"echo '[]' >/var/lib/stockade/locks.json",
		"read -r x </run/stockade/agent/agents.json",
		"rm /run/stockade/agent.sock",
		"rm /run/stockade/agent/agents.json",
		"mv /run/stockade /run/other",
		"mv /var/lib /var/other",
		"mount -t tmpfs none /var/lib/stockade",
		"mount -t tmpfs none /sys",
		"mount -t tmpfs none /proc",
	}
	for _, script := range trials {
		if out, err := in(agentGroup, script); err == nil || !strings.Contains(out, "Operation not permitted") && !strings.Contains(out, "permission denied") {
			t.Errorf("%s: %v: %s", script, err, out)
		}
	}
	await(t, "the denials", func() bool { return len(boundary()) >= before+len(trials) })
	if list := boundary()[before:]; len(list) != len(trials) {
		t.Errorf("%d denials of %d trials: %+v", len(list), len(trials), list)
	}
	put(agentFile, permitting("a", "both")+runPolicy)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
}
