package vmtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const runsYAML = `
strict: true
metrics: {listen: "127.0.0.1:9464"}
log: {file: /var/log/stockade.jsonl, format: json}
workloads:
  - name: agents
    match: {cgroup: agents.slice}
    principal: User::"agents"
    policies: agent.cedar
`

// runPolicy is what the runs of these tests may do beside what permitting
// permits.
const runPolicy = `@id("out") permit (principal, action in [file_system::Action::"open", file_system::Action::"read", file_system::Action::"write", file_system::Action::"create"], resource)
when { resource in file_system::Dir::"/tmp/out" || resource == file_system::File::"/dev/null" };
@id("no-b") @reason("b stays") forbid (principal, action, resource == file_system::File::"/srv/agent/b");
`

// runArgs is the command line of a run.
func runArgs(name, script string, more ...string) []string {
	args := append([]string{"run", "--policy", "/policy/run.cedar", "--name", name}, more...)
	return append(args, "--", "bash", "-c", script)
}

// begun is a run in progress.
type begun struct {
	t    *testing.T
	cmd  *exec.Cmd
	errs *bytes.Buffer
}

// begin starts a run and waits until its script has made /tmp/out/NAME.
func begin(t *testing.T, name, script string, more ...string) *begun {
	t.Helper()
	r := &begun{t: t, errs: &bytes.Buffer{}}
	r.cmd = exec.Command(program, runArgs(name, "echo >/tmp/out/"+name+"; "+script, more...)...)
	r.cmd.Stderr = r.errs
	os.Remove("/tmp/out/" + name)
	must(r.cmd.Start())
	await(t, name+" to begin", func() bool { _, err := os.Stat("/tmp/out/" + name); return err == nil })
	return r
}

// finish waits for the end of a run.
func (r *begun) finish() (code int, stderr string) {
	_ = r.cmd.Wait() // the code tells
	return r.cmd.ProcessState.ExitCode(), r.errs.String()
}

// await waits for something to become true.
func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// originOf returns where a workload of the agent comes from, "" if it has none
// of that name.
func originOf(t *testing.T, name string) string {
	t.Helper()
	for _, w := range status(t).Workloads {
		if w.Name == name {
			return w.Origin
		}
	}
	return ""
}

// TestRunsOfTheAgent has one agent for many runs.
func TestRunsOfTheAgent(t *testing.T) {
	agentFixture(t)
	must(os.MkdirAll("/tmp/out", 0o777))
	put(agentConf, runsYAML)
	put("/policy/run.cedar", permitting("a", "both")+runPolicy)
	f := &fleet{agent: startAgent(t)}
	defer removeAgent(t)
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"a run looks the same with and without the agent", f.same},
		{"every denial of a storm is counted", f.storm},
		{"ps shows a run; its name is taken, its policies do not change", f.shown},
		{"two runs see their own denials", f.two},
		{"a strict run", f.strict},
		{"a run that is killed", f.killed},
		{"what a run asks waits for the agent", f.asks},
		{"metrics", f.metrics},
		{"an agent that is killed under a run", f.succeeded},
		{"an agent that is not there at the end of a run", f.missing},
		{"uninstall meets a run", f.uninstall},
	} {
		if !t.Run(c.name, c.test) {
			t.Logf("the agent said:\n%s", f.agent.said)
		}
	}
}

// asks is a run whose policy judges arguments.
func (f *fleet) asks(t *testing.T) {
	put("/policy/good.cedar", onlyGood)
	for _, c := range []struct {
		word, out, count string
		code, n          int
	}{{"good", "good\n", "0 operations denied", 0, 0}, {"evil", "", "1 operation denied", 126, 1}} {
		cmd := exec.Command(program, "run", "--policy", "/policy/good.cedar", "--name", "asks", "--", "bash", "-c", "/usr/bin/echo "+c.word)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // the code tells
		if cmd.ProcessState.ExitCode() != c.code || out.String() != c.out {
			t.Errorf("%s: exit %d: %q, want %d: %q; %s", c.word, cmd.ProcessState.ExitCode(), &out, c.code, c.out, &errs)
		}
		if n := strings.Count(errs.String(), "denied execute /usr/bin/echo by /usr/bin/bash"); n != c.n || !strings.Contains(errs.String(), c.count) {
			t.Errorf("%s: %d denials, want %d: %s", c.word, n, c.n, &errs)
		}
		if n := strings.Count(errs.String(), answeredReason+": policy good\n"); n != c.n {
			t.Errorf("%s: %d denials name the policy, want %d: %s", c.word, n, c.n, &errs)
		}
	}
}

