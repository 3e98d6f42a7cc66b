package memory

import (
	"os"
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
