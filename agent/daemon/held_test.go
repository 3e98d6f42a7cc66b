package daemon

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

const pushPolicy = `@id("push") permit (principal, action == file_system::Action::"execute", resource == file_system::File::"TOOL")
when { context.arguments.positional_values.contains("60") };
@id("evil") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"TOOL")
when { context.environment.names.contains("EVIL") };
`

func TestExecutionsThatWaitAreAnsweredByThePolicies(t *testing.T) {
	y := newHoldYard(t, pushPolicy, "")
	d, kill := y.up()
	defer kill()
	if got := y.k.calls(); got != "1:1" {
		t.Errorf("SetHold: %s", got)
	}
	allowed, ok, image := y.execute(y.event(), true, []string{"A=1"}, "60")
	if !ok || !allowed.Allow || allowed.Image == nil || string(allowed.Image.Strings) != image || allowed.Image.Argc != 2 || allowed.Image.Envc != strings.Count(image, "=") {
		t.Errorf("allowed: %v %+v, the image is %q", ok, allowed, image)
	}
	if a, ok, _ := y.execute(y.event(), true, nil, "61"); !ok || a.Allow || a.Image != nil {
		t.Errorf("another argument: %v %+v", ok, a)
	}
	denied, ok, _ := y.execute(y.event(), true, []string{"EVIL=1"}, "60")
	if !ok || denied.Allow {
		t.Errorf("forbidden environment: %v %+v", ok, denied)
	}
	if a, ok, _ := y.execute(y.event(), false, nil, "61"); ok {
		t.Errorf("a task that is not confined is answered: %+v", a)
	}
	e := y.event()
	e.Reason, e.Hold = abi.ReasonAnswered, denied.Number
	deliver(d, e)
	text, err := os.ReadFile(filepath.Join(y.dir, "log"))
	var line struct {
		Reason   string
		Policies []struct{ ID string }
	}
	if err != nil || json.Unmarshal(text, &line) != nil || len(line.Policies) != 1 || line.Policies[0].ID != "evil" || !strings.Contains(line.Reason, "answer") {
		t.Errorf("%s, %v", text, err)
	}
	w := y.status(d).Workloads[0]
	if w.Held == nil || w.Held.Asked != 3 || w.Held.Allowed != 1 || w.Held.Denied != 2 || !slices.Equal(w.Held.Actions, []string{"execute"}) {
		t.Errorf("%+v", w.Held)
	}
}

func TestNothingWaitsWhereNothingIsAsked(t *testing.T) {
	y := newHoldYard(t, permitA, "")
	d, kill := y.up()
	defer kill()
	groups := func() int {
		t.Helper()
		n := 0
		list, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range list {
			if to, _ := os.Readlink(fd); strings.Contains(to, "fanotify") {
				n++
			}
		}
		return n
	}
	if y.k.calls() != "" || groups() != 0 || !d.held.Idle() || y.k.read != 0 {
		t.Errorf("SetHold %q, %d groups, %v", y.k.calls(), groups(), y.k.read)
	}
	y.policy(pushPolicy)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if y.k.calls() != "1:1" || groups() != 1 {
		t.Errorf("with an ask: SetHold %q, %d groups", y.k.calls(), groups())
	}
	if _, ok, _ := y.execute(y.event(), true, nil, "60"); !ok {
		t.Error("not answered")
	}
	if _, err := d.Rollback("one"); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); groups() > 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if y.k.calls() != "1:1 1:0" || groups() != 0 {
		t.Errorf("after a rollback: SetHold %q, %d groups", y.k.calls(), groups())
	}
	if _, ok, _ := y.execute(y.event(), true, nil, "60"); ok {
		t.Error("answered all the same")
	}
}

// A file that takes the place of one that is asked about has no mark; it has one
// once it was refused for want of it.
func TestWhatIsAskedIsMarkedAndMarksHeal(t *testing.T) {
	y := newHoldYard(t, pushPolicy, "")
	d, kill := y.up()
	defer kill()
	if _, ok, _ := y.execute(y.event(), true, nil, "60"); !ok {
		t.Error("the control: it does not wait")
	}
	text, err := os.ReadFile(y.tool)
	if err == nil {
		err = os.WriteFile(y.tool+".new", text, 0o755)
	}
	if err == nil {
		err = os.Rename(y.tool+".new", y.tool)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := y.execute(y.event(), true, nil, "60"); ok {
		t.Error("the control: it waits without a mark")
	}
	e := y.event()
	e.Reason = abi.ReasonAsk
	d.held.Missed(&e)
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, ok, _ := y.execute(y.event(), true, nil, "60"); ok {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not wait after a denial")
		}
	}
}

