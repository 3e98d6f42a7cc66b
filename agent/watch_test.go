package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// explained is a policy set with a forbid for each sort of denial.
const explained = `
@id("all") permit (principal, action, resource in file_system::Dir::"/w");
@id("no-read") @reason("r") @severity("high") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/w/secret");
@id("no-move") forbid (principal, action == file_system::Action::"move", resource in file_system::Dir::"/w/keep");
@id("no-new") forbid (principal, action == file_system::Action::"create", resource in file_system::Dir::"/w/full");
@id("no-exec") forbid (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/w/lib");
@id("try") @mode("audit") @reason("soon") forbid (principal, action, resource in file_system::Dir::"/w/lib");
@id("idle") @mode("audit") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/w/lib/x") when { false };
@id("maybe") @mode("audit") forbid (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/w/bin") when { context.user.username == "x" };
`

func TestForbidsAreNamed(t *testing.T) {
	plan, err := compiler.Compile(compiler.Input{
		Sources:   []compiler.Source{{Name: "x.cedar", Text: []byte(explained)}},
		Principal: `User::"a"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{plan: plan}
	cases := []struct {
		name  string
		event abi.Event
		want  string
	}{
		{"forbid", abi.Event{Missing: abi.MaskOf(abi.Open, abi.Read), Path: "/w/secret"}, "no-read(r,high)"},
		{"no policy", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/x"}, ""},
		{"other reason", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/secret", Reason: abi.ReasonTorn}, ""},
		{"rename from", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/w/keep/a", Dest: "/w/b"}, "no-move(,)"},
		{"rename to", abi.Event{Missing: abi.MaskOf(abi.Create), Path: "/w/a", Dest: "/w/full/b"}, "no-new(,)"},
		{"rename both", abi.Event{Missing: abi.MaskOf(abi.Create, abi.Move), Path: "/w/keep/a", Dest: "/w/full/b"}, "no-new(,) no-move(,)"},
		{"exchange", abi.Event{Missing: abi.MaskOf(abi.Move), Path: "/w/a", Dest: "/w/keep/b"}, "no-move(,)"},
		{"report", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/lib/x", Mode: abi.Audit}, "try(soon,) in audit"},
		{"report of a move", abi.Event{Missing: abi.MaskOf(abi.Create, abi.Move), Path: "/w/a", Dest: "/w/lib/b", Mode: abi.Audit}, "try(soon,) in audit"},
		{"report of what may be denied", abi.Event{Missing: abi.MaskOf(abi.Execute), Path: "/w/bin/x", Mode: abi.Audit}, "maybe(,) in audit"},
		{"denial in audit mode", abi.Event{Missing: abi.MaskOf(abi.Read), Path: "/w/secret", Mode: abi.Audit}, "no-read(r,high)"},
		{"map", abi.Event{Missing: abi.MaskOf(abi.Execute, abi.Map), Path: "/w/lib/x"}, "no-exec(,)"},
	}
	for _, c := range cases {
		c.event.PathStatus = abi.PathOK
		if c.event.Dest != "" {
			c.event.DestStatus = abi.PathOK
		}
		w.known = map[question][]sink.Policy{}
		var got []string
		for _, p := range w.explain(&c.event) {
			text := fmt.Sprintf("%s(%s,%s)", p.ID, p.Reason, p.Severity)
			if p.Audit {
				text += " in audit"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestExplanationsAreBounded(t *testing.T) {
	w := &watch{plan: emptyPlan(), known: map[question][]sink.Policy{}}
	for i := range maxKnown + 10 {
		w.explain(&abi.Event{Missing: 1, PathStatus: abi.PathOK, Path: fmt.Sprintf("/%d", i)})
	}
	if len(w.known) > maxKnown {
		t.Errorf("%d explanations are kept", len(w.known))
	}
}

func TestWallTimeOfNowIsNow(t *testing.T) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(wallTime(uint64(ts.Nano()))).Abs(); d > 100*time.Millisecond {
		t.Errorf("off by %v", d)
	}
}
