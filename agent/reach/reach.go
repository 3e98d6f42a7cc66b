// Package reach does what is asked of workloads wherever they are held on this host: by
// the agent, or by runs that have a set of their own.
package reach

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/deputy"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/agent/run"
	"github.com/stockade-dev/stockade/cgroup"
)

// Host is where workloads are.
type Host struct {
	// Socket is the agent's.
	Socket string
	// Runs lists the sockets of runs that have a set of their own; some may be gone. nil:
	// the agent alone is asked.
	Runs func() []string
	// Enforced lists those of runs whose sets are pinned.
	Enforced func() []string
	// Deputy acts for the agent when it does not answer, and RunDeputy for a run; nil: nobody
	// does. The error is fs.ErrNotExist if there is nothing to act on.
	Deputy    func() (Deputy, error)
	RunDeputy func(name string) (Deputy, error)
	// Book has the locks, where there is no agent to ask.
	Book lock.Book
	// Notice tells who waits why; nil: nobody.
	Notice func(text string)
}

// This is this host, with the agent behind a socket.
func This(socket string) *Host {
	return &Host{Socket: socket,
		Runs: run.ControlSockets, Enforced: run.Pinned,
		Deputy: func() (Deputy, error) { return deputy.OfAgent() }, RunDeputy: func(name string) (Deputy, error) { return deputy.OfRun(name) },
		Book: lock.Book(host.This.LockBook())}
}

func (h *Host) agent() *api.Client { return api.NewClient(h.Socket) }

// held is a workload of a run that has a set of its own.
type held struct {
	client *api.Client
	api.Workload
	mute  bool // it does not answer
	meant bool // even so
}

// answerLimit is how long a run may take to say what it is: it does not wait for anything.
var answerLimit = 3 * time.Second

