package lock

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/label"
)

const ci = `User::"ci"`

func newBook(t *testing.T) Book { return Book(filepath.Join(t.TempDir(), "stockade", "locks.json")) }

func byTeam(team string) Lock {
	return Lock{Selection: label.Selection{Labels: label.Set{"team": team}}, By: Actor{UID: 0, PID: 7, Login: 1000, Name: "ada"},
		At: time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC), Reason: "it reads keys"}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestALockHoldsUntilItIsRemoved(t *testing.T) {
	b := newBook(t)
	if l, err := b.On(ci, label.Set{"team": "a"}); l != nil || err != nil {
		t.Fatalf("without a file: %v, %v", l, err)
	}
	check(t, b.Add(byTeam("a")))
	check(t, b.Add(Lock{Selection: label.Selection{Principal: ci}}))
	again := byTeam("a")
	again.By.Name = "another"
	check(t, b.Add(again))
	if list, err := b.All(); err != nil || len(list) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	for n, principal := range map[int]string{1: "", 2: ci} {
		if list, err := b.AllOn(principal, label.Set{"team": "a"}); err != nil || len(list) != n || list[0].Reason != "it reads keys" {
			t.Errorf("on %q: %v, %v", principal, list, err)
		}
	}
	l, err := Book(string(b)).On("", label.Set{"team": "a", "x": "y"})
	if err != nil || l == nil {
		t.Fatalf("%v, %v", l, err)
	}
	if got, want := l.String(), "locked by ada (as uid 0) on 2026-11-27T06:00:00Z, \"it reads keys\"; see `stockade locks`, end it with `stockade unlock --label team=a`"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if ended, err := b.Remove(label.Selection{Labels: label.Set{"team": "a"}}); err != nil || len(ended) != 1 || ended[0].Line() != "--label team=a: locked by ada (as uid 0) on 2026-11-27T06:00:00Z, \"it reads keys\"" {
		t.Errorf("%+v, %v", ended, err)
	}
	if l, err := b.On("", label.Set{"team": "a"}); l != nil || err != nil {
		t.Errorf("after its end: %v, %v", l, err)
	}
	if l, err := b.On(ci, label.Set{"team": "a"}); l == nil || err != nil {
		t.Errorf("the other one: %v, %v", l, err)
	}
	if _, err := b.Remove(label.Selection{Labels: label.Set{"team": "a"}}); err == nil || !strings.Contains(err.Error(), "--label team=a: no lock is on that: nothing is unlocked; `stockade locks` lists the locks") {
		t.Errorf("once more: %v", err)
	}
	if l, err := b.Of(label.Selection{Principal: ci}); err != nil || l == nil {
		t.Errorf("%v, %v", l, err)
	}
	if ended, err := b.Remove(label.Selection{All: true}); err != nil || len(ended) != 1 {
		t.Errorf("%+v, %v", ended, err)
	}
	if list, err := b.All(); err != nil || len(list) != 0 {
		t.Errorf("after all: %v, %v", list, err)
	}
}

func TestABookThatCannotBeReadOpensNothing(t *testing.T) {
	b := newBook(t)
	check(t, b.Add(byTeam("a")))
	check(t, os.WriteFile(string(b), []byte("[{"), 0o600))
	if _, err := b.On("", nil); err == nil || !strings.Contains(err.Error(), "nothing starts") {
		t.Errorf("a broken book: %v", err)
	}
	if err := b.Add(byTeam("b")); err == nil {
		t.Error("a broken book is written over")
	}
	check(t, os.Remove(string(b)))
	check(t, os.Symlink("/etc/passwd", string(b)))
	if _, err := b.All(); err == nil {
		t.Error("a link is followed")
	}
}

func TestNoneOfManyLocksIsLost(t *testing.T) {
	b := newBook(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			if err := b.Add(byTeam(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err := b.All(); err != nil || len(list) != 20 {
		t.Errorf("%d locks, %v", len(list), err)
	}
	info, err := os.Stat(string(b))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestWhatMeansNothingIsNotLocked(t *testing.T) {
	b := newBook(t)
	long := byTeam("a")
	long.Reason = strings.Repeat("x", maxReason+1)
	for _, l := range []Lock{{}, {Selection: label.Selection{All: true, Principal: ci}}, long} {
		if err := b.Add(l); err == nil {
			t.Errorf("%+v is added", l)
		}
	}
	if _, err := os.Stat(string(b)); err == nil {
		t.Error("a file was made")
	}
}

func TestWhoAsksIsKnown(t *testing.T) {
	a := ActorOf(os.Getpid(), 0)
	if a.PID != os.Getpid() || a.UID != 0 || a.Name == "" {
		t.Errorf("%+v", a)
	}
	if a.Login < 0 && a.Name != "root" {
		t.Errorf("nobody logged in, and it is %+v", a)
	}
}
