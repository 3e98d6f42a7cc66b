package run

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/cgroup"
)

// Who waits for an agent that does not answer is told so, and can press Ctrl-C.
func TestSignalEndsTheWaitForAnAgent(t *testing.T) {
	group, err := cgroup.Create(hosttest.TestName(t))
	if err != nil {
		t.Fatal(err)
	}
	defer group.Remove()
	socket := filepath.Join(t.TempDir(), "sock")
	silent, err := net.Listen("unix", socket) // takes connections, and answers none
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	signals := &relay{caught: make(chan os.Signal, 1)}
	cfg := Config{Name: group.Name(), Plan: hosttest.EmptyPlan(), Socket: socket}
	was := slowLimit
	t.Cleanup(func() { slowLimit = was })
	slowLimit = 10 * time.Millisecond
	failed, notes := make(chan error, 1), make(chan string, 10)
	go func() {
		_, err := askAgent(&cfg, group, signals, func(text string) { notes <- text })
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Fatalf("without a signal: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if text := <-notes; text != "the agent does not answer yet: it is waited for up to 3m0s in all; Ctrl-C ends that, --agent=never does without it" || len(notes) > 0 {
		t.Error(text)
	}
	signals.caught <- unix.SIGINT
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), "a signal: nothing was started") {
			t.Errorf("%v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits on")
	}
	if len(signals.caught) != 1 {
		t.Error("the signal was taken")
	}
}
