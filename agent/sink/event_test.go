package sink

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// sample is a plain denial of reading a key.
func sample() *Event {
	return &Event{
		Event: abi.Event{
			Seq: 7, Workload: 1, Generation: 1, PID: 1234, TID: 1235, UID: 1000, GID: 1000, Cgroup: 99, Inode: 5, Device: 254 << 20,
			Missing: abi.MaskOf(abi.Open, abi.Read), Action: abi.Open, Comm: "cat",
			Path: "/home/u/.ssh/id_rsa", PathStatus: abi.PathOK, Exe: "/usr/bin/cat", ExeStatus: abi.PathOK,
		},
		Wall:     time.Date(2026, 5, 4, 12, 3, 4, 123456789, time.UTC),
		Workload: "w", Digest: "abcdef0123456789",
		Policies: []Policy{{ID: "no-secrets", Reason: "keys stay", Severity: "high", Effect: "forbid"}},
	}
}

const prefix = "stockade: 12:03:04.123 "

func TestLineNamesWhatWasDeniedAndWhy(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Event)
		want   string
	}{
		{"policy with reason", func(*Event) {},
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"policy without reason", func(d *Event) { d.Policies[0].Reason = "" },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets`},
		{"a tripwire", func(d *Event) { d.Trips = true },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay"): LOCKED DOWN by it`},
		{"two policies", func(d *Event) { d.Policies = append(d.Policies, Policy{ID: "p 2"}) },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policies no-secrets ("keys stay"), "p 2"`},
		{"no policy", func(d *Event) { d.Policies = nil },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: no policy permits it`},
		{"answered", func(d *Event) { d.Reason = abi.ReasonAnswered },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: the agent's answer to what the policy asks: policy no-secrets ("keys stay")`},
		{"answered, no policy", func(d *Event) { d.Reason, d.Policies = abi.ReasonAnswered, nil },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: the agent's answer to what the policy asks`},
		{"audit", func(d *Event) { d.Mode = abi.Audit },
			`would deny read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"policy in audit", func(d *Event) { d.Mode = abi.Audit; d.Policies[0].Audit = true },
			`would deny read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets in audit ("keys stay")`},
		{"kind of socket", func(d *Event) {
			d.Reason, d.Boundary, d.Device, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryNetwork, uint32(abi.SocketNetlink)+9, 0, nil
			d.Path, d.PathStatus, d.Inode = "", abi.PathNone, 0
		}, `denied a socket of kind netlink-audit by /usr/bin/cat[1234]: a kind of socket that is not permitted`},
		{"only open", func(d *Event) { d.Missing = abi.MaskOf(abi.Open) },
			`denied open /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"several actions", func(d *Event) { d.Missing = abi.MaskOf(abi.Open, abi.Create, abi.Write) },
			`denied write,create /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"map, which lacks execute too", func(d *Event) { d.Missing = abi.MaskOf(abi.Execute, abi.Map) },
			`denied map /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"rename", func(d *Event) { d.Missing = abi.MaskOf(abi.Move); d.Dest = "/b c"; d.DestStatus = abi.PathOK },
			`denied move /home/u/.ssh/id_rsa -> "/b c" by /usr/bin/cat[1234]: policy no-secrets ("keys stay")`},
		{"no gain", func(d *Event) { d.Reason = abi.ReasonGain; d.Policies = nil },
			`denied read /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: the new place would grant more than the old one`},
		{"outside", func(d *Event) {
			d.Reason, d.PathStatus, d.Path, d.Policies = abi.ReasonOutside, abi.PathOutside, "(outside)/key", nil
		}, `denied read (outside)/key by /usr/bin/cat[1234]: the path does not lead to the workload's root`},
		{"touch", func(d *Event) { d.Missing = abi.MaskOf(abi.Touch, abi.Write); d.Policies = nil },
			`denied touch /home/u/.ssh/id_rsa by /usr/bin/cat[1234]: no policy permits it`},
		{"boundary with an action", func(d *Event) {
			d.Reason, d.Boundary, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryControl, abi.MaskOf(abi.Open, abi.Write), nil
			d.Path = "/proc/sys/kernel/core_pattern"
		}, `denied write /proc/sys/kernel/core_pattern by /usr/bin/cat[1234]: a file that controls the kernel or other workloads: no policy can grant this`},
		{"capability", func(d *Event) {
			d.Reason, d.Boundary, d.Device, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryCapability, 23, 0, nil
			d.Path, d.PathStatus, d.Inode = "", abi.PathNone, 0
		}, `denied the use of SYS_NICE by /usr/bin/cat[1234]: a capability that the workload was not granted`},
		{"capability that is never granted", func(d *Event) {
			d.Reason, d.Boundary, d.Device, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryCapability, 38, 0, nil
			d.Path, d.PathStatus, d.Inode = "", abi.PathNone, 0
		}, `denied the use of PERFMON by /usr/bin/cat[1234]: a capability that is never granted`},
		{"capability of a later kernel", func(d *Event) {
			d.Reason, d.Boundary, d.Device, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryCapability, 41, 0, nil
			d.Path, d.PathStatus, d.Inode = "", abi.PathNone, 0
		}, `denied the use of 41 by /usr/bin/cat[1234]: a capability that is never granted`},
		{"kind of socket that is never granted", func(d *Event) {
			d.Reason, d.Boundary, d.Device, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryNetwork, uint32(abi.SocketOther), 0, nil
			d.Path, d.PathStatus, d.Inode = "", abi.PathNone, 0
		}, `denied a socket of kind other by /usr/bin/cat[1234]: a kind of socket that is never granted`},
		{"boundary without action and path", func(d *Event) {
			d.Reason, d.Boundary, d.Missing, d.Policies = abi.ReasonBoundary, abi.BoundaryBPF, 0, nil
			d.PathStatus, d.Inode = abi.PathNone, 0
		}, `denied bpf(2) by /usr/bin/cat[1234]: no policy can grant this`},
		{"no path, no executable", func(d *Event) {
			d.Reason, d.PathStatus, d.ExeStatus, d.Policies = abi.ReasonBusy, abi.PathNone, abi.PathNone, nil
		}, `denied read inode 5 of device 254:0 by ?[1234]: no scratch memory was free`},
	}
	for _, c := range cases {
		d := sample()
		c.change(d)
		if got := d.Line(); got != prefix+c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, prefix+c.want)
		}
	}
}

