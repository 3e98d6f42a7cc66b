package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// maxTickets bounds the questions that wait; the oldest make room.
const maxTickets = 1024

// ask is what was denied because a policy asks about it.
type ask struct {
	api.Ask
	workload uint32
	requests []abi.Request
}

// tickets are the questions that no one has answered.
type tickets struct {
	mu   sync.Mutex
	list []*ask // by their last time
	// forgotten counts those that had to make room.
	forgotten uint64
}

// add notes a denial. One that was asked before keeps its ticket.
func (t *tickets) add(workload string, plan *compiler.Plan, e *abi.Event, when time.Time) {
	next := newAsk(workload, plan, e)
	if next == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.list, next.same); i >= 0 {
		old := t.list[i]
		t.list = slices.Delete(t.list, i, i+1)
		next.ID, next.First, next.Count = old.ID, old.First, old.Count
	} else {
		next.ID, next.First = newTicketID(), when
	}
	next.Last = when
	next.Count++
	if len(t.list) == maxTickets {
		t.list = t.list[1:]
		t.forgotten++
	}
	t.list = append(t.list, next)
}

// newAsk says what a denial waits for, nil if the plan does not ask.
func newAsk(workload string, plan *compiler.Plan, e *abi.Event) *ask {
	if e.Reason != abi.ReasonAsk || e.PathStatus != abi.PathOK {
		return nil
	}
	a := &ask{workload: e.Workload, Ask: api.Ask{Workload: workload, Kind: e.Kind.String(), Path: e.Path, Exe: e.Exe}}
	for _, action := range e.Missing.Actions() {
		r := explain.Request(plan, e, action, explain.Subject(plan, e, action))
		residuals := plan.Asks(r)
		if len(residuals) == 0 {
			continue
		}
		a.requests = append(a.requests, r)
		a.Actions = append(a.Actions, action.String())
		for _, x := range residuals {
			wait := api.Wait{Policy: plan.Rules.Policies[x.Policy].ID, Expression: x.Expr, Reason: x.Reason}
			if !slices.Contains(a.Waits, wait) {
				a.Waits = append(a.Waits, wait)
			}
		}
	}
	if len(a.requests) == 0 {
		return nil
	}
	return a
}

func (a *ask) same(b *ask) bool {
	return a.workload == b.workload && a.Kind == b.Kind && a.Path == b.Path && slices.Equal(a.Actions, b.Actions)
}

func newTicketID() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

func (t *tickets) find(id string) *ask {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.IndexFunc(t.list, func(a *ask) bool { return a.ID == id }); i >= 0 {
		return t.list[i]
	}
	return nil
}

func (t *tickets) drop(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.list = slices.DeleteFunc(t.list, func(a *ask) bool { return a.ID == id })
}

// Asks lists the questions that wait, the latest last.
func (d *Daemon) Asks() (api.Asks, error) {
	d.tickets.mu.Lock()
	defer d.tickets.mu.Unlock()
	asks := api.Asks{Forgotten: d.tickets.forgotten, Asks: []api.Ask{}}
	for _, a := range d.tickets.list {
		asks.Asks = append(asks.Asks, a.Ask)
	}
	return asks, nil
}

// Answer settles a question by a change of the workload's plan: the answer
// holds for its scope until it lapses, which the kernel sees to, or is undone
// by a rollback. A policy that forbids for another reason still does.
func (d *Daemon) Answer(id string, given api.Answer) (api.Change, error) {
	d.change.Lock()
	defer d.change.Unlock()
	a := d.tickets.find(id)
	if a == nil {
		return api.Change{}, fmt.Errorf("ticket %q: not among the questions that wait: nothing was done; see `stockade asks`", id)
	}
	w := d.all.byID[a.workload]
	if w == nil || w.plan == nil || w.declared == nil {
		return api.Change{}, fmt.Errorf("ticket %s: workload %s is gone from the configuration: nothing was done; declare it again", id, a.Workload)
	}
	if given.Times != 0 {
		change, err := d.grant(a, w, given)
		if err != nil {
			err = fmt.Errorf("ticket %s: %w", id, err)
		}
		return change, err
	}
	now := time.Now()
	input, err := a.settle(w, given, now)
	if err != nil {
		return api.Change{}, fmt.Errorf("ticket %s: %w", id, err)
	}
	change, err := d.replace(w, input, fromAnswer)
	if err == nil {
		d.figures.answered.Add(1)
		d.tickets.drop(id)
	}
	return change, err
}

// settle returns the input of w's next plan, and checks that the answer does
// what it says.
func (a *ask) settle(w *workload, given api.Answer, now time.Time) (compiler.Input, error) {
	input := w.memory.Input
	answers, err := a.answers(w.plan, given, now)
	if err != nil {
		return input, err
	}
	lapsed := func(x compiler.Answer) bool { return x.Until != 0 && x.Until <= now.UnixMilli() }
	input.Answers = slices.DeleteFunc(append(answers, input.Answers...), lapsed)
	plan, err := compiler.Compile(input)
	if err != nil {
		return input, err
	}
	for _, r := range a.requests {
		r.Now = now.UnixMilli()
		if verdict := plan.Decide(r); given.Allow != (verdict == abi.Allow) {
			return input, fmt.Errorf("%s would be %s all the same, by other policies: nothing was done; see `stockade explain`", r.Action, verdict)
		}
	}
	return input, nil
}

// answers says for every policy that asks what is to be taken for granted.
func (a *ask) answers(plan *compiler.Plan, given api.Answer, now time.Time) ([]compiler.Answer, error) {
	until := int64(0)
	switch {
	case given.Seconds < 0:
		return nil, errors.New("a time that has passed: nothing was done; give a positive one, or none")
	case given.Seconds > 0:
		until = now.Add(time.Duration(given.Seconds) * time.Second).UnixMilli()
	}
	var list []compiler.Answer
	for _, r := range a.requests {
		one := compiler.Answer{Actions: abi.MaskOf(r.Action), Path: r.Path, Until: until, Allow: given.Allow}
		switch given.Scope {
		case "", "file":
		case "dir":
			one.Beneath = true
			if r.Kind == abi.File {
				one.Path = path.Dir(r.Path)
			}
		case "policy":
			one.Path = ""
		default:
			return nil, fmt.Errorf("scope %q: unknown: nothing was done; use file, dir or policy", given.Scope)
		}
		for _, x := range plan.Asks(r) {
			one.Policy = plan.Rules.Policies[x.Policy].ID
			if !slices.Contains(list, one) {
				list = append(list, one)
			}
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the policies do not ask about it any more: nothing was done; try the operation again")
	}
	return list, nil
}
