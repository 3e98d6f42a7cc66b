package config

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/dial"
	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestExampleParses(t *testing.T) {
	c, err := Read("../../scripts/deploy/agent.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Workloads) != 3 || c.Limits.Tables != 16<<20 || c.Asks.Deadline != 5*time.Second || c.Socket != dial.DefaultSocket {
		t.Fatalf("%+v", c)
	}
	first, second, third := c.Workloads[0], c.Workloads[1], c.Workloads[2]
	if first.Policies[0] != "../../scripts/deploy/policies/agents" || first.Cgroups[0] != "agents.slice" || !first.Log.JSON || first.Baseline != "runtime" {
		t.Errorf("%+v", first)
	}
	if len(second.Units) != 2 || second.Mode != abi.Audit || !second.Handled.Has(abi.Stat) || first.Handled.Has(abi.Stat) {
		t.Errorf("%+v", second)
	}
	if second.Grants != (abi.Grants{}) || first.Grants != (abi.Grants{}) {
		t.Errorf("granted: %+v, %+v", second.Grants, first.Grants)
	}
	if third.Root != "1" || third.Log.JSON || third.Log.File != "/var/log/stockade/sessions.log" {
		t.Errorf("%+v", third)
	}
}

const good = `workloads:
  - name: a
    match: {cgroup: x}
    principal: User::"a"
    policies: p.cedar
`