// hostile are names that try to forge a line or to drive the terminal.
var hostile = []string{
	"/a\nstockade: 00:00:00.000 denied nothing", "/a\r\x1b[2K", "/\x1b]0;title\x07", "/\xff\xfe", "/\u202e\u2066txt.exe",
	"/\u009b31m", "/a b", `/"quoted"`, `/back\slash`, "/\x00", "/\u2028", "/\u00a0", "/é✓", "", "/x by /usr/bin/true[1]: policy none",
	"/\U000e0001tag", "/\x7f",
}

func TestHostileNamesCannotForgeLines(t *testing.T) {
	for _, name := range hostile {
		d := sample()
		d.Path, d.Exe, d.Comm, d.Dest, d.DestStatus = name, name, name, name, abi.PathOK
		d.Policies[0] = Policy{ID: name, Reason: name}
		line := d.Line()
		for _, r := range line {
			if !unicode.IsPrint(r) || r == utf8.RuneError {
				t.Errorf("%q: line holds %U: %q", name, r, line)
			}
		}
		token := Token(name)
		if strings.ContainsRune(token, ' ') && token[0] != '"' {
			t.Errorf("%q: token %q is more than one word", name, token)
		}
		if want := fmt.Sprintf("denied read %[1]s -> %[1]s by %[1]s[1234]: policy %[1]s", token); !strings.HasPrefix(line, prefix+want) {
			t.Errorf("%q: line %q does not begin with %q", name, line, want)
		}
	}
	for plain, want := range map[string]string{"/usr/bin/cat": "/usr/bin/cat", "/é✓": "/é✓", "/a b": `"/a b"`, "": `""`} {
		if got := Token(plain); got != want {
			t.Errorf("Token(%q) = %s, want %s", plain, got, want)
		}
	}
}

func TestJSONRoundTripsHostileNames(t *testing.T) {
	for _, name := range hostile {
		d := sample()
		d.Path = name
		text := d.JSON()
		for _, r := range text {
			if !unicode.IsPrint(r) && r != utf8.RuneError || r == 0x7f {
				t.Errorf("%q: object holds %U", name, r)
			}
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatalf("%q: %v: %s", name, err, text)
		}
		path := got["path"].(string)
		if b64, ok := got["path_b64"].(string); ok {
			raw, err := base64.StdEncoding.DecodeString(b64)
			if err != nil {
				t.Fatal(err)
			}
			path = string(raw)
		}
		if path != name {
			t.Errorf("path %q came back as %q", name, path)
		}
	}
}