// fleet is an agent and its runs.
type fleet struct{ agent *agentProcess }

// varying is what differs between two runs of one command.
var varying = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}|\[\d+\]|\d+\.\d s;|"(time|seconds|pid|tid|cgroup|inode)":("[^"]*"|[0-9.]+)`)

func (f *fleet) same(t *testing.T) {
	script := "exec 2>&1; cat " + agentDir + "/a; cat " + agentDir + "/b; cat " + agentDir + "/none; printf x >/srv/agent/new; exit 7"
	for _, form := range [][]string{nil, {"--json", "--mode", "audit", "--log", "/tmp/out/log"}} {
		var seen []string
		for _, use := range []string{"never", "require"} {
			os.Remove("/tmp/out/log")
			os.Remove("/srv/agent/new")
			r := stockade(t, runArgs("same", script, append([]string{"--agent", use}, form...)...)...)
			log, _ := os.ReadFile("/tmp/out/log")
			if r.code != 7 || !strings.HasPrefix(r.stdout, "a\n") {
				t.Fatalf("%v, agent %s: exit %d: %s%s", form, use, r.code, r.stdout, r.stderr)
			}
			seen = append(seen, varying.ReplaceAllString(r.stdout+r.stderr+string(log), "*"))
		}
		if seen[0] != seen[1] || !strings.Contains(seen[0], "same") {
			t.Errorf("%v: without the agent\n%s\nwith it\n%s", form, seen[0], seen[1])
		}
		if form == nil && (!strings.Contains(seen[1], `policy no-b ("b stays")`) || !strings.Contains(seen[1], "b: Permission denied") || !strings.Contains(seen[1], "exit 7, 3 operations denied")) {
			t.Errorf("with the agent\n%s", seen[1])
		}
	}
	if got := originOf(t, "same"); got != "" {
		t.Errorf("after its end: origin %q", got)
	}
	// A name of the configuration is free for a run that does not use the agent.
	slow, fast := f.startUp(t, 1, "--agent", "never", "--name", "agents"), f.startUp(t, 5, "--agent", "require")
	t.Logf("run -- true: %v without the agent, %v with it: %.1f times", slow, fast, float64(slow)/float64(fast))
	if fast*2 > slow {
		t.Errorf("the agent does not make a run start faster")
	}
}

// startUp returns the shortest time of some runs of true.
func (f *fleet) startUp(t *testing.T, runs int, more ...string) time.Duration {
	t.Helper()
	least := time.Hour
	for range runs {
		began := time.Now()
		if r := stockade(t, append(append([]string{"run", "--policy", "/policy/run.cedar"}, more...), "--", "true")...); r.code != 0 {
			t.Fatalf("true: exit %d: %s", r.code, r.stderr)
		}
		least = min(least, time.Since(began))
	}
	return least
}

// summary is the last line of a run with --json.
type summary struct {
	Type                                                      string
	Exit                                                      int
	Allowed, Denied, Received, Dropped, Unseen, Killed, Lines uint64
	Exact                                                     bool
}

func summaryOf(t *testing.T, stderr string) (s summary) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil || s.Type != "summary" {
		t.Fatalf("no summary: %v: %s", err, lines[len(lines)-1])
	}
	s.Lines = uint64(strings.Count(stderr, `{"type":"denial"`))
	return s
}

func (f *fleet) storm(t *testing.T) {
	const script = `for i in {1..3000}; do read -r x <` + agentDir + `/b; done 2>/dev/null; true`
	r := stockade(t, runArgs("storm", script, "--agent", "require", "--json")...)
	s := summaryOf(t, r.stderr)
	if r.code != 0 || s.Denied != 3000 || s.Received+s.Dropped != 3000 || s.Lines != s.Received || !s.Exact {
		t.Errorf("exit %d: %+v", r.code, s)
	}
	t.Logf("%+v", s)
}

