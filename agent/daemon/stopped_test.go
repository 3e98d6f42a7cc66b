package daemon

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
)

// A run is told who stopped it, and ends after the response to it: the evidence of a kill
// is signed by then.
func TestARunIsToldWhoStoppedIt(t *testing.T) {
	_, d, r := heldByAgent(t)
	lines := make(chan api.RunLine, 100)
	go d.FollowRun(context.Background(), r.Name, func(list []api.RunLine) error {
		for _, l := range list {
			lines <- l
		}
		return nil
	})
	if _, err := d.Respond(root, r.Name, api.Respond{Verb: api.VerbLockdown}); err != nil {
		t.Fatal(err)
	}
	if l := <-lines; !strings.HasPrefix(l.Note, "lockdown by root: verified: ") {
		t.Errorf("%+v", l)
	}
	w, err := d.engage(r.Name) // as a response that goes on
	if err != nil {
		t.Fatal(err)
	}
	removeGroup(t, r.Name)
	ended := make(chan error, 1)
	go func() { ended <- d.EndRun(r.Name) }()
	select {
	case err := <-ended:
		t.Fatalf("it ended while a response went on: %v", err)
	case l := <-lines:
		t.Fatalf("it is told its end while a response goes on: %+v", l)
	case <-time.After(200 * time.Millisecond):
	}
	w.run.note("kill by root")
	d.disengage(w)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if note, end := <-lines, <-lines; note.Note != "kill by root" || end.End == nil {
		t.Errorf("%+v, then %+v", note, end)
	}
}

// Notes that nobody takes have a bound.
func TestNotesOfARunHaveABound(t *testing.T) {
	q := newRunQueue(false)
	for i := range 2 * maxNotes {
		q.note(fmt.Sprint(i))
	}
	if notes := q.takeNotes(); len(notes) != maxNotes || notes[maxNotes-1] != fmt.Sprint(2*maxNotes-1) {
		t.Errorf("%q", notes)
	}
}

// A status says who stopped a workload, until it is unlocked in whatever way.
func TestAStatusSaysWhoStoppedIt(t *testing.T) {
	_, d, r := heldByAgent(t)
	said := func(want int) {
		t.Helper()
		w, err := d.statusOf(r.Name)
		if err != nil || len(w.Responses) != want || want > 0 && !strings.HasPrefix(w.Responses[0].String(), "lockdown by root on 2") {
			t.Errorf("%+v, %v", w.Responses, err)
		}
	}
	down := func() {
		t.Helper()
		if _, err := d.Respond(root, r.Name, api.Respond{Verb: api.VerbLockdown}); err != nil {
			t.Fatal(err)
		}
		said(1)
	}
	down()
	if _, err := d.Respond(root, r.Name, api.Respond{Verb: api.VerbUnlock}); err != nil {
		t.Fatal(err)
	}
	said(0)
	down()
	if _, err := d.SetMode(r.Name, "enforce"); err != nil {
		t.Fatal(err)
	}
	said(0)
}
