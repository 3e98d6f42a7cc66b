package agent

import (
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/fault"
)

// settling is how long files must rest before they are read again: editors and
// package managers write in several steps.
const settling = 200 * time.Millisecond

// fileWatch tells when files change: it watches their folders, for most
// programs replace a file rather than write to it.
type fileWatch struct {
	changed func()
	note    func(string)
	file    *os.File

	mu      sync.Mutex
	watches map[string]int // by folder
}

func newFileWatch(changed func(), note func(string)) (*fileWatch, error) {
	if err := fault.At("agent.file-watch"); err != nil {
		return nil, fmt.Errorf("inotify: %w: the agent does not start; raise fs.inotify.max_user_instances", err)
	}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("inotify: %w: the agent does not start; raise fs.inotify.max_user_instances", err)
	}
	return &fileWatch{changed: changed, note: note, file: os.NewFile(uintptr(fd), "inotify"), watches: map[string]int{}}, nil
}

// set changes what is watched.
func (f *fileWatch) set(paths []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := map[string]bool{}
	for _, dir := range folders(paths) {
		wanted[dir] = true
		const what = unix.IN_CLOSE_WRITE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE | unix.IN_ONLYDIR
		wd, err := unix.InotifyAddWatch(int(f.file.Fd()), dir, what)
		if err != nil {
			f.note(fmt.Sprintf("%s: %v: changes in it are not seen; use `stockade reload`", dir, err))
			continue
		}
		f.watches[dir] = wd
	}
	for dir, wd := range f.watches {
		if !wanted[dir] {
			_, _ = unix.InotifyRmWatch(int(f.file.Fd()), uint32(wd)) // it may be gone
			delete(f.watches, dir)
		}
	}
}

// follow calls changed after each burst of changes, until close.
func (f *fileWatch) follow() {
	burst := make(chan struct{}, 1)
	go func() {
		defer close(burst)
		buf := make([]byte, 16<<10)
		for {
			if _, err := f.file.Read(buf); err != nil {
				return
			}
			select {
			case burst <- struct{}{}:
			default:
			}
		}
	}()
	for range burst {
		for rest := true; rest; {
			select {
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

func (f *fileWatch) close() error { return f.file.Close() }
