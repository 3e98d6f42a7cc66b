package tripwire

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// book notes what the wires ask for.
type book struct {
	Wires
	asked  []string
	alarms []string
	now    time.Time
}

func newBook() *book {
	b := &book{now: time.Unix(1000, 0)}
	b.Respond = func(r Response) { b.asked = append(b.asked, r.Workload+" "+r.Verb+": "+r.Why) }
	b.Alarm = func(text string) { b.alarms = append(b.alarms, text) }
	return b
}

// deny is one denial of a workload, by policies with responses.
func (b *book) deny(name string, budget *Budget, responses ...string) {
	e := &sink.Event{Workload: name, Wall: b.now}
	for i, r := range responses {
		e.Policies = append(e.Policies, sink.Policy{ID: fmt.Sprintf("p%d", i), Effect: "forbid", Respond: r})
	}
	b.Denied(e, budget)
}

func (b *book) want(t *testing.T, what string, asked ...string) {
	t.Helper()
	if got, want := strings.Join(b.asked, "; "), strings.Join(asked, "; "); got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
	b.asked = nil
}

func TestAPolicyIsRespondedToOnce(t *testing.T) {
	b := newBook()
	b.deny("a", nil)
	b.deny("a", nil, "")
	b.want(t, "without a response")
	for range 3 {
		b.deny("a", nil, "", "freeze")
	}
	b.want(t, "three denials", "a freeze: policy p1")
	b.deny("a", nil, "lockdown")
	b.want(t, "a weaker one, which freeze has done")
	b.deny("a", nil, "lockdown", "kill", "freeze")
	b.want(t, "a stronger one", "a kill: policy p1")
	b.deny("b", nil, "kill")
	b.want(t, "another workload", "b kill: policy p0")
	b.Rearm("a")
	b.deny("a", nil, "freeze")
	b.want(t, "unlocked", "a freeze: policy p0")
	e := &sink.Event{Workload: "c", Policies: []sink.Policy{{ID: "p", Respond: "kill"}}}
	e.Mode = abi.Audit
	b.Denied(e, &Budget{Rate{1, time.Hour}, "kill"})
	b.want(t, "what audit reports")
	e = &sink.Event{Workload: "d"}
	e.Mode, e.Reason = abi.Lockdown, abi.ReasonLockdown
	for range 3 {
		b.Denied(e, &Budget{Rate{1, time.Hour}, "kill"})
	}
	b.want(t, "what is locked down, by whoever")
	e = &sink.Event{Workload: "e", Policies: []sink.Policy{{ID: "p", Respond: "kill"}}}
	e.Unsure = true
	b.Denied(e, &Budget{Rate{1, time.Hour}, "kill"})
	b.want(t, "what may have gone on")
	e = &sink.Event{Workload: "f"}
	e.Trips = true
	b.Denied(e, nil)
	b.want(t, "what locked down, without a policy that can be named", "f lockdown: a tripwire")
}

// A policy whose name is made to be read as a user's, or as more lines, is told as a policy.
func TestAPolicyIsNamedAsOne(t *testing.T) {
	b := newBook()
	for id, want := range map[string]string{"root": "root", "ada (as uid 0)": `"ada (as uid 0)"`, "a\nb by root": `"a\nb by root"`} {
		b.Denied(&sink.Event{Workload: id, Policies: []sink.Policy{{ID: id, Effect: "forbid", Respond: "lockdown"}}}, nil)
		b.want(t, id, id+" lockdown: policy "+want)
	}
}

