package vmtest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent"
)

// part prints one part of a bundle.
func part(t *testing.T, bundle, name string) string {
	t.Helper()
	out, err := exec.Command("tar", "-xOf", bundle, name).Output()
	if err != nil {
		t.Errorf("%s of %s: %v", name, bundle, err)
	}
	return string(out)
}

// checkEvidence checks the bundle of a kill: it is whole, tells of a process with some
// text in its command line, and any change of it is found.
func checkEvidence(t *testing.T, r *agent.Response, text string) {
	t.Helper()
	e := r.Evidence
	if e == nil {
		t.Fatalf("no evidence: %+v", r.Steps)
	}
	if len(e.Missing) > 0 {
		t.Errorf("missing: %v: %+v", e.Missing, r.Steps)
	}
	public := stockade(t, "key", "show")
	must(os.WriteFile("/tmp/host.pub", []byte(public.stdout), 0o600))
	if x := stockade(t, "evidence", "verify", e.Path, "--key", "/tmp/host.pub"); x.code != 0 || !strings.Contains(x.stdout, e.SHA256) || !strings.Contains(x.stdout, e.KeyID) {
		t.Errorf("verify: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	var doc agent.ProcessDocument
	if err := json.Unmarshal([]byte(part(t, e.Path, "processes.json")), &doc); err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, p := range doc.Processes {
		if strings.Contains(strings.Join(p.Args, " "), text) {
			found++
		}
	}
	// Those that leave their cgroup and fork on and on may end before they stand still.
	if n := len(doc.Processes); found == 0 || n > r.Processes || n < r.Processes-5 {
		t.Errorf("%d of %d processes with %q, %d were counted", found, len(doc.Processes), text, r.Processes)
	}
	for name, want := range map[string]string{"executables.json": "sha256", "descriptors.json": "/dev/null", "namespaces.json": "net:[",
		"cgroups.json": "cgroup.freeze", "credentials.json": "cap_effective", "environment.json": "PATH", "policies.json": "principal",
		"workload.json": `"mode":"lockdown"`, "response.json": `"lockdown"`, "denials.jsonl": "", "sockets.json": ""} {
		if got := part(t, e.Path, name); !strings.Contains(strings.ToLower(got), strings.ToLower(want)) {
			t.Errorf("%s says nothing of %q: %.300s", name, want, got)
		}
	}
	content, err := os.ReadFile(e.Path)
	must(err)
	for _, at := range []int{0, len(content) / 2, len(content) - 1} {
		content[at] ^= 1
		must(os.WriteFile("/tmp/changed.tar", content, 0o600))
		content[at] ^= 1
		if x := stockade(t, "evidence", "verify", "/tmp/changed.tar", "--key", "/tmp/host.pub"); x.code != 1 {
			t.Errorf("byte %d was changed: exit %d: %s%s", at, x.code, x.stdout, x.stderr)
		}
	}
}

// locked: a run like what is locked is refused, what is there is locked down, and both end
// with the lock.
func locked(t *testing.T) {
	const why = "INC-4711"
	x := stockade(t, "lock", "--all", "--reason", why)
	if x.code != 0 || !strings.Contains(x.stdout, "agents: lockdown: verified: all that policies could decide") {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if out, err := in(agentGroup, "read -r x <"+agentDir+"/a"); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("locked: %v: %s", err, out)
	}
	for _, use := range []string{"require", "never"} {
		x = stockade(t, "run", "--agent", use, "--policy", "/policy/run.cedar", "--label", "team=blue", "--", "/bin/true")
		if x.code != 125 || !strings.Contains(x.stderr, why) || !strings.Contains(x.stderr, "locked by root") || !strings.Contains(x.stderr, "nothing was started") {
			t.Errorf("--agent=%s: exit %d: %s", use, x.code, x.stderr)
		}
	}
	for _, args := range [][]string{{"unlock", "agents"}, {"mode", "agents", "enforce"}} {
		if x = stockade(t, args...); x.code == 0 || !strings.Contains(x.stdout+x.stderr, why) {
			t.Errorf("%v: exit %d: %s", args, x.code, x.stderr)
		}
	}
	agents = startAgain(t)
	if x = stockade(t, "locks"); x.code != 0 || !strings.Contains(x.stdout, why) {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if x = stockade(t, "unlock", "--all"); x.code != 0 {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	wantReads(t, agentGroup, "unlocked", "a both")
	r := begin(t, "blue", "sleep 60", "--agent", "require", "--label", "team=blue")
	x = stockade(t, "inspect", "blue")
	if x.code != 0 || !strings.Contains(x.stdout, "labels team=blue") || !strings.Contains(x.stdout, "sleep 60") {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if x = stockade(t, "kill", "--label", "team=blue", "--no-evidence"); x.code != 0 || !strings.Contains(x.stdout, "blue: kill: verified") || strings.Contains(x.stdout, "evidence") {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if code, errs := r.finish(); code != 137 {
		t.Errorf("the run: exit %d: %s", code, errs)
	}
}