func TestMetricsAndStrictAreRead(t *testing.T) {
	for text, want := range map[string]string{"": "", "metrics: {listen: '127.0.0.1:9464'}\n": "127.0.0.1:9464", "metrics: {listen: '[::1]:1'}\n": "[::1]:1"} {
		c, err := Parse("f", []byte(text+good))
		if err != nil || c.Metrics != want || c.Strict {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	if c, err := Parse("f", []byte("strict: true\n"+good)); err != nil || !c.Strict {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCapsAreRead(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "    caps: sys_nice\n": 1 << 23, "    caps: [CAP_SYS_NICE, SYSLOG]\n": 1<<23 | 1<<34} {
		if c, err := Parse("f", []byte(good+text)); err != nil || c.Workloads[0].Grants.Caps != want {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

func TestKindsOfSocketsAreReadInAnyCase(t *testing.T) {
	for text, want := range map[string]uint64{"": 0, "    sockets: raw\n": abi.SocketRaw.Mask(), "    sockets: [RAW, Packet]\n": abi.SocketRaw.Mask() | abi.SocketPacket.Mask()} {
		if c, err := Parse("f", []byte(good+text)); err != nil || c.Workloads[0].Grants.Sockets != want {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// object is what an error is about: one word, often with its value.
var object = regexp.MustCompile(`^f:\d+:\d+: (the configuration|a workload|[A-Za-z]+|[a-z]* ?"[^"]*"): [^;]*: nothing is changed; .`)

func TestErrorsHaveTheirPlace(t *testing.T) {
	if _, err := Parse("f", []byte(good)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		text := strings.Replace(good, old, new, 1)
		if text == good {
			t.Fatalf("%q is not in the text", old)
		}
		return text
	}
	for _, c := range []struct{ what, text, want string }{
		{"nothing", "", "f:1:1: configuration: empty"},
		{"no mapping", "- a\n", "f:1:1: the configuration: not a mapping"},
		{"syntax", "a: [b\n", "f:1:1: YAML: "},
		{"tab", "workloads:\n\t- name: x\n", "f:2:1: YAML: "},
		{"unknown key", swap("policies:", "polices:"), `f:5:5: "polices": no key of a workload`},
		{"unknown key at the top", good + "sockets: /x\n", `f:6:1: "sockets": no key of the configuration`},
		{"key twice", swap("    policies", "    name: b\n    policies"), `f:5:5: "name": twice`},
		{"missing policies", swap("    policies: p.cedar\n", ""), `f:2:5: workload "a": policies is missing`},
		{"missing principal", swap("    principal: User::\"a\"\n", ""), `f:2:5: workload "a": principal is missing`},
		{"empty match", swap("{cgroup: x}", "{}"), "f:3:12: match: empty"},
		{"root of cgroups", swap("x}", "/}"), "f:3:21: cgroup \"/\": not beneath the root"},
		{"parent of cgroups", swap("x}", "x/../../y}"), "f:3:21: cgroup"},
		{"mount point", swap("x}", "/sys/fs/cgroup/x}"), "f:3:21: cgroup \"/sys/fs/cgroup/x\": written with the mount point"},
		{"bad glob", swap("x}", "'[x'}"), "f:3:21: cgroup \"[x\": not a pattern"},
		{"bad unit", swap("cgroup: x}", "unit: sshd}"), "f:3:19: unit \"sshd\": not the whole name"},
		{"bad mode", good + "    mode: lockdown\n", "f:6:11: mode \"lockdown\": unknown"},
		{"bad action", good + "    handle: [read, fly]\n", "f:6:20: handle \"fly\""},
		{"bad kind of sockets", good + "    sockets: [packet, pocket]\n", "f:6:23: sockets \"pocket\": no kind"},
		{"kind of sockets that is never granted", good + "    sockets: [other]\n", "f:6:15: sockets \"other\": no kind"},
		{"bad size", "limits: {tables: 5parsecs}\n" + good, `f:1:18: tables "5parsecs": not a size`},
		{"size too small", "limits: {tables: 1KiB}\n" + good, `f:1:18: tables "1KiB": not from 64 KiB`},
		{"size that overflows", "limits: {memory: 999999999999GiB}\n" + good, `f:1:18: memory "999999999999GiB": not from`},
		{"ring of odd size", "limits: {events: 5MiB}\n" + good, `f:1:18: events "5MiB": no power of two`},
		{"bad deadline", "asks: {deadline: soon}\n" + good, `f:1:18: deadline "soon": not a time from 50ms to 1m0s`},
		{"deadline too long", "asks: {deadline: 2h}\n" + good, `f:1:18: deadline "2h": not a time`},
		{"unknown key of asks", "asks: {limit: 2h}\n" + good, `f:1:8: "limit": no key of asks`},
		{"two of one name", good + strings.TrimPrefix(good, "workloads:\n"), `f:6:11: name "a": two workloads`},
		{"null", swap("p.cedar", "~"), "f:5:15: policies: no text"},
		{"empty list", swap("p.cedar", "[]"), "f:5:15: policies: an empty list"},
		{"list of lists", swap("p.cedar", "[[a]]"), "f:5:16: policies: no text"},
		{"workloads that are no list", "workloads: {}\n", "f:1:12: workloads: not a list"},
		{"metrics by name", "metrics: {listen: 'localhost:9464'}\n" + good, `f:1:19: listen "localhost:9464": not a numeric address`},
		{"metrics everywhere", "metrics: {listen: ':9464'}\n" + good, `f:1:19: listen ":9464": not a numeric address`},
		{"metrics without a port", "metrics: {listen: 127.0.0.1}\n" + good, `f:1:19: listen "127.0.0.1": not a numeric address`},
		{"metrics at port 0", "metrics: {listen: '127.0.0.1:0'}\n" + good, `f:1:19: listen "127.0.0.1:0": not a numeric address`},
		{"metrics without a place", "metrics: {}\n" + good, "f:1:10: metrics: empty"},
		{"metrics key", "metrics: {port: 1}\n" + good, `f:1:11: "port": no key of metrics`},
		{"strict", "strict: maybe\n" + good, `f:1:9: strict "maybe": unknown`},
		{"unknown capability", good + "    caps: [SYS_NICE, NICE]\n", `f:6:22: caps "NICE": no capability: nothing is changed; use some of NET_BROADCAST`},
		{"capability never granted", good + "    caps: CAP_SYS_ADMIN\n", `f:6:11: caps "CAP_SYS_ADMIN": never granted`},
		{"capability that has no effect", good + "    caps: [SYS_NICE, sys_time]\n", `f:6:22: caps "sys_time": without effect under an agent, whose policies may read the clock: nothing is changed`},
		{"a key behind a nested one", swap("match: {cgroup: x}", "log: {format: text}\n    match: {cgroup: x}\n    root: ~"), "f:5:11: root: no text"},
		{"empty list of capabilities", good + "    caps: []\n", "f:6:11: caps: an empty list"},
		{"format", "log: {format: xml}\n" + good, `f:1:15: format "xml": unknown`},
	} {
		_, err := Parse("f", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s…", c.what, err, c.want)
		} else if !object.MatchString(err.Error()) {
			t.Errorf("%s: not of the form: %v", c.what, err)
		}
	}
}
