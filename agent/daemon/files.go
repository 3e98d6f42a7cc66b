package daemon

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/inotify"
)

// settling is how long files must rest before they are read again: editors and
// package managers write in several steps.
const settling = 200 * time.Millisecond

// patience is how long files are waited for that do not rest: who changes some all the time
// puts nobody else's off.
const patience = 2 * time.Second

// fileWatch tells when files change: it watches their folders, for most
// programs replace a file rather than write to it.
type fileWatch struct {
	changed func()
	note    func(string)
	changes *inotify.Reader

	mu      sync.Mutex
	watches map[string]int // by folder
}

func newFileWatch(changed func(), note func(string)) (*fileWatch, error) {
	if err := fault.At("agent.file-watch"); err != nil {
		return nil, fmt.Errorf("files: inotify: %w: the agent does not start; see its log", err)
	}
	changes, err := inotify.New()
	if err != nil {
		return nil, fmt.Errorf("files: %w; the agent does not start", err)
	}
	return &fileWatch{changed: changed, note: note, changes: changes, watches: map[string]int{}}, nil
}

// set changes what is watched.
func (f *fileWatch) set(paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	for _, dir := range folders(paths) {
		wanted[dir] = true
		n, err := f.changes.Watch(dir, unix.IN_CLOSE_WRITE|unix.IN_MOVED_TO|unix.IN_MOVED_FROM|unix.IN_DELETE)
		if err != nil {
			f.note(fmt.Sprintf("%v; use `stockade reload`", err))
			continue
		}
		f.watches[dir] = n
	}
	for dir, n := range f.watches {
		if !wanted[dir] {
			f.changes.Forget(n)
			delete(f.watches, dir)
		}
	}
}

// follow calls changed after each burst of changes, until close.
func (f *fileWatch) follow() {
	burst := make(chan struct{}, 1)
	go func() {
		defer close(burst)
		for {
			if _, err := f.changes.Next(); err != nil {
				return
			}
			select {
			case burst <- struct{}{}:
			default:
			}
		}
	}()
	for range burst {
		late := time.After(patience)
		for rest := true; rest; {
			select {
			case <-late:
				rest = false
			case _, open := <-burst:
				if !open {
					return
				}
			case <-time.After(settling):
				rest = false
			}
		}
		f.changed()
	}
}

func (f *fileWatch) close() error { return f.changes.Close() }
