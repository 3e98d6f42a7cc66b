package run

import (
	"slices"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/memory"
)

// What was done while nobody answered is told at the end, once, also where who came back
// forgot it; what was told already is not.
func TestWhatNobodyToldIsInTheBook(t *testing.T) {
	root := lock.Actor{Login: -1, Name: "root"}
	at := time.Now().UTC().Add(-time.Second).Truncate(time.Second)
	freeze := api.Past{Verb: api.VerbFreeze, By: root, At: at}
	kill := api.Past{Verb: api.VerbKill, By: root, At: at, Unattended: true, Evidence: "/e.tar"}
	again := freeze
	again.At, again.Unattended = time.Now().UTC().Add(time.Hour), true // after all that was told
	const killed = ", when nobody answered for it, evidence in /e.tar"
	for _, c := range []struct {
		name string
		done []api.Past
		told []string
		want []string
	}{
		{"nothing", nil, nil, nil},
		{"told by its agent", []api.Past{freeze}, []string{"freeze by root: verified"}, nil},
		{"by nobody", []api.Past{freeze, kill}, []string{"freeze by root: verified"}, []string{kill.String()}},
		{"by who woke up", []api.Past{kill}, []string{"kill by root: verified"}, nil},
		{"by another", []api.Past{kill}, []string{"kill by rooty: verified"}, []string{kill.String()}},
		{"of the first", []api.Past{freeze, again}, []string{"freeze by root: verified"}, []string{again.String()}},
		{"before it", []api.Past{again}, []string{"freeze by root: verified"}, []string{again.String()}},
	} {
		book := memory.BookOfAgent(t.TempDir())
		for _, p := range c.done {
			if err := book.Remember("one", p); err != nil {
				t.Fatal(err)
			}
		}
		var told told
		known := told.follow(book, "one")
		if err := book.Forget("one"); err != nil {
			t.Fatal(err)
		}
		for _, text := range c.told {
			told.add(text)
		}
		if got := known(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if want := "kill by root on " + at.Format(time.RFC3339) + killed; kill.String() != want {
		t.Errorf("%s, want %s", &kill, want)
	}
}

// What goes on without who holds it is told with its end.
func TestWhatGoesOnIsWaitedFor(t *testing.T) {
	book := memory.BookOfAgent(t.TempDir())
	p := api.Past{Verb: api.VerbKill, By: lock.Actor{Login: -1, Name: "root"}, At: time.Now().UTC(), Unattended: true, Unfinished: true}
	if err := book.Remember("one", p); err != nil {
		t.Fatal(err)
	}
	var told told
	known := told.follow(book, "one")
	p.Unfinished, p.Evidence = false, "/e.tar"
	want := p.String()
	time.AfterFunc(2*bookPause, func() { _ = book.Remember("one", p) })
	if got := known(); !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
}
