package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call runs one command line in this process.
func call(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(append([]string{"stockade"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheckSaysWhatIsInAFile(t *testing.T) {
	code, out, errs := call("", "check", "--principal", `User::"alice"`, "testdata/good.cedar")
	want := `testdata/good.cedar: ok: 3 policies (2 permit, 1 forbid), 3 rules
not enforced here: sysctl::Action::"load": no kernel hook of this version decides it
plan for User::"alice": `
	if code != 0 || errs != "" || !strings.HasPrefix(out, want) {
		t.Errorf("exit %d, %s\n%swant\n%s", code, errs, out, want)
	}
}

func TestCheckSaysWhatEnforcesEachPolicy(t *testing.T) {
	code, out, errs := call("", "check", "-v", "--principal", `User::"alice"`, "testdata/good.cedar")
	if code != 0 || errs != "" || strings.Count(out, ": kernel, exact\n") != 2 || strings.Count(out, "not enforced here: ") != 2 {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

// A policy in audit shows in every verb that tells of policies.
func TestPoliciesInAuditAreTold(t *testing.T) {
	const read = `(principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv`
	dir := t.TempDir()
	for name, text := range map[string]string{"old": "", "new": `@id("key") @mode("audit") forbid ` + read + `/key");`} {
		if err := os.WriteFile(filepath.Join(dir, name+".cedar"), []byte("permit "+read+`");`+"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before, after := filepath.Join(dir, "old.cedar"), filepath.Join(dir, "new.cedar")
	for _, c := range []struct {
		args []string
		code int
		want []string
	}{
		{[]string{"check", "-v", after}, 0, []string{"2 policies (1 permit, 1 forbid, 1 in audit)", ":2:1: forbid key: read: in audit: what it would deny is reported"}},
		{[]string{"diff", before, after}, 1, []string{"allowed as before, newly reported by policies in audit: read\n", "/srv/key (as a directory), /srv/key/**"}},
		{[]string{"diff", "--json", after, before}, 1, []string{`"old": "allow"`, `"old_reported": true`}},
		{[]string{"diff", after, after}, 0, nil},
		{[]string{"explain", "-p", after, "read", "/srv/key/x"}, 0, []string{"allow: read file /srv/key/x", "if policies in audit were enforced: deny", ":2:1: in audit: policy key"}},
		{[]string{"explain", "-p", after, "--json", "read", "/srv/key/x"}, 0, []string{`"audit": {`, `"verdict": "deny"`}},
		{[]string{"compile", "--dump", "table", after}, 0, []string{"report=read", "enforced policies: a table of their own of "}},
		{[]string{"compile", "--dump", "rules", after}, 0, []string{`audited forbid "key" read when`}},
	} {
		code, out, errs := call("", c.args...)
		if code != c.code || errs != "" || c.want == nil && out != "" {
			t.Errorf("%q: exit %d, %s\n%s", c.args, code, errs, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%q: no %q in\n%s", c.args, want, out)
			}
		}
	}
	out := call1(t, `{"action":"read","resource":{"type":"file_system::File","path":"/srv/key/x"}}`, "decide", "-p", after)
	if !strings.Contains(out, `"verdict":"allow"`) || !strings.Contains(out, `"audit":["key"]`) {
		t.Errorf("decide: %s", out)
	}
}

func call1(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, out, errs := call(stdin, args...)
	if code != 0 || errs != "" {
		t.Errorf("%q: exit %d, %s", args, code, errs)
	}
	return out
}

func TestCheckPlacesErrors(t *testing.T) {
	code, out, errs := call("", "check", "testdata/bad.cedar")
	lines := strings.Split(strings.TrimSpace(errs), "\n")
	if code != 1 || out != "" || len(lines) != 2 ||
		!strings.HasPrefix(lines[0], "testdata/bad.cedar:1:30: ") || !strings.HasPrefix(lines[1], "testdata/bad.cedar:2:40: ") {
		t.Errorf("exit %d, %q\n%s", code, out, errs)
	}
}

func TestDecideAnswersFromTables(t *testing.T) {
	args := []string{"decide", "--policy", "testdata/good.cedar", "--policy", "testdata/team.cedar", "--entities", "testdata/entities.json", "--principal", `User::"alice"`}
	want := read(t, "testdata/answers.jsonl")
	if code, out, errs := call("", append(args, "--requests", "testdata/requests.jsonl")...); code != 0 || out != want {
		t.Errorf("exit %d, %s\n%swant\n%s", code, errs, out, want)
	}
	if code, out, errs := call(read(t, "testdata/requests.jsonl"), args...); code != 0 || out != want {
		t.Errorf("from standard input: exit %d, %s\n%s", code, errs, out)
	}
}

func TestDecideAnswersBadLinesInPlace(t *testing.T) {
	bad := []string{
		`bogus`,
		`{"action":"read"}`,
		`{"resource":{"type":"file_system::File","path":"/x"}}`,
		`{"action":"raed","resource":{"type":"file_system::File","path":"/x"}}`,
		`{"action":"sysctl::Action::\"load\"","resource":{"type":"file_system::File","path":"/x"}}`,
		`{"action":"read","resource":{"type":"sysctl::Sysctl","id":"x"}}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"x"}}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"/x/"}}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"/a/../x"}}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"/x","id":"/y"}}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"/x"},"extra":1}`,
		`{"action":"read","resource":{"type":"file_system::File","path":"/x"}} {}`,
		`{"principal":"nobody","action":"read","resource":{"type":"file_system::File","path":"/x"}}`,
		`{"principal":"file_system::File::\"/x\"","action":"read","resource":{"type":"file_system::File","path":"/x"}}`,
	}
	good := `{"action":"read","resource":{"type":"file_system::File","path":"/x"}}`
	code, out, errs := call(strings.Join(append(bad, good), "\n"), "decide", "-p", "testdata/good.cedar")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 1 || len(lines) != len(bad)+1 || !strings.Contains(errs, "requests: 14 could not be decided") {
		t.Fatalf("exit %d, %s\n%s", code, errs, out)
	}
	for i := range bad {
		if want := `{"error":"line ` + strconv.Itoa(i+1) + `: `; !strings.HasPrefix(lines[i], want) {
			t.Errorf("%s\nis answered by %s", bad[i], lines[i])
		}
	}
	if want := `{"verdict":"deny","policies":[]}`; lines[len(bad)] != want {
		t.Errorf("the good line is answered by %s, want %s", lines[len(bad)], want)
	}
}

func TestCompileWritesTheSameBytesForTheSameMeaning(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	other := filepath.Join(dir, "other.cedar")
	text := `permit (principal, action in [file_system::Action::"read", file_system::Action::"open"], resource)
	when { resource in file_system::Dir::"/etc" && !(resource == file_system::File::"/etc/shadow") };`
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for out, policy := range map[string]string{a: "testdata/good.cedar", b: other} {
		code, _, errs := call("", "compile", "-o", out, "--principal", `User::"alice"`, policy)
		if code != 0 {
			t.Fatalf("exit %d, %s", code, errs)
		}
	}
	if read(t, a) != read(t, b) || len(read(t, a)) == 0 {
		t.Error("two tables of one meaning differ")
	}
}

func TestCompileDumpsEveryStage(t *testing.T) {
	for _, stage := range []string{"ast", "formulas", "rules", "clauses", "classes", "trie", "narrowed", "merged", "table"} {
		if code, out, errs := call("", "compile", "--dump", stage, "testdata/good.cedar"); code != 0 || out == "" {
			t.Errorf("%s: exit %d, %s", stage, code, errs)
		}
	}
	if code, _, errs := call("", "compile", "--dump", "x", "testdata/good.cedar"); code != 1 || !strings.Contains(errs, "ast, formulas, rules, clauses, classes, trie, narrowed, merged, table") {
		t.Errorf("unknown stage: exit %d, %s", code, errs)
	}
}

func TestBaselineCompilesAndAloneExecutesNoProgram(t *testing.T) {
	_, text, _ := call("", "baseline")
	file := filepath.Join(t.TempDir(), "baseline.cedar")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	requests := `{"action":"execute","resource":{"type":"file_system::File","path":"/usr/bin/cat"}}
{"action":"map","resource":{"type":"file_system::File","path":"/tmp/evil"}}
{"action":"write","resource":{"type":"file_system::File","path":"/usr/lib/x.so"}}
{"action":"read","resource":{"type":"file_system::File","path":"/etc/shadow"}}
{"action":"read","resource":{"type":"file_system::File","path":"/etc/ssl/private/key.pem"}}
{"action":"read","resource":{"type":"file_system::File","path":"/proc/kcore"}}
{"action":"read","resource":{"type":"file_system::File","path":"/proc/kallsyms"}}
{"action":"read","resource":{"type":"file_system::File","path":"/proc/keys"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/git-core/git"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/openssh/sftp-server"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/jvm/a/bin/java"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/a.so.d/program"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/locale/locale-archive"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/bin/a.so"}}
{"action":"map","resource":{"type":"file_system::File","path":"/home/a/lib/libx.so"}}
{"action":"connect_unix","resource":{"type":"file_system::File","path":"/run/systemd/journal/dev-log"}}
{"action":"execute","resource":{"type":"file_system::File","path":"/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/x86_64-linux-gnu/libc.so.6"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/python3.11/lib-dynload/_ssl.cpython-311-x86_64-linux-gnu.so"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/systemd/libsystemd-shared-252.so"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/local/lib/node_modules/a/build/Release/a.node"}}
{"action":"map","resource":{"type":"file_system::File","path":"/usr/lib/jvm/a/lib/server/classes.jsa"}}
{"action":"read","resource":{"type":"file_system::File","path":"/usr/lib/git-core/git"}}
{"action":"read","resource":{"type":"file_system::File","path":"/usr/lib/locale/locale-archive"}}
{"action":"read","resource":{"type":"file_system::File","path":"/proc/4711/maps"}}
{"action":"write","resource":{"type":"file_system::File","path":"/dev/null"}}
`
	code, out, errs := call(requests, "decide", "-p", file)
	var verdicts []string
	for line := range strings.Lines(out) {
		verdicts = append(verdicts, strings.Split(line, `"`)[3])
	}
	want := slices.Concat(slices.Repeat([]string{"deny"}, 16), slices.Repeat([]string{"allow"}, 10))
	if code != 0 || !slices.Equal(verdicts, want) {
		t.Errorf("exit %d, %s\n%s", code, errs, out)
	}
}

func TestUsageErrorsHelp(t *testing.T) {
	cases := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"chek"}, 2, `stockade: chek: unknown verb: nothing was done; see ` + "`stockade --help`" + `. Did you mean "check"?`},
		{[]string{"logs"}, 2, "stockade: logs: unknown verb: nothing was done; see `stockade --help`. Did you mean \"events\"?"},
		{[]string{"kill"}, 2, "kill: not one workload: nothing was done; give the name of one, as `stockade ps` shows it, or --all"},
		{[]string{"kill", "a", "b"}, 2, "kill: 2 names: nothing was done; give one at a time, or select several by --label, --principal or --all"},
		{[]string{"inspect", "a", "b"}, 2, "inspect: 2 names: nothing was done; give one at a time\n"},
		{[]string{"kill", "x", "--socket", "/none"}, 2, "no agent listens at /none"},
		{[]string{"kill", "x", "--all"}, 2, "x: a name, and a selection: nothing was done; leave one out"},
		{[]string{"kill", "--all", "--label", "a=b"}, 2, "selection: all, and some: leave one out: nothing was done"},
		{[]string{"kill", "--label", "a"}, 2, `label "a": not written as KEY=VALUE`},
		{[]string{"kill", "--principal", ""}, 2, "selection: none"},
		{[]string{"kill", "--principal", "x"}, 2, "is not a Cedar entity"},
		{[]string{"lock"}, 2, "lock: nothing is selected: nothing was done; give --all, --label KEY=VALUE or --principal PRINCIPAL"},
		{[]string{"kill", "x", "--evidence", "e.tar", "--no-evidence"}, 2, "--evidence and --no-evidence: one wants what the other leaves out: nothing was done; leave one out"},
		{[]string{"kill", "--label", "a=b", "--evidence", "e.tar"}, 2, "--evidence e.tar: one file, for several workloads: nothing was done; leave it out, then each has one of its own in /var/lib/stockade/evidence, or"},
		{[]string{"evidence"}, 2, "evidence: a verb is missing: nothing was done; use verify, see `stockade evidence --help`"},
		{[]string{"evidence", "verify"}, 2, "verify: 0 files: nothing was done; name one bundle, and the key after --key"},
		{[]string{"evidence", "verify", "a", "b"}, 2, "verify: 2 files: nothing was done; name one bundle, and the key after --key"},
		{[]string{"evidence", "verify", "/nope"}, 2, "/nope: no such file or directory: nothing was checked"},
		{[]string{"evidence", "verify", "/"}, 2, "evidence: /: no regular file: nothing was checked"},
		{[]string{"evidence", "verify", "main.go", "--key", "/nope"}, 2, "/nope: no such file or directory: nothing is checked"},
		{[]string{"evidence", "verify", "main.go", "--key", "testdata/good.cedar"}, 2, "no public key in PEM"},
		{[]string{"lock", "x"}, 2, "x: a name is not locked: nothing was done; lock down one workload by `stockade lockdown x`"},
		{[]string{"run", "-p", "testdata/good.cedar", "--label", "a b=c", "--", "true"}, 125, `label "a b": not a key of a label`},
		{[]string{"freeze", "x", "--within", "5"}, 2, `--within 5: a time without its unit: write for example 5s: nothing was done`},
		{[]string{"freeze", "x", "--within", "soon"}, 2, `--within "soon": not a value of this flag`},
		{[]string{"zzz"}, 2, "stockade: zzz: unknown verb: nothing was done; see `stockade --help`\n"},
		{[]string{""}, 2, "stockade: : unknown verb: nothing was done"},
		{[]string{"--version"}, 2, "stockade: --version: unknown flag: nothing was done; see `stockade --help`. Did you mean `stockade version`?"},
		{[]string{"-V"}, 2, "Did you mean `stockade version`?"},
		{[]string{"check", "--policy", "x"}, 2, "unknown flag: nothing was done; see `stockade check --help`. Write the files without a flag"},
		{[]string{"policy"}, 2, "policy: a verb is missing: nothing was done; use apply or rollback"},
		{[]string{"key"}, 2, "key: a verb is missing: nothing was done; use show"},
		{[]string{"mode", "ci", "lockdwn"}, 2, `mode "lockdwn": unknown: nothing was done; use enforce, audit or lockdown`},
		{[]string{"mode", "agents", ""}, 2, `mode "": unknown: nothing was done`},
		{[]string{"check"}, 2, "policies: none given"},
		{[]string{"compile", "--dump", "rules", "-o", "x", "testdata/good.cedar"}, 2, "output: has the table alone, not what --dump prints: nothing was written"},
		{[]string{"key", "hide"}, 2, "key hide: unknown: nothing was done; use show"},
		{[]string{"run", "-p", "testdata/good.cedar", "--sink", "json", "--", "true"}, 125, `sink "json": no argument: nothing was started`},
		{[]string{"run", "-p", "testdata/good.cedar", "--sink", "xml=y", "--", "true"}, 125, `sink "xml": unknown: nothing is changed; use one of json, text`},
		{[]string{"run", "-p", "testdata/good.cedar", "--sink", "json=x", "--sink", "json=x", "--", "true"}, 125, `sink "json=x": twice: nothing was started; leave one out`},
		{[]string{"check", "--entitis", "x"}, 2, "Did you mean --entities?"},
		{[]string{"check", "no-such-file"}, 1, "no such file"},
		{[]string{"check", "--baseline", "x", "testdata/good.cedar"}, 2, "use one of runtime, none"},
		{[]string{"check", "--principal", "x", "testdata/good.cedar"}, 1, "is not a Cedar entity"},
		{[]string{"decide", "-p", "testdata/good.cedar", "x"}, 2, "unexpected argument"},
		{[]string{"run"}, 125, "command: none given"},
		{[]string{"run", "-p", "testdata/good.cedar", "--mode", "x", "--", "true"}, 125, "use enforce or audit"},
		{[]string{"run", "-p", "testdata/bad.cedar", "--", "true"}, 125, "testdata/bad.cedar:1:30: "},
		{[]string{"run", "-p", "testdata/good.cedar", "--name", "A/B", "--", "true"}, 125, "not a workload's name"},
		{[]string{"run", "--", "true"}, 125, "policies: none given: nothing was started; name"},
		{[]string{"run", "--nme", "x"}, 125, "stockade: --nme: unknown flag: nothing was started; see `stockade run --help`. Did you mean --name?"},
		{[]string{"check", "-x"}, 2, "stockade: -x: unknown flag: nothing was done; see"},
		{[]string{"run", "--name"}, 125, "stockade: --name: no value given: nothing was started; see"},
		{[]string{"check", "--idle", "soon", "x"}, 2, `stockade: --idle "soon": not a value of this flag: nothing was done; see`},
		{[]string{"run", "--json=x", "--", "true"}, 125, `stockade: --json "x": not a value of this flag: nothing was started; see`},
		{[]string{"approve", "t", "--times", "99999999999999999999"}, 2, `stockade: --times "99999999999999999999": `},
		{[]string{"check", "---x"}, 2, "stockade: -x: not written as a flag is: nothing was done; see"},
		{[]string{"run", "--cap", "NICE", "--", "true"}, 125, `cap "NICE": no capability: nothing was started; use some of NET_BROADCAST`},
		{[]string{"run", "--cap", "sys_admin", "--", "true"}, 125, `cap "sys_admin": never granted, it would end enforcement, or change the machine for all: nothing was started; use some`},
		{[]string{"run", "--socket-kind", "pocket", "--", "true"}, 125, `socket-kind "pocket": no kind of sockets that can be granted: nothing was started; use some of alg`},
		{[]string{"run", "--socket-kind", "RAW", "--socket-kind", "Packet", "--cap", "cap_net_raw"}, 125, "command: none given"},
		{[]string{"run", "--socket", "raw", "--", "true"}, 125, `socket "raw": not a path: nothing was started; use --socket-kind raw`},
		{[]string{"run", "--socket", "Packet", "--agent", "never", "--", "true"}, 125, `socket "Packet": not a path: nothing was started; use --socket-kind Packet`},
		{[]string{"run", "--socket", "", "--", "true"}, 125, `socket "": not a path: nothing was started; write the path of the agent's socket, with a slash; kinds of sockets are granted by --socket-kind`},
		{[]string{"run", "--socket", "agent.sock", "--", "true"}, 125, `socket "agent.sock": not a path: `},
		{[]string{"ps", "--socket", "raw"}, 2, `socket "raw": not a path: nothing was done; write the path of the agent's socket, with a slash`},
		{[]string{"ps", "--pid", "0"}, 2, "--pid 0: not the number of a process: nothing was done; give one from 1 on"},
		{[]string{"ps", "--pid", "x"}, 2, `--pid "x": not a value of this flag: nothing was done`},
		{[]string{"run", "-p", "testdata/clock.cedar", "--agent", "never", "--cap", "SYS_TIME", "--", "true"}, 125, "cap SYS_TIME: a policy reads the clock, which nobody confined may set then: nothing was started; leave it out"},
		{[]string{"reap", "x"}, 1, "started by `stockade run` alone"},
		{[]string{"completion", "tcsh"}, 2, "use bash, zsh or fish"},
	}
	for _, c := range cases {
		if code, _, errs := call("", c.args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d, want %d: %s", c.args, code, c.code, errs)
		}
	}
}

func TestEveryVerbHasExamplesThatBeginWithIt(t *testing.T) {
	for _, verb := range newApp().Commands {
		if verb.Hidden {
			continue
		}
		code, out, _ := call("", verb.Name, "--help")
		_, list, found := strings.Cut(out, "EXAMPLES:\n")
		if code != 0 || !found || !strings.Contains(list, "stockade "+verb.Name) {
			t.Errorf("%s --help: exit %d:\n%s", verb.Name, code, out)
		}
	}
}

func TestCompletionNamesVerbsAndFlags(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, errs := call("", "completion", shell); code != 0 || !strings.Contains(out, "stockade") {
			t.Errorf("%s: exit %d, %s", shell, code, errs)
		}
	}
	old := os.Args
	defer func() { os.Args = old }()
	os.Args = []string{"stockade", "--generate-bash-completion"} // urfave looks here
	if _, out, _ := call("", "--generate-bash-completion"); !strings.Contains(out, "check\n") || strings.Contains(out, "reap") {
		t.Errorf("verbs: %s", out)
	}
	os.Args = []string{"stockade", "ps", "--p", "--generate-bash-completion"}
	if _, out, _ := call("", "ps", "--p", "--generate-bash-completion"); !strings.Contains(out, "--pid") {
		t.Errorf("flags of ps: %q", out)
	}
	os.Args = []string{"stockade", "run", "--m", "--generate-bash-completion"}
	if _, out, _ := call("", "run", "--m", "--generate-bash-completion"); !strings.Contains(out, "--mode") {
		t.Errorf("flags: %q", out)
	}
}

func TestVersionNamesFormats(t *testing.T) {
	code, out, errs := call("", "version")
	for _, want := range []string{"stockade ", "commit ", "go1.", "format 5", "enforced: open,read"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit %d, %s: no %q in\n%s", code, errs, want, out)
		}
	}
}

func TestPoliciesMayHaveCommasInTheirNames(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a,b[1].cedar")
	if err := os.WriteFile(file, []byte(read(t, "testdata/good.cedar")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Dir(file)} {
		if code, _, errs := call("", "decide", "--policy", path); code != 0 {
			t.Errorf("%s: exit %d, %s", path, code, errs)
		}
	}
}

func TestRunThatIsRefusedLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	log, kept, sink := filepath.Join(dir, "log"), filepath.Join(dir, "kept"), filepath.Join(dir, "sink")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(log, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		want string
		args []string
	}{
		{"not a workload's name", []string{"--name", "A/B", "--log", link}},
		{"writes to the file of the log or of another sink", []string{"--log", link, "--sink", "text=" + log}},
		{"not a workload's name", []string{"--name", "A/B", "--log", log, "--sink", "json=" + sink, "--sink", "text=" + kept}},
		{"no such file or directory: nothing is changed", []string{"--log", log, "--sink", "json=" + sink, "--sink", "json=" + dir + "/none/x"}},
		{"sink json " + sink + ": writes to the file of the log or of another sink", []string{"--log", sink, "--sink", "json=" + sink}},
		{"sink text " + dir + "/./sink: writes to the file of the log or of another sink", []string{"--sink", "json=" + sink, "--sink", "text=" + dir + "/./sink"}},
		{"not a workload's name", []string{"--name", "A/B", "--sink", "json=/dev/null", "--log", "/dev/null"}},
	} {
		args := slices.Concat([]string{"run", "-p", "testdata/good.cedar"}, c.args, []string{"--", "true"})
		if code, _, errs := call("", args...); code != 125 || !strings.Contains(errs, c.want) {
			t.Errorf("%q: exit %d: %s", c.args, code, errs)
		}
		if left, err := filepath.Glob(dir + "/*"); err != nil || !slices.Equal(left, []string{kept}) {
			t.Errorf("%q: left %q, %v", c.args, left, err)
		}
	}
	if _, err := os.Lstat(link); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat("/dev/null"); err != nil || info.Mode().IsRegular() {
		t.Fatal(info, err)
	}
}
