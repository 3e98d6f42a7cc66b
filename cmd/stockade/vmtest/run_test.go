// Package vmtest runs the program as a user does, on a Debian in a VM.
package vmtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	program  = "/usr/bin/stockade"
	examples = "examples"
	tree     = "/tmp/stockade_example" // what the example policies are about
)

// rest permits what the shell scripts of these tests need besides.
const rest = `
@id("shell") permit (principal, action in [file_system::Action::"execute", file_system::Action::"open", file_system::Action::"read"], resource)
when { resource in file_system::Dir::"/usr/bin" };
@id("out") permit (principal, action in [file_system::Action::"open", file_system::Action::"write", file_system::Action::"create"], resource)
when { resource in file_system::Dir::"/tmp/out" };
@id("no-key") @reason("keys stay") forbid (principal, action, resource == file_system::File::"/srv/key");
`

func TestMain(m *testing.M) {
	if os.Getenv("STOCKADE_VM") == "" {
		os.Exit(m.Run()) // each test skips itself
	}
	for _, dir := range []string{tree + "/originals", "/tmp/out", "/srv", "/policy"} {
		must(os.MkdirAll(dir, 0o777))
	}
	must(os.Chmod("/tmp/out", 0o777))
	must(os.WriteFile(tree+"/file", []byte("text\n"), 0o666))
	must(os.WriteFile(tree+"/originals/file", []byte("text\n"), 0o666))
	must(os.WriteFile("/srv/key", []byte("secret\n"), 0o644))
	must(os.WriteFile("/policy/rest.cedar", []byte(rest), 0o644))
	os.Exit(m.Run())
}