// runs lists those that live. One that nobody answers for, and that confines nothing, is over; one that does not
// answer, as one that is stopped, may be any: it is listed with an error.
func (h *Host) runs(ctx context.Context, wanted func(w *api.Workload) bool) (list []held) {
	if h.Runs == nil {
		return nil
	}
	var mu sync.Mutex
	var going sync.WaitGroup
	var enforced []string
	if h.Enforced != nil {
		enforced = h.Enforced()
	}
	for _, socket := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(h.Runs(), enforced)))) {
		going.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, answerLimit)
			defer cancel()
			client := api.NewClient(socket)
			status, err := client.Status(ctx)
			if errors.Is(err, api.ErrNoAgent) && !slices.Contains(enforced, socket) {
				return
			}
			if err != nil {
				name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(socket), "@"), ".sock")
				status.Workloads = []api.Workload{{Name: name, Mode: "?", Origin: "run", Cgroups: []string{path.Join(cgroup.Parent, name)}, Error: errSilent.Error()}}
			}
			mu.Lock()
			defer mu.Unlock()
			for i := range status.Workloads {
				if w := &status.Workloads[i]; err != nil || wanted(w) {
					list = append(list, held{client: client, Workload: *w, mute: err != nil})
				}
			}
		})
	}
	going.Wait()
	slices.SortFunc(list, func(a, b held) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Status is the agent's, with the workloads of runs that have a set of their own. Without
// an agent it is about those alone; there is an error if there is none.
func (h *Host) Status(ctx context.Context) (api.Status, error) {
	s, err := h.status(ctx)
	if err != nil && !errors.Is(err, api.ErrNoAgent) {
		return s, err
	}
	list := h.runs(ctx, func(*api.Workload) bool { return true })
	for _, w := range list {
		s.Workloads = append(s.Workloads, h.seen(w))
	}
	orphans := h.orphans(err)
	defer orphans.close()
	for _, w := range orphans.list {
		w.Error = cmp.Or(w.Error, errOrphan.Error())
		s.Workloads = append(s.Workloads, w)
	}
	slices.SortStableFunc(s.Workloads, func(a, b api.Workload) int { return cmp.Compare(a.Name, b.Name) })
	if len(list) > 0 && len(orphans.list) == 0 {
		err = nil
	}
	hangs := errors.As(err, new(hung))
	switch {
	case err == nil || hangs:
	case len(s.Workloads) > 0:
		err = fmt.Errorf("%w listens at %s: what one held is enforced as before; start it (systemctl restart stockade)", api.ErrNoAgent, h.Socket)
	case h.Runs == nil:
		err = fmt.Errorf("%w listens at %s: nothing is known of workloads; start it with `stockade agent --config FILE`", api.ErrNoAgent, h.Socket)
	default:
		err = fmt.Errorf("%w listens at %s, and no run has a set of its own: nothing is confined here; start an agent with `stockade agent --config FILE`, or a run", api.ErrNoAgent, h.Socket)
	}
	return s, err
}

// Respond stops the workload of a name, or undoes that. There are two responses if the
// agent and a run both have one of that name.
func (h *Host) Respond(ctx context.Context, name string, ask api.Respond) (all api.Responses, err error) {
	r, err := answer(ctx, h, ask.Verb, one(name), func() (r api.Response, err error) {
		err = h.attended(ctx, func(ctx context.Context) (err error) {
			r, err = h.agent().Respond(ctx, name, ask)
			return err
		})
		return r, err
	})
	switch {
	case err == nil:
		all.Responses = append(all.Responses, r)
	case !isNone(err):
		return all, err
	}
	orphans := h.orphans(err)
	defer orphans.close()
	list := h.named(ctx, name)
	if orphans.has(name) {
		if len(list) == 0 {
			r, err := orphans.deputy.Respond(actor(), name, ask)
			all.Responses = append(all.Responses, r)
			return all, err
		}
		all.Responses = append(all.Responses, stopped(orphans.deputy, name, ask))
	}
	if len(list) == 1 && len(all.Responses) == 0 { // an error of its is that of the whole
		r, err := list[0].respond(ctx, h, ask)
		all.Responses = append(all.Responses, r)
		return all, err
	}
	all.Responses = append(all.Responses, h.each(ctx, list, ask)...)
	if len(all.Responses) > 0 {
		return all, nil
	}
	if orphans.err != nil {
		return all, fmt.Errorf("workload %s: %w", name, orphans.err)
	}
	return all, h.nowhere(name, err)
}

// nowhere is the error of a name that nobody has; err is the agent's.
func (h *Host) nowhere(name string, err error) error {
	if errors.As(err, new(hung)) && h.Deputy != nil {
		return fmt.Errorf("workload %s: %w answers at %s in %v, and nothing that is enforced has that name: nothing was done; see `stockade ps`", name, api.ErrNoAgent, h.Socket, agentLimit)
	}
	if errors.Is(err, api.ErrNoAgent) && h.Runs != nil {
		return fmt.Errorf("workload %s: %w listens at %s, and no run of that name has a set of its own: nothing was done; see `stockade ps`", name, api.ErrNoAgent, h.Socket)
	}
	return err
}

// Inspect tells what can be known of a workload now: the agent's, if it has one of that
// name, else that of a run.
func (h *Host) Inspect(ctx context.Context, name string) (api.Inspection, error) {
	i, err := answer(ctx, h, "", nil, func() (api.Inspection, error) { return h.agent().Inspect(ctx, name) })
	if err == nil || !isNone(err) {
		return i, err
	}
	orphans := h.orphans(err)
	defer orphans.close()
	if orphans.has(name) {
		return orphans.deputy.Inspect(ctx, name)
	}
	for _, w := range h.named(ctx, name) {
		if w.mute {
			return h.inspectRun(ctx, name)
		}
		return w.client.Inspect(ctx, name)
	}
	return i, h.nowhere(name, err)
}

// isNone says that an agent has nothing of it, or that there is no agent.
func isNone(err error) bool { return errors.Is(err, api.ErrNotFound) || errors.Is(err, api.ErrNoAgent) }

// RespondMany does one thing to every workload that is selected.
func (h *Host) RespondMany(ctx context.Context, s label.Selection, ask api.Respond) (all api.Responses, err error) {
	if s, err = s.Canonical(); err != nil {
		return all, undone(err)
	}
	all, err = answer(ctx, h, ask.Verb, several(s), func() (all api.Responses, err error) {
		err = h.attended(ctx, func(ctx context.Context) (err error) {
			all, err = h.agent().RespondMany(ctx, api.RespondMany{Selection: s, Respond: ask})
			return err
		})
		return all, err
	})
	if err != nil && !isNone(err) {
		return all, err
	}
	all.Responses = append(all.Responses, h.unattended(err, s, ask)...)
	if h.add(ctx, &all, s, ask); len(all.Responses) == 0 {
		if s.All {
			return all, fmt.Errorf("%s: there is none, %w: nothing was done; see `stockade ps`", s, api.ErrNotFound)
		}
		return all, fmt.Errorf("%s: %w: nothing was done; see `stockade ps`", s, api.ErrNotFound)
	}
	return all, nil
}

// undone is what follows from a selection that is none.
func undone(err error) error { return fmt.Errorf("%w: nothing was done", err) }

// add adds the responses of runs that have a set of their own.
func (h *Host) add(ctx context.Context, all *api.Responses, s label.Selection, ask api.Respond) {
	list := h.runs(ctx, func(w *api.Workload) bool { return s.Selects(w.Principal, w.Labels) })
	for i := range list {
		list[i].meant = s.All
	}
	all.Responses = append(all.Responses, h.each(ctx, list, ask)...)
	slices.SortStableFunc(all.Responses, func(a, b api.Response) int { return cmp.Compare(a.Workload, b.Workload) })
}

// named lists the runs of a name.
func (h *Host) named(ctx context.Context, name string) []held {
	list := h.runs(ctx, func(w *api.Workload) bool { return w.Name == name })
	list = slices.DeleteFunc(list, func(w held) bool { return w.Name != name })
	for i := range list {
		list[i].meant = true
	}
	return list
}

// slack is how much longer than it may take a response of a run is waited for.
const slack = 30 * time.Second

// respond asks a run.
func (w *held) respond(ctx context.Context, h *Host, ask api.Respond) (r api.Response, err error) {
	switch {
	case w.mute && w.meant:
		return h.respondRun(w.Name, ask)
	case w.mute:
		return *api.NewResponse(w.Name, ask.Verb), errMute(ask.Verb)
	}
	ctx, cancel := context.WithTimeout(ctx, 2*cmp.Or(ask.Within, respond.DefaultWithin)+slack)
	defer cancel()
	r, err = w.client.Respond(ctx, w.Name, ask)
	if errors.Is(err, api.ErrUncertain) && ctx.Err() == nil {
		return h.respondRun(w.Name, ask)
	}
	return r, err
}

// each asks runs, all at once.
func (h *Host) each(ctx context.Context, list []held, ask api.Respond) []api.Response {
	answers := make([]api.Response, len(list))
	var going sync.WaitGroup
	for i, w := range list {
		going.Go(func() {
			r, err := w.respond(ctx, h, ask)
			if err != nil {
				r = *api.FailedResponse(w.Name, ask.Verb, err)
			}
			answers[i] = r
		})
	}
	going.Wait()
	return answers
}

// Lock locks workloads down, and has no new ones like them start. Who starts a run looks
// at the book once it can be found here.
func (h *Host) Lock(ctx context.Context, s label.Selection, reason string) (all api.Responses, err error) {
	if s, err = s.Canonical(); err != nil {
		return all, undone(err)
	}
	all, err = answer(ctx, h, api.VerbLockdown, several(s), func() (api.Responses, error) {
		return h.agent().Lock(ctx, api.LockRequest{Selection: s, Reason: reason})
	})
	if errors.Is(err, api.ErrNoAgent) {
		l := lock.Lock{Selection: s, By: actor(), At: time.Now().UTC(), Reason: reason}
		if err := l.Valid(); err != nil {
			return all, err
		}
		all.Responses = h.unattended(err, s, api.Respond{Verb: api.VerbLockdown})
		var holds *lock.Lock
		if err = h.Book.Add(l); err == nil {
			holds, err = h.Book.Of(s)
			all.LockedBy(holds, l)
		}
		if err != nil { // what is there is stopped all the same
			all.Responses, err = append(all.Responses, *api.FailedResponse(s.String(), api.VerbLock, err)), nil
		}
	}
	if err != nil {
		return all, err
	}
	h.add(ctx, &all, s, api.Respond{Verb: api.VerbLockdown})
	return all, nil
}

// Unlock ends the lock on a selection, and unlocks what it selects.
func (h *Host) Unlock(ctx context.Context, s label.Selection) (all api.Responses, err error) {
	if s, err = s.Canonical(); err != nil {
		return all, undone(err)
	}
	all, err = answer(ctx, h, api.VerbUnlock, nil, func() (api.Responses, error) { return h.agent().Unlock(ctx, s) })
	if errors.Is(err, api.ErrNoAgent) {
		all.Responses = h.unattended(err, s, api.Respond{Verb: api.VerbUnlock})
		all.Ended, err = h.Book.Remove(s)
	}
	if err != nil && !errors.Is(err, lock.ErrNone) && !errors.Is(err, api.ErrNotFound) {
		return all, err
	}
	if h.add(ctx, &all, s, api.Respond{Verb: api.VerbUnlock}); len(all.Responses)+len(all.Ended) == 0 {
		return all, err
	}
	return all, nil
}

// Locks lists what is locked.
func (h *Host) Locks(ctx context.Context) ([]lock.Lock, error) {
	locks, err := answer(ctx, h, "", nil, func() (api.Locks, error) { return h.agent().Locks(ctx) })
	if errors.Is(err, api.ErrNoAgent) {
		return h.Book.All()
	}
	return locks.Locks, err
}