func TestABudgetIsOfDenialsInATime(t *testing.T) {
	b := newBook()
	budget := &Budget{Rate{3, 10 * time.Second}, "freeze"}
	for range 20 { // one in 4 seconds: 3 in 10
		b.now = b.now.Add(4 * time.Second)
		b.deny("a", budget)
	}
	b.want(t, "within it")
	for range 3 {
		b.deny("a", budget)
	}
	b.want(t, "beyond it", "a freeze: budget (more than 3 denials in 10s)")
	for range 9 {
		b.deny("a", budget)
	}
	b.want(t, "once")
	b.deny("a", budget, "kill")
	b.want(t, "a policy that says more", "a kill: policy p0")
	b.Rearm("a")
	for range 3 {
		b.deny("a", budget)
	}
	b.want(t, "unlocked: it counts anew")
	b.deny("a", budget)
	b.want(t, "and is full again", "a freeze: budget (more than 3 denials in 10s)")
	other := &Budget{Rate{1, time.Second}, "lockdown"}
	b.deny("b", other)
	b.want(t, "the first")
	b.now = b.now.Add(time.Second)
	b.deny("b", other)
	b.want(t, "the second, just in time", "b lockdown: budget (more than 1 denial in 1s)")
}

func TestTooManyWorkloadsDisarm(t *testing.T) {
	b := newBook()
	b.SetDisarm(Rate{2, time.Minute})
	for _, name := range []string{"a", "b"} {
		b.deny(name, nil, "kill")
	}
	b.want(t, "two", "a kill: policy p0", "b kill: policy p0")
	b.deny("c", nil, "kill")
	b.want(t, "the third", "c lockdown: policy p0")
	if len(b.alarms) != 1 || !strings.Contains(b.alarms[0], "ALARM: responses: more than 2 workloads in 1m0s") {
		t.Errorf("%q", b.alarms)
	}
	if since, ok := b.Disarmed(); !ok || !since.Equal(b.now) {
		t.Errorf("disarmed: %v, %v", ok, since)
	}
	b.now = b.now.Add(time.Hour)
	b.deny("d", nil, "freeze")
	b.want(t, "it stays so", "d lockdown: policy p0")
	b.SetDisarm(Rate{2, time.Minute})
	if _, ok := b.Disarmed(); ok {
		t.Error("it is disarmed on after a reload")
	}
	b.deny("e", nil, "freeze")
	b.want(t, "a reload arms them", "e freeze: policy p0")
	if len(b.alarms) != 1 {
		t.Errorf("%q", b.alarms)
	}

	slow := newBook()
	for i := range 40 { // 10 in 5 minutes is the default
		slow.now = slow.now.Add(31 * time.Second)
		slow.deny(fmt.Sprint(i), nil, "kill")
	}
	if len(slow.asked) != 40 || strings.Contains(strings.Join(slow.asked, " "), "lockdown") || len(slow.alarms) > 0 {
		t.Errorf("%q, %q", slow.asked, slow.alarms)
	}
}

func TestBudgetsAreRead(t *testing.T) {
	for text, want := range map[string]Budget{
		"1000/10s=freeze": {Rate{1000, 10 * time.Second}, "freeze"}, "1 in 1h=kill": {Rate{1, time.Hour}, "kill"}, " 5 / 1.5s =lockdown": {Rate{5, 1500 * time.Millisecond}, "lockdown"},
	} {
		if b, err := ParseBudget(text); err != nil || *b != want {
			t.Errorf("%q: %+v, %v", text, b, err)
		}
	}
	for text, says := range map[string]string{
		"": "write it as", "1000/10s": "write it as", "1000=freeze": "not a number in a time", "x/10s=freeze": "not a number in a time", "0/10s=freeze": "not 1 to",
		"1000001/10s=freeze": "not 1 to", "1/10=freeze": "missing unit", "1/48h=freeze": "not 1 to", "1/10s=stop": `response "stop": unknown`, "1/10s=": "unknown",
		"99999999999999999999/1s=kill": "out of range",
	} {
		if b, err := ParseBudget(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %+v, %v, want %q", text, b, err, says)
		}
	}
	if (&Budget{Rate{0, 0}, "kill"}).Check() == nil || (&Budget{Rate{1, time.Second}, ""}).Check() == nil || (*Budget)(nil).Check() != nil {
		t.Error("what came in another way is not checked")
	}
}
