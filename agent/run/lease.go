package run

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/delivery"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
)

// How a run takes to an agent.
const (
	AgentNever   = "never"   // it loads a set of its own
	AgentAuto    = "auto"    // it uses the agent if one listens
	AgentRequire = "require" // it fails without one
)

// Limits on how long a run waits for its agent.
const (
	startLimit  = 3 * time.Minute // it compiles the policies, too: perhaps many, or on a slow machine
	tellLimit   = 30 * time.Second
	endLimit    = 90 * time.Second // an agent may have many denials to read before the last ones, and a response to end
	attachPause = 200 * time.Millisecond
	aloneTries  = 3
)

// slowLimit is after what time who typed the run is told that its agent does not answer.
var slowLimit = 10 * time.Second

// lease is the workload of a run that an agent holds. Enforcement does not hang
// on it: it is pinned, and stays whatever becomes of the agent. What hangs on it
// is who sees the denials.
type lease struct {
	client  *api.Client
	name    string
	pins    string
	group   *cgroup.Group
	note    func(text string)
	started api.RunStarted
	quit    chan struct{} // nobody waits for denials any more
	wrote   chan struct{} // denials that the agent was not told of
	once    sync.Once

	policies []string // of the denial that was read last: who reads it explains it

	mu     sync.Mutex
	taken  api.RunTaken
	stream *api.RunStream // nil while there is no agent
	over   bool           // nothing of the workload lives
	broken bool           // an agent ended before the run
	end    *api.RunEnd
}

