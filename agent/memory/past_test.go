package memory

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/lock"
)

// What was done is known to the next agent, up to a bound, until it is undone.
func TestWhatWasDoneIsRemembered(t *testing.T) {
	state := t.TempDir()
	dir, book := Dir(state), BookOfAgent(state)
	if list := book.Past("one"); list != nil {
		t.Errorf("%+v", list)
	}
	for i := range 2 * maxPast {
		if err := book.Remember("one", api.Past{Verb: "kill", By: lock.Actor{PID: i}, At: time.Unix(int64(i), 0)}); err != nil {
			t.Fatal(err)
		}
	}
	if list := book.Past("one"); len(list) != maxPast || list[0].By.PID != 0 || list[1].By.PID != maxPast+1 || list[maxPast-1].By.PID != 2*maxPast-1 {
		t.Errorf("%+v", list)
	}
	if list := book.Past("other"); list != nil {
		t.Errorf("%+v", list)
	}
	for range 2 {
		if err := book.Forget("one"); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := os.WriteFile(book.path("torn"), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if list := book.Past("torn"); list != nil {
		t.Errorf("%+v", list)
	}
}

// One command is one note, though several take part in it; what others did stays.
func TestACommandIsRememberedOnce(t *testing.T) {
	ada, bob := lock.Actor{PID: 7, Name: "ada"}, lock.Actor{PID: 8, Name: "bob"}
	at := func(seconds int) time.Time { return time.Unix(int64(1_800_000_000+seconds), 0).UTC() }
	down := api.Past{Verb: api.VerbLockdown, By: ada, At: at(1), Unattended: true, Verified: true}
	begun := api.Past{Verb: api.VerbKill, By: ada, At: at(0), Unfinished: true}
	kill := api.Past{Verb: api.VerbKill, By: ada, At: at(0), Verified: true}
	without := api.Past{Verb: api.VerbKill, By: ada, At: at(11), Verified: true, Unattended: true, Evidence: "a.tar"}
	start := without
	start.Unfinished, start.Evidence = true, ""
	for what, c := range map[string]struct {
		list []api.Past
		want string
	}{
		"a kill":                                  {[]api.Past{begun, kill}, "kill ada 0"},
		"the agent hangs":                         {[]api.Past{down, start, without}, "kill ada 11"},
		"it hangs over the kill, and wakes up":    {[]api.Past{begun, start, without, kill}, "kill ada 11"},
		"it wakes up first":                       {[]api.Past{begun, start, kill, without}, "kill ada 11"},
		"it is killed over it":                    {[]api.Past{begun, start, without}, "kill ada 11"},
		"it wakes up after the lockdown":          {[]api.Past{down, {Verb: api.VerbKill, By: ada, At: at(9)}}, "kill ada 9"},
		"a lockdown, and a kill by another":       {[]api.Past{down, {Verb: api.VerbKill, By: bob, At: at(2)}}, "lockdown ada 1, kill bob 2"},
		"a lockdown, and a kill much later":       {[]api.Past{down, {Verb: api.VerbKill, By: ada, At: at(3600)}}, "lockdown ada 1, kill ada 3600"},
		"a lockdown by the agent, and a kill":     {[]api.Past{{Verb: api.VerbLockdown, By: ada, At: at(1)}, {Verb: api.VerbKill, By: ada, At: at(2)}}, "lockdown ada 1, kill ada 2"},
		"a kill that nobody ended, and another's": {[]api.Past{begun, {Verb: api.VerbKill, By: bob, At: at(5)}}, "kill ada 0, kill bob 5"},
	} {
		book := BookOfAgent(t.TempDir())
		for _, p := range c.list {
			if err := book.Remember("one", p); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		for _, p := range book.Past("one") {
			got = append(got, fmt.Sprint(p.Verb, " ", p.By.Name, " ", p.At.Unix()-at(0).Unix()))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: %s, want %s", what, text, c.want)
		}
	}
}
