package daemon

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// acknowledging has an agent hold a run that tells what it dealt with, and hands it some
// denials: their sequence numbers come by taken.
func acknowledging(t *testing.T, d *Daemon, r api.Run) (taken chan uint64, kill context.CancelFunc) {
	t.Helper()
	taken = make(chan uint64, 100)
	ctx, kill := context.WithCancel(context.Background())
	t.Cleanup(kill)
	go d.FollowRun(ctx, r.Name, func(lines []api.RunLine) error {
		for _, l := range lines {
			if l.Denial != nil {
				taken <- l.Denial.Seq
			}
		}
		return nil
	})
	return taken, kill
}

// denialOf is one of a run.
func denialOf(d *Daemon, r api.Run, seq uint64) abi.Event {
	return abi.Event{Workload: d.all.named(r.Name).id, Generation: 1, Seq: seq, Missing: abi.MaskOf(abi.Read), Action: abi.Read,
		Path: "/k", PathStatus: abi.PathOK, Reason: abi.ReasonPolicy}
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// A run that is killed has been handed denials that it did not write: these, and only
// these, go to the agent's log, and count once.
func TestWhatAKilledRunDidNotWriteIsLogged(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	r, peer := runRequest(t)
	r.Acknowledges = true
	d, killAgent := y.up()
	t.Cleanup(killAgent)
	if _, err := d.StartRun(peer, r); err != nil {
		t.Fatal(err)
	}
	w := d.all.named(r.Name)
	taken, kill := acknowledging(t, d, r)
	lines, end := d.Subscribe()
	defer end()
	const handed, wrote = 10, 4
	for seq := range uint64(handed) {
		deliver(d, denialOf(d, r, seq+1))
	}
	for seq := range uint64(handed) {
		if got := <-taken; got != seq+1 {
			t.Fatalf("got %d, want %d", got, seq+1)
		}
	}
	if n := y.set.now(w.id).Delivered; n != 0 {
		t.Fatalf("%d count as delivered before anybody wrote them", n)
	}
	for range 2 { // said again, it counts no more
		if err := d.TakenByRun(r.Name, api.RunTaken{Denials: wrote, Lost: 1, Last: wrote}); err != nil {
			t.Fatal(err)
		}
	}
	if w := y.set.now(w.id); w.Delivered != wrote-1 || w.Lost != 1 {
		t.Errorf("%+v", w)
	}
	kill()
	await(t, "it is still followed", func() bool { return !w.run.followed() })
	text, err := os.ReadFile(filepath.Join(y.dir, "log"))
	if n := y.logged(r.Name, "/k"); err != nil || n != handed-wrote || strings.Contains(string(text), `"seq":4,`) || !strings.Contains(string(text), `"seq":5,`) {
		t.Errorf("%d of %d in the log, %v: %s", n, handed-wrote, err, text)
	}
	if w := y.set.now(w.id); w.Delivered != handed-1 || w.Lost != 1 {
		t.Errorf("%+v", w)
	}
	if len(lines) != handed {
		t.Errorf("who listens was told %d times of %d denials", len(lines), handed)
	}
	if err := d.TakenByRun("nobody", api.RunTaken{}); err == nil || !strings.Contains(err.Error(), "no such workload") {
		t.Errorf("%v", err)
	}
	removeGroup(t, r.Name)
	if d.sweep(); y.set.now(w.id) != nil {
		t.Error("its number was not given back")
	}
	if text := scraped(d); !strings.Contains(text, `stockade_delivered_total{workload="(runs)"} 9`) || !strings.Contains(text, `stockade_lost_total{workload="(runs)"} 1`) {
		t.Error(text)
	}
}

// A run that is over keeps its number until it said what it did with its last denials.
func TestRunEndsOnceItDealtWithAll(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	r, peer := runRequest(t)
	r.Acknowledges = true
	d, killAgent := y.up()
	t.Cleanup(killAgent)
	if _, err := d.StartRun(peer, r); err != nil {
		t.Fatal(err)
	}
	id := d.all.named(r.Name).id
	taken, _ := acknowledging(t, d, r)
	deliver(d, denialOf(d, r, 1))
	<-taken
	removeGroup(t, r.Name)
	ended := make(chan error, 1)
	go func() { ended <- d.EndRun(r.Name) }()
	select {
	case err := <-ended:
		t.Fatalf("it ended with a denial that nobody wrote: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if d.sweep(); y.set.now(id) == nil {
		t.Fatal("its number was given back")
	}
	if err := d.TakenByRun(r.Name, api.RunTaken{Denials: 1, Last: 1}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || y.set.now(id) != nil || y.logged(r.Name, "/k") != 0 {
		t.Errorf("%v; %+v; %d in the log", err, y.set.now(id), y.logged(r.Name, "/k"))
	}
}

// What a run dealt with and its agent, which was killed, was not told of is counted by
// the next one, once: the denial that was on the ring then comes again.
func TestNextAgentLearnsWhatARunDealtWith(t *testing.T) {
	for name, taken := range map[string]*api.RunTaken{
		"more than was counted": {Denials: 7, Lost: 1, Last: 7},
		"as many":               {Denials: 4, Last: 4},
		"of an earlier build":   nil,
	} {
		q := adoptedRunQueue(6, 2) // 4 were delivered, 2 lost
		for seq := uint64(7); seq < 10; seq++ {
			q.put(abi.Event{Seq: seq})
		}
		unsaid, ok := q.attach(taken, 4)
		events, _, _ := q.take()
		want, first := uint64(0), uint64(7)
		if taken != nil && taken.Denials > 4 {
			want, first = 2, 8
		}
		if !ok || unsaid != want || len(events) == 0 || events[0].Seq != first || len(events) != int(10-first) {
			t.Errorf("%s: %v, %d, %+v", name, ok, unsaid, events)
		}
		if counted := uint64(9) + want - (first - 7); q.counted != counted {
			t.Errorf("%s: %d came, want %d", name, q.counted, counted)
		}
		if _, ok := q.attach(taken, 4); ok {
			t.Errorf("%s: attached twice", name)
		}
	}
}

// What waits for a run that did not come back to the next agent is not forgotten.
func TestDenialsOfARunThatDoesNotComeBackAreLogged(t *testing.T) {
	y, d, r := heldByAgent(t)
	w := d.all.named(r.Name)
	w.memory.Process = "4194303 1" // nobody is that
	w.run = adoptedRunQueue(0, 0)
	deliver(d, denialOf(d, r, 1))
	if d.sweep(); y.logged(r.Name, "/k") != 1 {
		t.Errorf("%d of 1 denial in the log", y.logged(r.Name, "/k"))
	}
	if w := y.set.now(w.id); w == nil || w.Delivered != 1 {
		t.Errorf("%+v", w)
	}
}

// What comes to a run that took its end, and is gone, is not kept for it.
func TestDenialAfterTheEndIsNotKept(t *testing.T) {
	q := newRunQueue(false)
	q.finish(abi.Counters{})
	if _, ok := q.put(abi.Event{}); !ok {
		t.Error("it still takes what comes")
	}
	q.detach()
	if _, ok := q.put(abi.Event{}); ok {
		t.Error("kept for a run that is gone")
	}
}