// askAgent asks the agent to hold a run whose group is empty.
func askAgent(cfg *Config, group *cgroup.Group, signals *relay, note func(string)) (*lease, error) {
	id, err := group.ID()
	if err != nil {
		return nil, err
	}
	r := api.Run{Name: cfg.Name, Cgroup: id, Principal: cfg.Input.Principal, Handled: uint64(cfg.Input.Handled),
		Mode: cfg.Mode.String(), Strict: cfg.Strict, Grants: cfg.Grants, Labels: cfg.Labels, Budget: cfg.Budget, Digest: cfg.Plan.Digest,
		Acknowledges: true}
	for _, s := range cfg.Input.Sources {
		r.Sources = append(r.Sources, api.Text{Name: s.Name, Text: s.Text})
	}
	if cfg.Input.Entities != nil {
		r.Entities = &api.Text{Name: cfg.Input.EntitiesName, Text: cfg.Input.Entities}
	}
	l := &lease{client: api.NewClient(cfg.Socket), name: cfg.Name, pins: host.This.Pins, group: group, note: note, quit: make(chan struct{}), wrote: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	late := time.AfterFunc(startLimit, cancel)
	slow := time.AfterFunc(slowLimit, func() {
		note(fmt.Sprintf("the agent does not answer yet: it is waited for up to %v in all; Ctrl-C ends that, --agent=never does without it", startLimit))
	})
	defer slow.Stop()
	answered := make(chan struct{})
	defer close(answered)
	go signals.unlessCaught(answered, cancel)
	if l.stream, err = l.client.StartRun(ctx, r); err != nil {
		switch {
		case ctx.Err() != nil && signals.early():
			err = errors.New("agent: no answer yet, and a signal: nothing was started; start it again")
		case ctx.Err() != nil:
			err = fmt.Errorf("agent: no answer in %v: nothing was started; look at it, or use --agent=never", startLimit)
		}
		cancel()
		return nil, err
	}
	if !late.Stop() {
		return nil, errors.Join(fmt.Errorf("agent: an answer after %v: nothing was started; try again", startLimit), l.stream.Close())
	}
	l.started = l.stream.Started
	go l.acknowledge()
	return l, nil
}

// acknowledgePause is how long denials that were written wait to be acknowledged: those
// of a run that is killed meanwhile are in the agent's log, too.
const acknowledgePause = 20 * time.Millisecond

// acknowledge tells the agent what was dealt with, until the run ends.
func (l *lease) acknowledge() {
	for {
		select {
		case <-l.quit:
			return
		case <-l.wrote:
			time.Sleep(acknowledgePause) // more come, and are told with it
			_ = l.tell(l.dealtWith())    // without an agent: as the run attaches to the next one
		}
	}
}

// tell tells the agent what was dealt with.
func (l *lease) tell(taken api.RunTaken) error {
	ctx, cancel := context.WithTimeout(context.Background(), tellLimit)
	defer cancel()
	err := l.client.TakenByRun(ctx, l.name, taken)
	if err == nil {
		l.mu.Lock()
		l.taken.Told = max(l.taken.Told, taken.Lost)
		l.mu.Unlock()
	}
	return err
}

func (l *lease) dealtWith() api.RunTaken {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// took notes that a denial was written, or could not be.
func (l *lease) took(e *abi.Event, written bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken.Denials++
	l.taken.Last = e.Seq
	if !written {
		l.taken.Lost++
	}
	select {
	case l.wrote <- struct{}{}:
	default: // it will tell this one, too
	}
}

// Events makes the lease the source of denials.
func (l *lease) Events() (delivery.Source, error) { return l, nil }

// Read returns the next denial. While there is no agent it waits for the next
// one, which reads on where the last one ended.
func (l *lease) Read() (abi.Event, error) {
	for {
		stream := l.current()
		if stream == nil {
			select {
			case <-l.quit:
				return abi.Event{}, bpf.ErrFlushed
			case <-time.After(attachPause):
				l.attach()
			}
			continue
		}
		line, err := stream.Next()
		switch {
		case err != nil:
			l.lost(stream)
		case line.Denial != nil:
			l.policies = line.Denial.Policies
			return line.Denial.Unpack(), nil
		case line.Note != "":
			l.note(line.Note)
		case line.End != nil:
			_ = l.tell(l.dealtWith()) // it waits for that; if it is gone, so is who counted
			l.mu.Lock()
			l.end = line.End
			l.mu.Unlock()
			return abi.Event{}, bpf.ErrFlushed
		}
	}
}

// restsOn names the policies that the denial that was read last rests on, if the
// agent's answer denied it.
func (l *lease) restsOn() []string { return l.policies }

func (l *lease) current() *api.RunStream {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stream
}

// lost notes that the agent ended, unless the run has ended itself.
func (l *lease) lost(stream *api.RunStream) {
	stream.Close()
	l.mu.Lock()
	l.stream = nil
	l.broken = true
	over := l.over
	l.mu.Unlock()
	if over {
		l.once.Do(func() { close(l.quit) }) // what it had to tell is in the pins
	} else {
		l.note("warning: the agent ended: the command goes on, confined as before; its denials are shown again once an agent runs")
	}
}

// attach looks for the next agent.
func (l *lease) attach() {
	stream, err := l.client.AttachRun(context.Background(), l.name, l.dealtWith())
	if err != nil {
		return // there will be another try
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stream = stream
}

// Flush makes Read return ErrFlushed once everything pending was read. Nothing
// of the workload lives, and its group is removed.
func (l *lease) Flush() error {
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), endLimit)
	defer cancel()
	for alone := 0; alone < aloneTries && ctx.Err() == nil; time.Sleep(attachPause) {
		err := api.ErrNoAgent
		if l.current() != nil {
			err = l.client.EndRun(ctx, l.name)
		}
		switch {
		case err == nil:
			return nil // the stream tells the rest
		case l.client.Listens():
			alone = 0 // the next agent, once what the last one handed over was dealt with
		default:
			alone++ // one may just be starting
		}
	}
	return l.Close()
}

// Close ends Read, and what the agent does for the run.
func (l *lease) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.once.Do(func() { close(l.quit) })
	if l.stream == nil {
		return nil
	}
	if !l.over && l.group.Remove() == nil { // it failed before the command was started
		l.over = true
		ctx, cancel := context.WithTimeout(context.Background(), endLimit)
		defer cancel()
		_ = l.client.EndRun(ctx, l.name) // the agent sees the end of the stream as well
	}
	return l.stream.Close()
}

// Abandon closes the connection: the workload stays confined.
func (l *lease) Abandon() error {
	if stream := l.current(); stream != nil {
		return stream.Close()
	}
	return nil
}

// Counters returns the counts of the run: those that the agent told at its end,
// or, where there is none, those in the pins.
func (l *lease) Counters(uint32) (abi.Counters, error) {
	l.mu.Lock()
	end := l.end
	l.mu.Unlock()
	if end != nil {
		c := end.Counters
		c.Dropped += end.Missed
		return c, nil
	}
	left, err := bpf.LeftOf(l.pins, l.name)
	return left.Counters, err
}

// wasLost reports whether an agent ended before the run.
func (l *lease) wasLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}