func (f *fleet) shown(t *testing.T) {
	r := begin(t, "shown", "while [ ! -e /tmp/out/go ]; do sleep 0.1; done; cat "+agentDir+"/b")
	found := false
	for _, w := range status(t).Workloads {
		if w.Name == "shown" {
			found = true
			if w.Origin != "run" || w.Generation != 1 || w.Tasks == 0 || strings.Join(w.Cgroups, " ") != "stockade/shown" || w.Digest == "" {
				t.Errorf("%+v", w)
			}
		}
	}
	if !found {
		t.Error("ps does not show the run")
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"name shown: in use by process", runArgs("shown", "true")},
		{"name agents: in use by a workload of the agent (origin config)", runArgs("agents", "true")},
		{"belongs to a run, whose policies do not change", []string{"policy", "apply", "--policy", agentFile, "shown"}},
		{"the agent's set has no hooks for it: nothing was started; use --agent=never", runArgs("stat", "true", "--handle", "stat")},
		{"no agent listens at /none", runArgs("none", "true", "--agent", "require", "--socket", "/none")},
	} {
		if x := stockade(t, c.args...); x.code == 0 || !strings.Contains(x.stderr, c.want) {
			t.Errorf("%v: exit %d: %s", c.args, x.code, x.stderr)
		}
	}
	wantReads(t, agentGroup, "declared cgroup", "a both")
	put("/tmp/out/go", "")
	defer os.Remove("/tmp/out/go")
	if code, errs := r.finish(); code != 1 || strings.Count(errs, "denied read") != 1 || !strings.Contains(errs, "exit 1, 1 operation denied") {
		t.Errorf("exit %d: %s", code, errs)
	}
}

func (f *fleet) two(t *testing.T) {
	const script = `for i in {1..40}; do read -r x <` + agentDir + `/%s; sleep 0.02; done 2>/dev/null; true`
	one := begin(t, "one", fmt.Sprintf(script, "b"), "--agent", "require")
	two := begin(t, "two", fmt.Sprintf(script, "none"), "--agent", "require")
	for _, c := range []struct {
		r           *begun
		own, others string
	}{{one, "/b ", "/none "}, {two, "/none ", "/b "}} {
		code, errs := c.r.finish()
		if code != 0 || strings.Count(errs, "denied read "+agentDir+c.own) != 40 || strings.Contains(errs, agentDir+c.others) || !strings.Contains(errs, "40 operations denied (1 distinct), 0 events dropped") {
			t.Errorf("exit %d: %s", code, errs)
		}
	}
}

func (f *fleet) strict(t *testing.T) {
	const code = `python3 -BIS -c 'import mmap; mmap.mmap(-1, 4096, prot=7)' 2>/dev/null && echo executable; echo done`
	if r := stockade(t, runArgs("lax", code, "--agent", "require")...); r.stdout != "executable\ndone\n" {
		t.Errorf("not strict: %s%s", r.stdout, r.stderr)
	}
	r := stockade(t, runArgs("strict", code, "--agent", "require", "--strict")...)
	if r.stdout != "done\n" || !strings.Contains(r.stderr, "denied map") {
		t.Errorf("strict: %s%s", r.stdout, r.stderr)
	}
}

func (f *fleet) killed(t *testing.T) {
	before := booksOfRuns(t)
	const log = "/tmp/out/victim.log"
	r := begin(t, "victim", "setsid sleep 600 & while :; do read -r x <"+agentDir+"/b && cp "+agentDir+"/b /tmp/out/leak; done 2>/dev/null", "--agent", "require", "--json", "--log", log)
	await(t, "a flood", func() bool { text, _ := os.ReadFile(log); return bytes.Count(text, []byte("\n")) > 500 })
	must(r.cmd.Process.Kill())
	_ = r.cmd.Wait()
	await(t, "the reaper", func() bool {
		_, group := os.Stat("/sys/fs/cgroup/stockade/victim")
		_, state := os.Stat("/run/stockade/victim.json")
		return os.IsNotExist(group) && os.IsNotExist(state)
	})
	await(t, "the release", func() bool { return originOf(t, "victim") == "" })
	if _, err := os.Stat("/tmp/out/leak"); err == nil {
		t.Error("what is denied was read")
	}
	books := booksOfRuns(t)
	for name := range books {
		books[name] -= before[name]
	}
	own, rest := seqsOf(t, log, "victim"), seqsOf(t, "/var/log/stockade.jsonl", "victim")
	both := maps.Clone(rest)
	maps.Copy(both, own)
	t.Logf("%v; %d denials in the run's log, %d in the agent's, %d different ones", books, len(own), len(rest), len(both))
	if read := books["denied"] - books["dropped"]; len(both) != read || books["delivered"] != read || books["lost"] != 0 || len(own) <= 500 || len(rest) == 0 {
		t.Error("some are missing, or were counted more or less than once")
	}
	if out, _ := exec.Command("pgrep", "-f", "sleep 600").Output(); len(out) > 0 {
		t.Errorf("lives: %s", out)
	}
	if x := stockade(t, runArgs("victim", "cat "+agentDir+"/a", "--agent", "require")...); x.code != 0 || x.stdout != "a\n" {
		t.Errorf("the name afterwards: exit %d: %s", x.code, x.stderr)
	}
}

