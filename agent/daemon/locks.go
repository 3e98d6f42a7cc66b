package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// locks is the book of what is locked on this machine; where there is none, as for who
// looks at a configuration only, nothing is.
func (k *keeper) locks() lock.Book {
	if k.machine.Lasting == "" {
		return ""
	}
	return lock.Book(k.machine.LockBook())
}

// traits are what a workload is selected by.
func (w *workload) traits() (principal string, labels label.Set) {
	principal, labels = canonical(w.memory.Input.Principal), w.memory.Labels
	if w.plan != nil {
		principal = w.plan.Principal
	}
	return principal, labels
}

// canonical is the usual form of a principal; one that is none stays as it is.
func canonical(principal string) string {
	if uid, err := compiler.ParsePrincipal(principal); err == nil {
		return uid.String()
	}
	return principal
}

// lockedBy returns the lock on a workload, nil if there is none.
func (k *keeper) lockedBy(w *workload) (*lock.Lock, error) {
	k.all.mu.Lock()
	principal, labels := w.traits()
	k.all.mu.Unlock()
	return k.locks().On(principal, labels)
}

// locksOn returns all of them. What cannot be read is told of the lock that is asked for.
func (k *keeper) locksOn(w *workload) []lock.Lock {
	k.all.mu.Lock()
	principal, labels := w.traits()
	k.all.mu.Unlock()
	list, _ := k.locks().AllOn(principal, labels)
	return list
}

// admitted refuses a workload that is locked, by an error about it.
func (k *keeper) admitted(principal string, labels label.Set, follows string) error {
	l, err := k.locks().On(principal, labels)
	if err == nil && l != nil {
		err = errors.New(l.String())
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, follows)
	}
	return nil
}

// selected lists the workloads that a selection means, by name.
func (k *keeper) selected(s label.Selection) (names []string) {
	k.all.mu.Lock()
	defer k.all.mu.Unlock()
	for name, w := range k.all.byName {
		if principal, labels := w.traits(); s.Selects(principal, labels) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// RespondMany does one thing to every workload that is selected, to all at once.
func (d *Daemon) RespondMany(by api.Peer, ask api.RespondMany) (api.Responses, error) {
	s, err := ask.Selection.Canonical()
	if err != nil {
		return api.Responses{}, fmt.Errorf("%w: nothing was done", err)
	}
	names := d.selected(s)
	if len(names) == 0 {
		return api.Responses{}, fmt.Errorf("%s: %w: nothing was done; see `stockade ps`", s, api.ErrNotFound)
	}
	return d.eachOf(by, names, ask.Respond), nil
}

// atOnce is how many workloads are responded to at the same time.
const atOnce = 16

// eachOf does one thing to several workloads. One that ends meanwhile has stopped.
func (d *Daemon) eachOf(by api.Peer, names []string, ask api.Respond) api.Responses {
	all := api.Responses{Responses: make([]api.Response, len(names))}
	room := make(chan struct{}, atOnce)
	var going sync.WaitGroup
	for i, name := range names {
		room <- struct{}{}
		going.Go(func() {
			defer func() { <-room }()
			r, err := d.Respond(by, name, ask)
			if err != nil {
				r = *api.FailedResponse(name, ask.Verb, err)
				r.Verified = errors.Is(err, api.ErrNotFound)
			}
			all.Responses[i] = r
		})
	}
	going.Wait()
	return all
}

// Lock locks workloads down, and has no new ones like them start. What starts while it
// is written down is found by the second look: change is held by who starts one.
func (d *Daemon) Lock(by api.Peer, ask api.LockRequest) (api.Responses, error) {
	s, err := ask.Selection.Canonical()
	if err != nil {
		return api.Responses{}, fmt.Errorf("%w: nothing was done", err)
	}
	actor := lock.ActorOf(by.PID, int(by.UID))
	down := api.Respond{Verb: api.VerbLockdown}
	l := lock.Lock{Selection: s, By: actor, At: time.Now().UTC(), Reason: ask.Reason}
	if err := l.Valid(); err != nil {
		return api.Responses{}, err
	}
	failed := d.locks().Add(l)
	all := d.eachOf(by, d.selected(s), down)
	if failed != nil { // what is there is stopped all the same
		all.Responses = append(all.Responses, *api.FailedResponse(s.String(), api.VerbLock, failed))
		return all, nil
	}
	d.change.Lock()
	names := d.selected(s)
	d.change.Unlock()
	names = slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(all.Responses, func(r api.Response) bool { return r.Workload == name })
	})
	all.Responses = append(all.Responses, d.eachOf(by, names, down).Responses...)
	holds, err := d.locks().Of(s)
	if err != nil {
		return all, err
	}
	all.LockedBy(holds, l)
	slices.SortFunc(all.Responses, func(a, b api.Response) int { return cmp.Compare(a.Workload, b.Workload) })
	text := fmt.Sprintf("locked: %s, by %s: %s locked down", s, actor, sink.Plural(len(all.Responses), "workload"))
	if all.LockedBefore {
		text += "; " + holds.Before()
	}
	d.book.note(text)
	return all, nil
}

// Unlock ends the lock on a selection, if there is one, and unlocks what it selects.
func (d *Daemon) Unlock(by api.Peer, s label.Selection) (api.Responses, error) {
	s, err := s.Canonical()
	if err != nil {
		return api.Responses{}, fmt.Errorf("%w: nothing was done", err)
	}
	names := d.selected(s)
	ended, err := d.locks().Remove(s)
	switch {
	case errors.Is(err, lock.ErrNone) && len(names) > 0: // they may be locked down one by one
	case err != nil:
		return api.Responses{}, err
	}
	if len(ended) > 0 {
		d.book.note(fmt.Sprintf("unlocked: %s, by %s", s, lock.ActorOf(by.PID, int(by.UID))))
	}
	all := d.eachOf(by, names, api.Respond{Verb: api.VerbUnlock})
	all.Ended = ended
	return all, nil
}

// Locks lists what is locked.
func (d *Daemon) Locks() (api.Locks, error) {
	list, err := d.locks().All()
	if list == nil {
		list = []lock.Lock{}
	}
	return api.Locks{Locks: list}, err
}

// tellLocked tells once of a cgroup that belongs to a locked workload: what starts in it
// is denied everything.
func (k *keeper) tellLocked(rel string, w *workload) {
	k.all.mu.Lock()
	mode := w.mode
	k.all.mu.Unlock()
	if mode != abi.Lockdown {
		return
	}
	if l, err := k.lockedBy(w); err == nil && l != nil {
		k.book.once("locked "+rel, fmt.Sprintf("cgroup %s: workload %s: it is denied everything: %s", rel, w.name, l))
	}
}