func TestJSONHasEveryField(t *testing.T) {
	want := `{"type":"denial","version":1,"time":"2026-05-04T12:03:04.123456789Z","seq":7,"workload":"w","mode":"enforce",` +
		`"action":"open","actions":["open","read"],"path":"/home/u/.ssh/id_rsa","path_status":"ok","kind":"File",` +
		`"exe":"/usr/bin/cat","pid":1234,"tid":1235,"uid":1000,"gid":1000,"comm":"cat","cgroup":99,"inode":5,"device":"254:0",` +
		`"reason":"denied by policy","policies":[{"id":"no-secrets","reason":"keys stay","severity":"high","effect":"forbid"}],` +
		`"generation":1,"policy_digest":"sha256:abcdef0123456789"}`
	if got := sample().JSON(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSummaryCountsGroupsAndChecksItself(t *testing.T) {
	var tally Tally
	for i := range 12 {
		d := sample()
		d.PID = uint32(i)
		if i%4 == 0 {
			d.Path = "/other"
		}
		tally.Add(d)
	}
	s := &Summary{
		Workload: "w", ExitCode: 1, Counters: abi.Counters{Allowed: 48211, Denied: 13, Dropped: 1}, Received: tally.Total(),
		Killed: 2, Elapsed: 3200 * time.Millisecond, Digest: "abcdef0123456789", Generation: 1, Top: tally.Top(),
	}
	s.Distinct, s.Partial = tally.Distinct()
	want := `stockade: w: exit 1, 13 operations denied (2 distinct), 1 event dropped, 48211 allowed, 3.2 s; policy sha256:abcdef012345… generation 1
stockade: w: 2 processes left after the command ended: killed
stockade: w:      9 x read /home/u/.ssh/id_rsa by /usr/bin/cat: policy no-secrets ("keys stay")
stockade: w:      3 x read /other by /usr/bin/cat: policy no-secrets ("keys stay")
`
	if got := s.Text(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	s.Audit = 4
	if text := s.Text(); !strings.Contains(text, "exit 1, 9 operations denied, 4 would be denied by policies in audit (2 distinct), 1 event dropped") {
		t.Errorf("what policies in audit would deny is counted as denied:\n%s", text)
	}
	s.Mode = abi.Audit
	if text := s.Text(); !strings.Contains(text, "exit 1, 5 operations would be denied, 8 were denied at the boundary (2 distinct), 1 event dropped") {
		t.Errorf("what the boundary denies in audit mode is not told:\n%s", text)
	}
	s.Mode = abi.Enforce
	s.Counters.Denied++
	if text := s.Text(); !strings.Contains(text, "error: 12 events seen and 1 dropped, but 14 denials counted") {
		t.Errorf("a lost event is not reported:\n%s", text)
	}
	s.Unseen = 1 // and it is known where it went
	if text := s.Text(); strings.Contains(text, "error") || s.Exact() {
		t.Errorf("what an agent took with it is called an error, or exact:\n%s", text)
	}
	var out bytes.Buffer
	(&JSON{W: &out}).Summary(s)
	if !strings.Contains(out.String(), `"exact":false`) || !strings.HasSuffix(out.String(), "}\n") {
		t.Errorf("summary object: %s", out.String())
	}
}

func TestTallyIsBounded(t *testing.T) {
	var tally Tally
	d := sample()
	for i := range maxGroups + 100 {
		d.Path = fmt.Sprintf("/%d", i)
		tally.Add(d)
	}
	d.Path = "/" + strings.Repeat("x", 4000)
	tally.Add(d)
	if n, partial := tally.Distinct(); n != maxGroups || !partial || tally.Total() != maxGroups+101 {
		t.Errorf("%d groups, partial %v, total %d", n, partial, tally.Total())
	}
	if len(tally.Top()) != topGroups {
		t.Errorf("%d groups at the top, want %d", len(tally.Top()), topGroups)
	}
}

func TestQuietLeavesTheSummary(t *testing.T) {
	for _, json := range []bool{false, true} {
		var out bytes.Buffer
		var s Output = &Text{W: &out, Quiet: true}
		if json {
			s = &JSON{W: &out, Quiet: true}
		}
		_ = s.Event(sample())
		if out.Len() > 0 {
			t.Errorf("quiet, but: %s", out.String())
		}
		s.Note("w", "a\nb")
		s.Summary(&Summary{Workload: "w"})
		if lines := strings.Count(out.String(), "\n"); json && lines != 2 {
			t.Errorf("%d lines, want 2: %s", lines, out.String())
		}
	}
}

func TestOneThingIsNotSeveral(t *testing.T) {
	for want, got := range map[string]string{
		"0 events": Plural(0, "event"), "1 event": Plural(1, "event"), "2 events": Plural(uint64(2), "event"),
		"1 process": Plural(1, "process"), "2 processes": Plural(2, "process"), "1 policy": Plural(1, "policy"), "3 policies": Plural(3, "policy"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	s := &Summary{Workload: "w", Mode: abi.Audit, Received: 1, Killed: 1, Counters: abi.Counters{Denied: 1}}
	if text := s.Text(); !strings.Contains(text, ", 1 was denied at the boundary") || !strings.Contains(text, "w: 1 process left") {
		t.Error(text)
	}
	s.Counters.Denied = 3
	if text := s.Text(); !strings.Contains(text, "error: 1 event seen and 0 dropped, but 3 denials counted") {
		t.Error(text)
	}
}