// booksOfRuns returns what the agent counted of denials of all runs.
func booksOfRuns(t *testing.T) map[string]int {
	t.Helper()
	time.Sleep(1100 * time.Millisecond) // an answer serves for a second
	books := map[string]int{}
	for _, m := range regexp.MustCompile(`stockade_(denied|delivered|dropped|lost)_total\{workload="\(runs\)"\} (\S+)`).FindAllStringSubmatch(readMetrics(t), -1) {
		n, err := strconv.ParseFloat(m[2], 64)
		must(err)
		books[m[1]] = int(n)
	}
	if len(books) != 4 {
		t.Fatalf("books: %v", books)
	}
	return books
}

// seqsOf returns the sequence numbers of the denials of a workload in a log. Its last line
// may be torn.
func seqsOf(t *testing.T, log, workload string) map[uint64]bool {
	t.Helper()
	text, err := os.ReadFile(log)
	must(err)
	seqs := map[uint64]bool{}
	for line := range bytes.Lines(text) {
		var e struct {
			Type, Workload string
			Seq            uint64
		}
		switch err := json.Unmarshal(line, &e); {
		case err != nil && bytes.HasSuffix(line, []byte("\n")):
			t.Fatalf("%s: %s: %v", log, line, err)
		case err == nil && e.Type == "denial" && e.Workload == workload:
			if seqs[e.Seq] {
				t.Errorf("%s: %s: twice", log, line)
			}
			seqs[e.Seq] = true
		}
	}
	return seqs
}

func (f *fleet) succeeded(t *testing.T) {
	const script = `n=0; while [ ! -e /tmp/out/stop ]; do n=$((n+1)); read -r x <` + agentDir + `/b && echo leak; sleep 0.02; done 2>/dev/null; echo $n`
	os.Remove("/tmp/out/stop")
	r := begin(t, "long", script, "--agent", "require", "--json", "--log", "/tmp/out/long.log")
	_ = f.agent.signal(syscall.SIGKILL)
	await(t, "the run to notice", func() bool {
		log, _ := os.ReadFile("/tmp/out/long.log")
		return strings.Contains(string(log), "the agent ended: the command goes on")
	})
	time.Sleep(300 * time.Millisecond)
	f.agent = startAgent(t)
	if got := originOf(t, "long"); got != "run" {
		t.Errorf("after the restart: origin %q", got)
	}
	log, _ := os.ReadFile("/tmp/out/long.log")
	await(t, "denials to come again", func() bool {
		now, _ := os.ReadFile("/tmp/out/long.log")
		return bytes.Count(now, []byte(`"denial"`)) > bytes.Count(log, []byte(`"denial"`))+10
	})
	put("/tmp/out/stop", "")
	code, _ := r.finish()
	log, err := os.ReadFile("/tmp/out/long.log")
	must(err)
	s := summaryOf(t, string(log))
	if code != 0 || s.Denied == 0 || s.Received+s.Dropped > s.Denied || s.Lines != s.Received {
		t.Errorf("exit %d: %+v", code, s)
	}
	if !s.Exact && !strings.Contains(string(log), "denials counted and not shown") {
		t.Errorf("a gap that is not told: %+v\n%s", s, log)
	}
	t.Logf("%+v", s)
	await(t, "the release", func() bool { return originOf(t, "long") == "" })
}

