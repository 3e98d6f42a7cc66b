package hosttest

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/cgroup"
)

// Recorder keeps what a run tells.
type Recorder struct {
	Denials  []sink.Event
	Notes    []string
	Result   *sink.Summary
	OnDenial func()
	OnEnd    func()

	noting sync.Mutex // responses note, too
}

func (r *Recorder) Event(e *sink.Event) error {
	r.Denials = append(r.Denials, *e)
	if r.OnDenial != nil {
		r.OnDenial()
	}
	return nil
}
func (r *Recorder) Note(name, text string) {
	r.noting.Lock()
	defer r.noting.Unlock()
	r.Notes = append(r.Notes, name+": "+text)
}
func (r *Recorder) Summary(s *sink.Summary) {
	r.Result = s
	if r.OnEnd != nil {
		r.OnEnd()
	}
}

// TestName makes a name, and skips where no cgroup can be made;
// STOCKADE_STRICT=1 turns the skip into a failure.
func TestName(t *testing.T) string {
	t.Helper()
	name := host.DefaultName("test")
	group, err := cgroup.Create(name)
	if err != nil && (os.Geteuid() != 0 || errors.Is(err, syscall.EROFS)) && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := group.Remove(); err != nil {
		t.Fatal(err)
	}
	return name
}

// WantGone demands that nothing of a workload is left, in time.
func WantGone(t *testing.T, name string) {
	t.Helper()
	var state, group error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		_, state = os.Stat(filepath.Join(host.StateRoot, name+".json"))
		_, group = cgroup.Open(name)
		if errors.Is(state, os.ErrNotExist) && errors.Is(group, os.ErrNotExist) {
			return
		}
	}
	t.Fatalf("%s is left: state file %v, cgroup %v", name, state, group)
}
