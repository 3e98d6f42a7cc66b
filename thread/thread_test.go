package thread

import (
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Whatever thread is free, the first is left alone, and every other one ends.
func TestTheFirstThreadIsLeftAlone(t *testing.T) {
	var all sync.WaitGroup
	for range 200 {
		all.Add(1)
		Start(func() {
			defer all.Done()
			if unix.Gettid() == unix.Getpid() {
				t.Error("the first is taken")
			}
		})
	}
	all.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		list, err := os.ReadDir("/proc/self/task")
		if err == nil && len(list) < 100 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d threads are left: %v", len(list), err)
		}
	}
}

func TestDoTellsWhatItCameTo(t *testing.T) {
	want := errors.New("so")
	if err := Do(func() error { return want }); err != want {
		t.Error(err)
	}
}
