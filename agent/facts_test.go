package agent

import (
	"errors"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// byFacts has a forbid for each sort of fact.
const byFacts = `
@id("all") permit (principal, action, resource);
@id("no-keys") forbid (principal, action == file_system::Action::"open", resource) when { resource.path like "*.pem" };
@id("no-curl") forbid (principal, action == file_system::Action::"read", resource) when { context has process && context.process.exe == "/usr/bin/curl" };
@id("no-child-of-npm") forbid (principal, action == file_system::Action::"read", resource) when { context has process && context.process has parent_exe && context.process.parent_exe like "*/npm" };
@id("no-root") forbid (principal, action == file_system::Action::"write", resource) when { context has user && context.user.uid == 7 };
@id("not-after") forbid (principal, action == file_system::Action::"delete", resource) when { context has now && context.now > datetime("2030-01-01") };
@id("no-bin") forbid (principal, action == file_system::Action::"move", resource) when { context.destination.parent_path == "/bin" };
@id("no-caps") forbid (principal, action == file_system::Action::"set_x_attr", resource) when { context.xattr.name == "security.capability" };
`

func TestForbidsOnFactsAreNamed(t *testing.T) {
	plan, err := compiler.Compile(compiler.Input{
		Sources:   []compiler.Source{{Name: "x.cedar", Text: []byte(byFacts)}},
		Principal: `User::"a"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	class := func(path string) uint16 {
		return uint16(plan.Table.ClassOf(abi.DimExe, &abi.Request{Facts: abi.Facts{Exe: path}}))
	}
	id := plan.Table.ExeIdentity()
	for _, c := range []struct {
		name  string
		event abi.Event
		want  string
	}{
		{"glob", abi.Event{Missing: abi.MaskOf(abi.Open), Path: "/k/a.pem"}, "no-keys"},
		{"executable", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/curl", Automaton: id, ExeClass: class("/usr/bin/curl")}, "no-curl"},
		{"executable that was renamed", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/other", Automaton: id, ExeClass: class("/usr/bin/curl")}, "no-curl"},
		{"executable that took the name", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/usr/bin/curl", Automaton: id, ExeClass: class("/x")}, ""},
		{"parent", abi.Event{Missing: abi.MaskOf(abi.Read), Exe: "/x", Automaton: id, ExeClass: class("/x"), ParentClass: class("/opt/npm")}, "no-child-of-npm"},
		{"user", abi.Event{Missing: abi.MaskOf(abi.Write), EUID: 7}, "no-root"},
		{"other user", abi.Event{Missing: abi.MaskOf(abi.Write), UID: 7}, ""},
		{"too late", abi.Event{Missing: abi.MaskOf(abi.Delete), Now: 1_900_000_000_000}, "not-after"},
		{"in time", abi.Event{Missing: abi.MaskOf(abi.Delete), Now: 1_800_000_000_000}, ""},
		{"destination", abi.Event{Missing: abi.MaskOf(abi.Move), Dest: "/bin/x"}, "no-bin"},
		{"exchange", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/bin/x", Dest: "/home/x"}, "no-bin"},
		{"attribute", abi.Event{Missing: abi.MaskOf(abi.SetXattr), Xattr: "security.capability"}, "no-caps"},
	} {
		c.event.PathStatus, c.event.ExeStatus = abi.PathOK, abi.PathOK
		if c.event.Path == "" {
			c.event.Path = "/w/x"
		}
		if c.event.Dest != "" {
			c.event.DestStatus = abi.PathOK
		}
		w := &watch{plan: plan, known: map[question][]sink.Policy{}}
		for range 2 { // the second answer is remembered
			got := ""
			for _, p := range w.explain(&c.event) {
				got += p.ID
			}
			if got != c.want {
				t.Errorf("%s: %q, want %q", c.name, got, c.want)
			}
		}
	}
}

func TestExplanationsFollowTheTime(t *testing.T) {
	plan, err := compiler.Compile(compiler.Input{Sources: []compiler.Source{{Name: "x.cedar", Text: []byte(byFacts)}}, Principal: `User::"a"`})
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{plan: plan, known: map[question][]sink.Policy{}}
	e := abi.Event{Missing: abi.MaskOf(abi.Delete), PathStatus: abi.PathOK, Path: "/w/x", Now: 1_800_000_000_000}
	before := len(w.explain(&e))
	e.Now = 1_900_000_000_000
	if after := len(w.explain(&e)); before != 0 || after != 1 {
		t.Errorf("%d forbids before the time, %d after it", before, after)
	}
}

func TestClockIsKeptUntilItIsStopped(t *testing.T) {
	calls := make(chan bool, 100)
	c := startClock(func() error { calls <- true; return errors.New("no clock") })
	select {
	case <-calls:
	case <-time.After(10 * clockPeriod):
		t.Error("the clock is not kept")
	}
	if err := c.stop(); err == nil {
		t.Error("the failure is lost")
	}
	for len(calls) > 0 {
		<-calls
	}
	time.Sleep(2 * clockPeriod)
	if len(calls) > 0 {
		t.Error("the clock is kept after its end")
	}
}