func TestWiderAsksMarkFilesystems(t *testing.T) {
	y := newHoldYard(t, permitA, "")
	if err := unix.Mount("held-test", y.dir+"/a", "tmpfs", 0, ""); err != nil {
		if err := os.Mkdir(y.dir+"/a", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("held-test", y.dir+"/a", "tmpfs", 0, ""); err != nil {
			if os.Getenv("STOCKADE_STRICT") == "" {
				t.Skip(err)
			}
			t.Fatal(err)
		}
	}
	defer unix.Unmount(y.dir+"/a", unix.MNT_DETACH)
	text, err := os.ReadFile(y.tool)
	if err == nil {
		err = errors.Join(os.Mkdir(y.dir+"/a/b", 0o755), os.WriteFile(y.dir+"/a/b/tool", text, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	y.tool = y.dir + "/a/b/tool"
	y.policy(strings.ReplaceAll(pushPolicy, `resource == file_system::File::"TOOL"`, `resource in file_system::Dir::"`+y.dir+`/a"`))
	_, kill := y.up()
	defer kill()
	if a, ok, _ := y.execute(y.event(), true, nil, "60"); !ok || !a.Allow {
		t.Errorf("%v %+v", ok, a)
	}
}

func TestWhatCannotBeKnownHasNoAnswer(t *testing.T) {
	for name, condition := range map[string]string{
		"keys":       `context.arguments.keys.contains("60")`,
		"other tag":  `context.arguments.hasTag("60")`,
		"executable": `context has process && context.process.exe == resource.path`,
	} {
		y := newHoldYard(t, `permit (principal, action == file_system::Action::"execute", resource == file_system::File::"TOOL") when { `+condition+` };`, "")
		d, kill := y.up()
		if a, ok, _ := y.execute(y.event(), true, nil, "60"); ok {
			t.Errorf("%s: %+v", name, a)
		}
		if w := y.status(d).Workloads[0]; w.Held == nil || w.Held.Unanswered != 1 || w.Held.Asked != 1 {
			t.Errorf("%s: %+v", name, w.Held)
		}
		kill()
	}
}

func TestUserNamesComeFromTheRootOfTheWorkload(t *testing.T) {
	y := newHoldYard(t, `permit (principal, action == file_system::Action::"execute", resource == file_system::File::"TOOL")
when { context.user.username == "root" && context.group.groupname == "root" };`, "")
	_, kill := y.up()
	defer kill()
	if a, ok, _ := y.execute(y.event(), true, nil, "60"); !ok || !a.Allow || a.Image != nil {
		t.Errorf("root: %v %+v", ok, a)
	}
	e := y.event()
	e.EUID = 1
	if a, ok, _ := y.execute(e, true, nil, "60"); !ok || a.Allow {
		t.Errorf("daemon: %v %+v", ok, a)
	}
	e.EUID = 987654
	if a, ok, _ := y.execute(e, true, nil, "60"); ok {
		t.Errorf("nobody in the files: %+v", a)
	}
}

func TestNobodyWaitsLongerThanTheDeadline(t *testing.T) {
	y := newHoldYard(t, pushPolicy, "asks: {deadline: 300ms}\n")
	_, kill := y.up()
	defer kill()
	y.k.silent = true
	began := time.Now()
	if a, ok, _ := y.execute(y.event(), true, nil, "60"); ok {
		t.Errorf("answered without a question: %+v", a)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it waited for %v", took)
	}
}

func TestOpensWaitWhereTheKernelConfirmsThem(t *testing.T) {
	const policy = `permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource == file_system::File::"TOOL")
when { context has user && context.user.username == "root" };`
	y := newHoldYard(t, policy, "")
	d, kill := y.up()
	if got := y.k.calls(); got != "1:2" {
		t.Errorf("SetHold: %s", got)
	}
	if got := y.status(d).Workloads[0].Held.Actions; !slices.Equal(got, []string{"open", "read", "write"}) {
		t.Errorf("held: %v", got)
	}
	kill()
	y = newHoldYard(t, policy, "")
	y.k.noOpen = true
	d, kill = y.up()
	defer kill()
	if !d.held.Idle() || d.held.Waits(1) != 0 || !strings.Contains(y.said.String(), "opens do not wait") {
		t.Errorf("%v %v, SetHold %s: %s", d.held.Idle(), d.held.Waits(1), y.k.calls(), y.said.String())
	}
}

// What a container may ask is ready before one starts: to attach it takes a while.
func TestWhatTemplatesAskIsAttachedBeforeAContainerStarts(t *testing.T) {
	y := newHoldYard(t, `permit (principal, action, resource == file_system::File::"TOOL");`, `
containers:
  - {name: box, match: {name: x}, principal: 'User::"box"', policies: box.cedar}
`)
	y.write("box.cedar", strings.ReplaceAll(pushPolicy, "TOOL", y.tool))
	d, kill := y.up()
	if got := y.k.calls(); got != "attach:1" || !d.held.Idle() {
		t.Errorf("at the start: %q", got)
	}
	y.write("box.cedar", `permit (principal, action, resource) when { context has user && context.user.username == "root" };`)
	y.k.noOpen = true
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := y.k.calls(); got != "attach:1 attach:3 attach:1" || !strings.Contains(y.said.String(), "opens do not wait") {
		t.Errorf("after a reload: %q: %s", got, y.said.String())
	}
	y.write("box.cedar", `permit (principal, action, resource);`)
	if err := d.Reload(); err != nil || strings.Count(y.k.calls(), "attach") != 3 {
		t.Errorf("nothing is asked: %q, %v", y.k.calls(), err)
	}
	kill()
}

// A grant holds for so many operations, across agents, and lapses.
func TestApprovalsForANumberOfTimes(t *testing.T) {
	y := newHoldYard(t, `@id("keys") permit (principal, action, resource == file_system::File::"TOOL")
when { context has user && context.user.username == resource.path };
@id("args") permit (principal, action == file_system::Action::"execute", resource == file_system::File::"TOOL") when { context.arguments.keys.contains("x") };`, "")
	d, kill := y.up()
	ticket := func(missing abi.Action) string {
		t.Helper()
		e := y.event()
		e.Reason, e.Action, e.Missing, e.EUID = abi.ReasonAsk, missing, abi.MaskOf(missing), 987654
		deliver(d, e)
		list, err := d.Asks()
		if err != nil || len(list.Asks) == 0 {
			t.Fatal(list, err)
		}
		return list.Asks[len(list.Asks)-1].ID
	}
	for _, c := range []struct {
		action abi.Action
		answer api.Answer
		want   string
	}{
		{abi.Delete, api.Answer{Allow: true, Times: 2}, "delete does not wait"},
		{abi.Execute, api.Answer{Times: 2}, "for approvals"},
		{abi.Execute, api.Answer{Allow: true, Times: -1}, "not from 1"},
	} {
		if _, err := d.Answer(ticket(c.action), c.answer); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c, err, c.want)
		}
	}
	e := y.event()
	e.EUID = 987654
	try := func(when string, want bool) {
		t.Helper()
		if a, ok, _ := y.execute(e, true, nil, "60"); ok != want || ok && !a.Allow {
			t.Errorf("%s: answered %v %+v, want %v", when, ok, a, want)
		}
	}
	try("before", false)
	if _, err := d.Answer(ticket(abi.Execute), api.Answer{Allow: true, Times: 2, Seconds: 3600}); err != nil {
		t.Fatal(err)
	}
	y.want(y.status(d), 1, "enforce", "config")
	try("first", true)
	kill()
	d, kill = y.up()
	try("second, of another agent", true)
	try("third", false)
	if _, err := d.Answer(ticket(abi.Execute), api.Answer{Allow: true, Times: 5, Seconds: 3600}); err != nil {
		t.Fatal(err)
	}
	e.Now += 2 * 3600 * 1000
	try("lapsed", false)
	e.Now = time.Now().UnixMilli()
	try("not lapsed", true)
	y.policy(permitA)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(d.memories(), "*.grants")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	kill()
}
