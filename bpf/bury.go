package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Reader reads what is on the ring of a set that is buried, and counts there.
type Reader interface {
	Account(id uint32, delivered bool)
	Count(id uint32, delivered bool)
	Events() (*Events, error)
}

// Bury ends the set beside that of dir, which holds all that it holds: its hooks are
// detached, read is given what is on its ring, and what it counted is counted by the other.
// Without read, what is on the ring counts as lost. There may be none; then nothing is done.
// Whoever is killed over it leaves the rest to the next.
func Bury(dir string, read func(Reader) error) error {
	if _, err := os.Stat(Beside(dir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	gone, err := openFormer(Beside(dir))
	if errors.Is(err, fs.ErrNotExist) { // what nobody takes for a whole set
		return Remove(Beside(dir))
	}
	if err != nil {
		return err
	}
	defer gone.Abandon()
	heir, err := openFormer(dir)
	if err != nil {
		return err
	}
	defer heir.Abandon()
	return heir.bury(gone, read)
}

func (heir *former) bury(gone *former, read func(Reader) error) error {
	isNew := gone.header().New == 1
	heir.header().New = 0
	if err := fault.At("bpf.bury"); err != nil {
		return fmt.Errorf("%s: %w: two sets enforce; start the agent again", gone.dir, err)
	}
	if err := gone.detach(); err != nil {
		return err
	}
	if !isNew { // whoever did without an agent may have opened it before it went
		if _, err := heir.takeModes(gone); err != nil {
			return err
		}
	}
	if gone.header().Events != eventsContract {
		read = nil
	}
	if read != nil {
		if err := read(gone); err != nil {
			return fmt.Errorf("%s: %w: its denials are not read; start the agent again", gone.dir, err)
		}
	}
	if err := fault.At("bpf.bury-count"); err != nil {
		return fmt.Errorf("%s: %w: its denials are not counted; start the agent again", gone.dir, err)
	}
	for id := uint32(1); id < abi.MaxWorkloads && gone.header().Carried == 0; id++ {
		if gone.record(id).Name[0] == 0 || gone.record(id).Name != heir.record(id).Name {
			continue
		}
		if read == nil {
			if err := gone.loseUnread(id); err != nil {
				return err
			}
		}
		count := heir.carry
		if isNew {
			count = heir.addUp
		}
		if err := count(gone, id); err != nil {
			return err
		}
	}
	gone.header().Carried = 1
	return Remove(gone.dir)
}

// detach ends enforcement by a set whose pins are the last that hold it, all hooks at once:
// the kernel waits tens of milliseconds for each.
func (f *former) detach() error {
	for _, prefix := range []string{linkPin, holdPin + linkPin} {
		links, err := openLinks(f.dir, prefix)
		if err == nil {
			err = unpin(f.dir, prefix+"*")
		}
		results := make(chan error, len(links))
		for _, l := range links {
			go func() { results <- l.Close() }()
		}
		for range links {
			err = errors.Join(err, <-results)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loseUnread counts as lost what is on the ring of a set that nobody reads.
func (f *former) loseUnread(id uint32) error {
	sum, err := sumCounts(f.maps["counts"], id)
	if err != nil {
		return err
	}
	r := f.record(id)
	if known := r.Delivered + r.Lost + sum.Dropped; sum.Denied > known {
		atomic.AddUint64(&r.Lost, sum.Denied-known)
	}
	return nil
}

// carry makes what another set counted, and those before it, what was counted before. Done
// again, it is the same.
func (e *Enforcer) carry(from *former, id uint32) error {
	sum, err := from.Counters(id)
	if err != nil {
		return err
	}
	delivered, lost := from.Accounted(id)
	e.record(id).Before = totals{sum.Allowed, sum.Denied, sum.Dropped, sum.Withheld, delivered, lost}
	return nil
}

// addUp adds what a set counted that never came to count.
func (e *Enforcer) addUp(from *former, id uint32) error {
	sum, err := sumCounts(from.maps["counts"], id)
	if err != nil {
		return err
	}
	r, before := from.record(id), &e.record(id).Before
	before.Allowed += sum.Allowed
	before.Denied += sum.Denied
	before.Dropped += sum.Dropped
	before.Withheld += sum.Withheld
	before.Delivered += r.Delivered
	before.Lost += r.Lost
	return nil
}