func inVM(t *testing.T) {
	t.Helper()
	if os.Getenv("STOCKADE_VM") == "" {
		t.Skip("runs in the VM: needs BPF LSM and Debian's programs")
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// result is how a run ended.
type result struct {
	code           int
	stdout, stderr string
	rss            int64 // KiB, the most
}

// stockade runs the program to its end.
func stockade(t *testing.T, args ...string) result {
	t.Helper()
	if args[0] == "run" {
		args = slices.Insert(slices.Clone(args), 1, confinedBy)
	}
	cmd := exec.Command(program, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String(), cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss}
}

// confined runs a shell script under the policies of a file and the rest.
func confined(t *testing.T, policy, script string, options ...string) result {
	t.Helper()
	args := []string{"run", "--policy", "/policy/rest.cedar"}
	if policy != "" {
		args = append(args, "--policy", filepath.Join(examples, policy))
	}
	return stockade(t, append(append(args, options...), "--", "bash", "-c", script)...)
}

func (r result) denials() []string {
	// The command's own words may come before: both write to one terminal.
	return regexp.MustCompile(`stockade: \d\d:\d\d:\d\d\.\d{3} .*`).FindAllString(r.stderr, -1)
}

func (r result) want(t *testing.T, code int, denials ...string) {
	t.Helper()
	got := r.denials()
	if r.code != code || len(got) != len(denials) {
		t.Fatalf("exit %d with %d denials, want %d with %d:\n%s%s", r.code, len(got), code, len(denials), r.stdout, r.stderr)
	}
	for i, want := range denials {
		if !strings.Contains(got[i], want) {
			t.Errorf("denial %d: %s\nlacks %s", i, got[i], want)
		}
	}
	if summary := fmt.Sprintf(": exit %d, %d operation", code, len(denials)); !strings.Contains(r.stderr, summary) {
		t.Errorf("the summary lacks %q:\n%s", summary, r.stderr)
	}
}

func nothingLeft(t *testing.T) {
	t.Helper()
	for _, pattern := range []string{"/sys/fs/bpf/stockade/*", "/run/stockade/*.json", "/run/stockade/@*.sock"} {
		left, _ := filepath.Glob(pattern)
		if left = slices.DeleteFunc(left, func(path string) bool { return filepath.Base(path) == "@agent" }); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/stockade/*/cgroup.procs")
	if len(groups) > 0 {
		t.Errorf("left behind: %v", groups)
	}
}

func TestDeniedOperationNamesItsPolicy(t *testing.T) {
	inVM(t)
	r := confined(t, "", `echo hello; cat /srv/key; exit 7`)
	r.want(t, 7, `denied read /srv/key by /usr/bin/cat[`)
	if !strings.Contains(r.denials()[0], `policy no-key ("keys stay")`) || r.stdout != "hello\n" {
		t.Errorf("%s\n%s", r.stdout, r.stderr)
	}
	if !strings.Contains(r.stderr, ": Permission denied") { // cat writes it in parts: the denial may be between them
		t.Errorf("cat did not see EACCES: %s", r.stderr)
	}
	if r.rss > 60<<10 {
		t.Errorf("run took %d KiB, of at most 60 MiB", r.rss)
	}
	t.Logf("run took %d KiB", r.rss)
	nothingLeft(t)
}

func TestReadOnlyTree(t *testing.T) {
	byAgent(t)
	confined(t, "read-only-tree.cedar", `ls `+tree+` && cat `+tree+`/file`).want(t, 0)
	confined(t, "read-only-tree.cedar", `echo x > `+tree+`/file`).want(t, 1, "denied write "+tree+"/file by /usr/bin/bash[")
}

func TestReadWriteTree(t *testing.T) {
	byAgent(t)
	confined(t, "read-write-tree.cedar", `cd `+tree+` && echo a > new && mv new newer && cat newer && rm newer`).want(t, 0)
	confined(t, "read-write-tree.cedar", `rm -f `+tree+`/originals/file`).want(t, 1, `policy keep-originals ("the originals are never changed")`)
}

func TestExecUsrBin(t *testing.T) {
	byAgent(t)
	confined(t, "exec-usr-bin.cedar", `cp /usr/bin/true /tmp/out/true 2>/dev/null; /usr/bin/true`, "--user", "0").want(t, 0)
	must(exec.Command("cp", "/usr/bin/true", tree+"/true").Run())
	confined(t, "exec-usr-bin.cedar", tree+`/true`).want(t, 126,
		"denied execute "+tree+"/true by /usr/bin/bash[", "denied read "+tree+"/true by /usr/bin/bash[") // bash then looks for #!
	nothingLeft(t)
}

func TestAuditDeniesNothing(t *testing.T) {
	byAgent(t)
	r := confined(t, "", `cat /srv/key`, "--mode", "audit")
	r.want(t, 0, "would deny read /srv/key")
	if r.stdout != "secret\n" {
		t.Errorf("%q", r.stdout)
	}
}

// A policy in audit lets pass what it denies when it is enforced, and is named.
func TestAPolicyInAuditIsReported(t *testing.T) {
	byAgent(t)
	must(os.WriteFile("/srv/tried", []byte("tried\n"), 0o644))
	const policy = `
@id("use") permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource == file_system::File::"/srv/tried");
@id("try") @mode("audit") @reason("soon") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/srv/tried");`
	run := func(text string) result {
		must(os.WriteFile("/policy/tried.cedar", []byte(text), 0o644))
		return stockade(t, "run", "--policy", "/policy/rest.cedar", "--policy", "/policy/tried.cedar", "--", "bash", "-c", "cat /srv/tried")
	}
	run(strings.Replace(policy, "audit", "enforce", 1)).want(t, 1, "denied read /srv/tried by /usr/bin/cat[")
	r := run(policy)
	lines := r.denials()
	if r.code != 0 || r.stdout != "tried\n" || len(lines) != 1 || !strings.Contains(lines[0], "would deny read /srv/tried by /usr/bin/cat[") ||
		!strings.HasSuffix(lines[0], `: policy try in audit ("soon")`) ||
		!strings.Contains(r.stderr, "exit 0, 0 operations denied, 1 would be denied by policies in audit (1 distinct), 0 events dropped") {
		t.Errorf("exit %d, %q\n%s", r.code, r.stdout, r.stderr)
	}
	nothingLeft(t)
}

func TestStatIsEnforcedWhereHandled(t *testing.T) {
	byAgent(t)
	must(os.WriteFile("/policy/stat.cedar", []byte(`// what programs start with is the baseline's
permit (principal, action == file_system::Action::"stat", resource)
when { resource == file_system::File::"/etc/hostname" || resource == file_system::Dir::"/vmtest" };`), 0o644))
	confined(t, "", `stat /srv/key >/dev/null`).want(t, 0)
	confinedBy = ownSet // the agent's handles no stat
	confined(t, "", `stat /etc/hostname >/dev/null; stat /srv/key`, "--policy", "/policy/stat.cedar", "--handle", "stat").
		want(t, 1, "denied stat /srv/key by /usr/bin/stat[")
}

func TestJSONIsOneObjectALine(t *testing.T) {
	byAgent(t)
	more := t.TempDir() + "/more"
	r := confined(t, "", `cat /srv/key 2>/dev/null; true`, "--json", "--sink", "text="+more)
	var types []string
	for line := range strings.Lines(r.stderr) {
		var o struct {
			Type, Path, Action string
			Policies           []struct{ ID string }
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		types = append(types, o.Type)
		if o.Type == "denial" && (o.Path != "/srv/key" || len(o.Policies) != 1 || o.Policies[0].ID != "no-key") {
			t.Errorf("%s", line)
		}
	}
	if strings.Join(types, " ") != "denial summary" || r.code != 0 {
		t.Errorf("%v, exit %d", types, r.code)
	}
	if text, err := os.ReadFile(more); err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), " denied read /srv/key by ") {
		t.Errorf("the other sink has %q, %v", text, err)
	}
}

func TestNoCommandNoConfinement(t *testing.T) {
	inVM(t)
	if r := stockade(t, "run", "--policy", "/policy/rest.cedar", "--", "no-such-program"); r.code != 127 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	if r := stockade(t, "run", "--policy", "/policy/none.cedar", "--", "true"); r.code != 125 {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	must(os.WriteFile("/policy/bad.cedar", []byte("permit (principal, action == file_system::Action::\"raed\", resource);\n"), 0o644))
	if r := stockade(t, "run", "--policy", "/policy/bad.cedar", "--", "true"); r.code != 125 || !strings.Contains(r.stderr, "bad.cedar:1:30") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	nothingLeft(t)
}

func TestBackgroundProcessesEndWithTheCommand(t *testing.T) {
	byAgent(t)
	r := confined(t, "", `sleep 1000 & true`)
	r.want(t, 0)
	if out, _ := exec.Command("pgrep", "-f", "sleep 1000").Output(); len(out) > 0 {
		t.Errorf("still there: %s", out)
	}
	nothingLeft(t)
}

// looping starts a run whose command tries to read the key for ever, and
// leaves a file if it ever could.
func looping(t *testing.T, name string) *exec.Cmd {
	t.Helper()
	script := `echo started > /tmp/out/` + name + `; while :; do cat /srv/key 2>/dev/null && echo leak > /tmp/out/leak; done`
	cmd := exec.Command(program, "run", ownSet, "--quiet", "--policy", "/policy/rest.cedar", "--name", name, "--", "bash", "-c", script)
	must(cmd.Start())
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat("/tmp/out/" + name); err == nil {
			return cmd
		}
		if time.Now().After(end) {
			t.Fatal("the command did not start")
		}
	}
}

func noLeak(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/tmp/out/leak"); err == nil {
		t.Error("the key was read")
	}
}

// cleanedUp waits for the reaper: the state file goes last.
func cleanedUp(name string) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if _, err := os.Stat("/run/stockade/" + name + ".json"); err != nil {
			return
		}
	}
}

func members(name string) int {
	procs, _ := os.ReadFile("/sys/fs/cgroup/stockade/" + name + "/cgroup.procs")
	return len(strings.Fields(string(procs)))
}

func TestKilledRunLeavesNothingUnconfined(t *testing.T) {
	inVM(t)
	cmd := looping(t, "killed")
	must(cmd.Process.Kill())
	cmd.Wait()
	for end := time.Now().Add(2 * time.Minute); members("killed") > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d processes are still there", members("killed"))
		}
	}
	cleanedUp("killed")
	noLeak(t)
	nothingLeft(t)
}

// TestRunOfItsOwnIsStoppedByItsName: no agent is asked, the run itself answers, also to a
// budget, and to nobody who is confined.
func TestRunOfItsOwnIsStoppedByItsName(t *testing.T) {
	inVM(t)
	cmd := looping(t, "mine")
	ps := stockade(t, "ps")
	if ps.code != 0 || !strings.Contains(ps.stdout, "mine ") {
		t.Errorf("ps: exit %d: %s%s", ps.code, ps.stdout, ps.stderr)
	}
	if x := stockade(t, "lockdown", "mine"); x.code != 0 || !strings.Contains(x.stdout, "mine: lockdown: verified: all that policies could decide") {
		t.Errorf("lockdown: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if x := stockade(t, "inspect", "mine"); x.code != 0 || !strings.Contains(x.stdout, "mode lockdown") || !strings.Contains(x.stdout, "[bash] bash -c") || !strings.Contains(x.stdout, "/srv/key") {
		t.Errorf("inspect: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	must(cmd.Process.Signal(syscall.SIGSTOP)) // it does not answer now
	if x := stockade(t, "freeze", "mine"); x.code != 0 || !strings.Contains(x.stdout, "mine: freeze: verified") || !strings.Contains(x.stdout, "nobody answered for it") {
		t.Errorf("freeze of a run that does not answer: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	must(cmd.Process.Signal(syscall.SIGCONT))
	x := stockade(t, "kill", "mine", "--evidence", "/tmp/mine.tar")
	if x.code != 0 || !strings.Contains(x.stdout, "mine: kill: verified: no process of it lives, and no socket of it is left") {
		t.Errorf("kill: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 137 {
		t.Errorf("the run: %v", err)
	}
	if v := stockade(t, "evidence", "verify", "/tmp/mine.tar"); v.code != 0 || !strings.Contains(v.stdout, "evidence of workload mine") {
		t.Errorf("evidence: exit %d: %s%s", v.code, v.stdout, v.stderr)
	}
	noLeak(t)
	cleanedUp("mine")
	nothingLeft(t)
	if x := stockade(t, "kill", "mine"); x.code != 2 || !strings.Contains(x.stderr, "mine") || !strings.Contains(x.stderr, "nothing was done") {
		t.Errorf("again: exit %d: %s", x.code, x.stderr)
	}
	r := confined(t, "", "while :; do cat /srv/key; done", "--quiet", "--max-denials", "30/1m=kill")
	if r.code != 137 || !strings.Contains(r.stderr, "kill by budget (more than 30 denials in 1m0s): verified") {
		t.Errorf("a budget: exit %d: %s", r.code, r.stderr)
	}
	nothingLeft(t)
}

func TestKilledRunAndReaperLeaveEnforcement(t *testing.T) {
	inVM(t)
	cmd := looping(t, "orphan")
	must(exec.Command("pkill", "-KILL", "-f", "reap orphan").Run())
	must(cmd.Process.Kill())
	cmd.Wait()
	time.Sleep(3 * time.Second)
	if members("orphan") == 0 {
		t.Error("the workload should go on, confined")
	}
	noLeak(t)
	if x := stockade(t, "kill", "orphan", "--no-evidence"); x.code != 0 || !strings.Contains(x.stdout, "orphan: kill: verified") || !strings.Contains(x.stdout, "nobody answered for it") {
		t.Errorf("kill: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	if n := members("orphan"); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	noLeak(t)
	r := confined(t, "", "true") // cleans up what it finds
	if r.code != 0 || !strings.Contains(r.stderr, "left by a run that died") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	noLeak(t)
	nothingLeft(t)
}

// A session manager may move a process out of the workload's cgroup, where
// cgroup.kill does not reach it.
func TestProcessMovedOutOutlivesNoEnforcement(t *testing.T) {
	inVM(t)
	script := `(while :; do cat /srv/key 2>/dev/null && echo leak > /tmp/out/leak; done) & echo $! > /tmp/out/stray; while [ ! -e /tmp/out/moved ]; do sleep 0.2; done`
	cmd := exec.Command(program, "run", ownSet, "--quiet", "--policy", "/policy/rest.cedar", "--policy", "/policy/moved.cedar", "--name", "moved", "--", "bash", "-c", script)
	must(os.WriteFile("/policy/moved.cedar", []byte(`permit (principal, action, resource in file_system::Dir::"/tmp/out");`), 0o644))
	errs, err := os.Create("/tmp/out/errors") // a pipe would wait for the stray too
	must(err)
	cmd.Stderr = errs
	must(cmd.Start())
	var pid []byte
	for end := time.Now().Add(4 * time.Minute); len(pid) == 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		pid, _ = os.ReadFile("/tmp/out/stray")
	}
	if len(pid) == 0 {
		t.Fatal("the command did not begin in four minutes")
	}
	must(os.WriteFile("/sys/fs/cgroup/cgroup.procs", pid, 0))
	must(os.WriteFile("/tmp/out/moved", nil, 0o644))
	cmd.Wait()
	said, _ := os.ReadFile("/tmp/out/errors")
	if !strings.Contains(string(said), "moved out of its cgroup") {
		t.Errorf("exit %d: %s", cmd.ProcessState.ExitCode(), said)
	}
	stray := strings.TrimSpace(string(pid))
	if _, err := os.Stat("/proc/" + stray); err != nil {
		t.Fatalf("the process should live, confined: %v", err)
	}
	time.Sleep(time.Second)
	noLeak(t)
	must(exec.Command("kill", "-KILL", stray).Run())
	cleanedUp("moved")
	noLeak(t)
	nothingLeft(t)
}

// One run for both, since each loads a set of its own.
func TestSameNameTwiceIsRefused(t *testing.T) {
	inVM(t)
	cmd := looping(t, "twin")
	r := stockade(t, "run", "--policy", "/policy/rest.cedar", "--name", "twin", "--", "true")
	if r.code != 125 || !strings.Contains(r.stderr, "twin") {
		t.Errorf("exit %d: %s", r.code, r.stderr)
	}
	must(cmd.Process.Signal(syscall.SIGTERM))
	err := cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 128+15 {
		t.Errorf("exit %d (%v), want that of a command ended by SIGTERM", code, err)
	}
	noLeak(t)
	nothingLeft(t)
}

func TestDoctorFindsThisHostReady(t *testing.T) {
	inVM(t)
	if r := stockade(t, "doctor"); r.code != 0 {
		t.Errorf("exit %d: %s%s", r.code, r.stdout, r.stderr)
	}
}