func (f *fleet) missing(t *testing.T) {
	os.Remove("/tmp/out/stop")
	r := begin(t, "alone", `while [ ! -e /tmp/out/stop ]; do sleep 0.05; done; for i in {1..25}; do read -r x <`+agentDir+`/b && echo leak; done 2>/dev/null; sleep 60 & exit 3`, "--agent", "require", "--json")
	_ = f.agent.signal(syscall.SIGKILL)
	put("/tmp/out/stop", "")
	code, errs := r.finish()
	s := summaryOf(t, errs)
	if code != 3 || s.Unseen != 25 || s.Denied != 25 || s.Killed != 1 || s.Exact || !strings.Contains(errs, "the agent ended: the command goes on") || !strings.Contains(errs, "25 denials counted and not shown") {
		t.Errorf("exit %d: %+v: %s", code, s, errs)
	}
	if groups, _ := filepath.Glob("/sys/fs/cgroup/stockade/alone"); len(groups) > 0 {
		t.Errorf("left: %v", groups)
	}
	f.agent = startAgent(t)
	await(t, "the release, once its denials, which nobody had read, are in the log", func() bool { return originOf(t, "alone") == "" })
	if x := stockade(t, runArgs("alone", "cat "+agentDir+"/a", "--agent", "require")...); x.code != 0 || x.stdout != "a\n" {
		t.Errorf("the name afterwards: exit %d: %s", x.code, x.stderr)
	}
}

// readMetrics asks the agent's socket, and its port, which must agree.
func readMetrics(t *testing.T) string {
	t.Helper()
	unix := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		return net.Dial("unix", "/run/stockade/agent.sock")
	}}}
	var texts []string
	for _, c := range []*http.Client{unix, http.DefaultClient} {
		resp, err := c.Get("http://127.0.0.1:9464/metrics")
		must(err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain; version=0.0.4") {
			t.Fatalf("%v, %s, %v", err, resp.Status, resp.Header)
		}
		texts = append(texts, string(text))
	}
	if texts[0] != texts[1] {
		t.Errorf("by the socket\n%s\nby the port\n%s", texts[0], texts[1])
	}
	return texts[0]
}

func (f *fleet) metrics(t *testing.T) {
	wantReads(t, agentGroup, "declared cgroup", "a both")
	exact(t)
	w := status(t).Workloads[0]
	time.Sleep(1100 * time.Millisecond) // an answer serves for a second
	text := readMetrics(t)
	for _, want := range []string{
		fmt.Sprintf(`stockade_denied_total{workload="agents"} %d`, w.Denied),
		fmt.Sprintf(`stockade_delivered_total{workload="agents"} %d`, w.Delivered),
		`stockade_generation{workload="agents"} 1`, `mode="enforce",origin="config",policy_digest="sha256:`,
		`stockade_denied_total{workload="(runs)"} `, `stockade_tables_bytes{state="size"} `, `stockade_build_info{`,
		`stockade_events_total{reason="denied by policy"} `, `stockade_config_ok 1`, `stockade_reloads_total{result="failed"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %s:\n%s", want, text)
		}
	}
	if w.Denied == 0 || strings.Contains(text, agentDir) || strings.Contains(text, "one\"") {
		t.Errorf("%d denied; paths, or names of runs:\n%s", w.Denied, text)
	}
	// A workload can read them too: the network is not governed.
	const ask = `exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; while read -r line <&3; do echo "$line"; done`
	if out, err := in(agentGroup, ask); err != nil || !strings.Contains(out, "stockade_build_info{") {
		t.Errorf("from a workload: %v: %s", err, out)
	}
	const other = `exec 3<>/dev/tcp/127.0.0.1/9464; printf 'GET /v1/status HTTP/1.0\r\n\r\n' >&3; read -r line <&3; echo "$line"`
	if out, err := in(agentGroup, other); err != nil || !strings.Contains(out, "404") {
		t.Errorf("other than metrics, from a workload: %v: %s", err, out)
	}
}

func (f *fleet) uninstall(t *testing.T) {
	r := begin(t, "last", "sleep 600", "--agent", "require")
	if x := stockade(t, "uninstall"); x.code != 1 || !strings.Contains(x.stderr, "confined (") {
		t.Errorf("exit %d: %s", x.code, x.stderr)
	}
	if x := stockade(t, "uninstall", "--force"); x.code != 0 {
		t.Errorf("by force: exit %d: %s", x.code, x.stderr)
	}
	if code, errs := r.finish(); code != 137 || !strings.Contains(errs, "exit 137") {
		t.Errorf("the run: exit %d: %s", code, errs)
	}
	// Without an agent, a run does it by itself.
	if x := stockade(t, runArgs("own", "cat "+agentDir+"/b")...); x.code != 1 || !strings.Contains(x.stderr, `policy no-b ("b stays")`) {
		t.Errorf("auto without an agent: exit %d: %s", x.code, x.stderr)
	}
}
