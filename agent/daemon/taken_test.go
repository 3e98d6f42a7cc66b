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
	y, d, r := heldRunThat(t, true)
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
	y, d, r := heldRunThat(t, true)
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
	for name, c := range map[string]struct {
		taken                 *api.RunTaken
		written, lost, missed uint64
		first                 uint64
	}{
		"more than was counted":             {&api.RunTaken{Denials: 7, Lost: 1, Last: 7}, 2, 1, 2, 8},
		"more, and the lost ones were told": {&api.RunTaken{Denials: 7, Lost: 1, Told: 1, Last: 7}, 2, 0, 1, 8},
		"as many":                           {&api.RunTaken{Denials: 4, Last: 4}, 0, 0, 2, 7},
		"of an earlier build":               {nil, 0, 0, 2, 7},
	} {
		q := adoptedRunQueue(6, 2) // 4 were delivered, 2 lost
		for seq := uint64(7); seq < 10; seq++ {
			q.put(abi.Event{Seq: seq})
		}
		written, lost, ok := q.attach(c.taken, 4)
		events, _, _ := q.take()
		if !ok || written != c.written || lost != c.lost || q.missed != c.missed || len(events) != int(10-c.first) || events[0].Seq != c.first {
			t.Errorf("%s: %v, %d written, %d lost, %d missed, %+v", name, ok, written, lost, q.missed, events)
		}
		if counted := 9 + c.written + c.lost - (c.first - 7); q.counted != counted {
			t.Errorf("%s: %d came, want %d", name, q.counted, counted)
		}
		if _, _, ok := q.attach(c.taken, 4); ok {
			t.Errorf("%s: attached twice", name)
		}
	}
}

// An agent that ends hands over what it has, waits until the run dealt with it, and logs
// what no run takes.
func TestAgentThatEndsLeavesNothingInItsQueues(t *testing.T) {
	y := newYard(t)
	y.set.real = true
	d, kill := y.up()
	t.Cleanup(kill)
	r, peer := runRequest(t)
	r.Acknowledges = true
	slow, slowPeer := runRequest(t)
	for _, one := range []struct {
		r    api.Run
		peer api.Peer
	}{{r, peer}, {slow, slowPeer}} {
		if _, err := d.StartRun(one.peer, one.r); err != nil {
			t.Fatal(err)
		}
	}
	taken, _ := acknowledging(t, d, r)
	d.all.named(slow.Name).run = adoptedRunQueue(0, 0) // it did not come back yet
	for seq := uint64(1); seq <= 3; seq++ {
		deliver(d, denialOf(d, r, seq))
		deliver(d, denialOf(d, slow, seq))
	}
	for range 3 {
		<-taken
	}
	ids := [2]uint32{d.all.named(r.Name).id, d.all.named(slow.Name).id}
	go func() {
		time.Sleep(100 * time.Millisecond) // the agent is about to end
		_ = d.TakenByRun(r.Name, api.RunTaken{Denials: 3, Last: 3})
	}()
	close(d.quit)
	d.part(partLimit)
	d.logRest()
	if n, m := y.logged(r.Name, "/k"), y.logged(slow.Name, "/k"); n != 0 || m != 3 {
		t.Errorf("%d of 0 denials of the run that takes them in the log, %d of 3 of the other", n, m)
	}
	for _, id := range ids {
		if w := y.set.now(id); w == nil || w.Delivered != 3 || w.Lost != 0 {
			t.Errorf("%+v", w)
		}
	}
}

// Who has the stream of an agent that is gone does not end a run at the next one.
func TestRunThatIsNotAttachedIsNotEnded(t *testing.T) {
	y, d, r := heldByAgent(t)
	id := d.all.named(r.Name).id
	d.all.named(r.Name).run.detach()
	removeGroup(t, r.Name)
	if err := d.EndRun(r.Name); err == nil || !strings.Contains(err.Error(), "attach it first") || y.set.now(id) == nil {
		t.Errorf("%v; %+v", err, y.set.now(id))
	}
}

// What is gone with an agent that was killed is counted as lost once the run is over.
func TestDenialsThatAreGoneCountAsLost(t *testing.T) {
	y, d, r := heldByAgent(t)
	w := d.all.named(r.Name)
	w.run = adoptedRunQueue(4, 1)
	removeGroup(t, r.Name)
	if d.sweep(); y.set.now(w.id) == nil {
		t.Fatal("its number was given back, though its process may come for its denials")
	}
	w.memory.Process = "4194303 1" // nobody is that
	y.set.change(func() {
		y.set.of(w.id).Delivered, y.set.of(w.id).Lost = 3, 1
		y.set.Counts = abi.Counters{Denied: 12, Dropped: 2}
	})
	if d.sweep(); y.set.now(w.id) != nil {
		t.Fatal("its number was not given back")
	}
	if text := scraped(d); !strings.Contains(text, `stockade_delivered_total{workload="(runs)"} 3`) || !strings.Contains(text, `stockade_lost_total{workload="(runs)"} 7`) || !strings.Contains(text, `stockade_dropped_total{workload="(runs)"} 2`) {
		t.Error(text)
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
