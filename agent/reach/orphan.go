package reach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/cgroup"
)

// Deputy acts on what is pinned, for a keeper that does not answer.
type Deputy interface {
	Workloads() ([]api.Workload, error)
	Respond(by lock.Actor, name string, ask api.Respond) (api.Response, error)
	Inspect(ctx context.Context, name string) (api.Inspection, error)
	Close() error
}

var (
	// errSilent is that of one that is only shown.
	errSilent = errors.New("the run does not answer: it is enforced as before, and can be stopped by its name")
	// errOrphan is the error of a workload whose agent does not answer.
	errOrphan = errors.New("no agent answers: it is enforced as before; start the agent (systemctl restart stockade)")
)

// undecided is the error of one of which nobody tells whether a selection means it: what
// was asked for was not done to it.
func undecided(verb, why, mend string) error {
	not := map[string]string{
		api.VerbKill: "it was NOT stopped; kill it", api.VerbFreeze: "it was NOT frozen; freeze it", api.VerbLockdown: "it was NOT locked down; lock it down",
		api.VerbThaw: "it does NOT go on; thaw it", api.VerbUnlock: "it was NOT unlocked; unlock it",
	}[verb]
	return fmt.Errorf("%s: whether it is meant is not known, and %s by its name%s", why, not, mend)
}

// errMute is the error of a run that does not answer.
func errMute(verb string) error {
	mend := ""
	if verb == api.VerbUnlock {
		mend = " once it does (kill -CONT, if it was stopped)" // nobody else knows its mode
	}
	return undecided(verb, "the run does not answer", mend)
}

// errUnknown is that of one of which nothing is remembered.
func errUnknown(verb string) error {
	const why = "no agent answers, and its labels are not known"
	if verb == api.VerbUnlock {
		return undecided(verb, why, " once an agent does (systemctl restart stockade)")
	}
	return undecided(verb, why, ", or all")
}

// hung is the error of an agent that listens, and does not answer.
type hung struct {
	socket string
	limit  time.Duration
}

func (h hung) Error() string {
	return fmt.Sprintf("no agent answers at %s in %v: what it holds is enforced as before; look at it, or start it anew (systemctl restart stockade)", h.socket, h.limit)
}

func (hung) Unwrap() error { return api.ErrNoAgent }

// errRoot is about who is not root.
var errRoot = errors.New("this needs root: permission denied")

// euid is who asks.
var euid = os.Geteuid

// permitted is an error about no agent, unless it is who asks that may not see what there is.
func (h *Host) permitted(err error) error {
	if !errors.Is(err, api.ErrNoAgent) || h.Deputy == nil || euid() == 0 {
		return err
	}
	d, failed := h.Deputy()
	if failed == nil {
		_ = d.Close() // nothing is to be written
	}
	if errors.Is(failed, fs.ErrPermission) {
		return fmt.Errorf("%w to uid %d: nothing was done; run as root, for example with sudo", errRoot, euid())
	}
	return err
}

// agentLimit is how long an agent may take to say that it is there: it waits for nothing.
var agentLimit = 10 * time.Second

// status asks the agent what there is. One that does not answer is none.
func (h *Host) status(ctx context.Context) (api.Status, error) {
	limited, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	s, err := h.agent().Status(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = hung{h.Socket, agentLimit}
	}
	return s, h.permitted(err)
}

// hasty is how long an agent is waited for before a lockdown that is asked for, or begins
// what is, is made without it. To do that twice does no harm.
var hasty = time.Second

// locks: does a verb begin with a lockdown?
func locks(verb string) bool {
	return verb == api.VerbLockdown || verb == api.VerbFreeze || verb == api.VerbKill
}

// listens is the error of an agent that does not answer. What is meant is locked down
// before that is known, where the verb begins so.
func (h *Host) listens(ctx context.Context, verb string, meant func(w *api.Workload) bool) error {
	if h.Deputy != nil && locks(verb) {
		done := make(chan struct{})
		early := time.AfterFunc(hasty, func() {
			defer close(done)
			if h.lockEarly(meant); h.Notice != nil {
				h.Notice(fmt.Sprintf("the agent does not answer: what is meant is locked down; it is waited for up to %v", agentLimit))
			}
		})
		defer func() {
			if !early.Stop() {
				<-done
			}
		}()
	}
	_, err := h.status(ctx)
	if errors.Is(err, api.ErrNoAgent) || errors.Is(err, errRoot) {
		return err
	}
	return nil // what else is wrong is said of what it is asked
}

// answer is what the agent says to a question, if it answers at all: see listens.
func answer[T any](ctx context.Context, h *Host, verb string, meant func(w *api.Workload) bool, ask func() (T, error)) (T, error) {
	if err := h.listens(ctx, verb, meant); err != nil {
		var none T
		return none, err
	}
	return ask()
}

// ping is how often is asked whether an agent still answers that is to do something.
var ping = 2 * time.Second

// attended does what needs the agent, until that is done, or the agent hangs or is killed.
// With the next agent, if one is there at once, it is done again: twice does no harm.
func (h *Host) attended(ctx context.Context, do func(ctx context.Context) error) error {
	err := h.watched(ctx, do)
	if !errors.Is(err, api.ErrUncertain) || ctx.Err() != nil {
		return err
	}
	for end := time.Now().Add(agentLimit); time.Now().Before(end); time.Sleep(again) {
		switch _, failed := h.status(ctx); {
		case failed == nil:
			return h.watched(ctx, do)
		case errors.Is(failed, api.ErrNoAgent):
			return failed
		case !errors.Is(failed, api.ErrUncertain): // as long as it is dying, it takes connections
			return err
		}
	}
	return err
}

// again is when an agent is asked again that is dying.
const again = 50 * time.Millisecond

// watched does what needs the agent, and looks meanwhile whether that still answers.
func (h *Host) watched(ctx context.Context, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-time.After(ping):
				if _, err := h.status(ctx); errors.Is(err, api.ErrNoAgent) {
					cancel(err)
				}
			}
		}
	})
	err := do(ctx)
	if cause := context.Cause(ctx); errors.Is(cause, api.ErrNoAgent) {
		err = cause
	}
	cancel(nil)
	asking.Wait()
	return err
}

// lockEarly locks down what is meant. What fails fails again, and is told, later.
func (h *Host) lockEarly(meant func(w *api.Workload) bool) {
	d, err := h.Deputy()
	if err != nil {
		return
	}
	defer d.Close()
	list, _ := d.Workloads()
	for i := range list {
		if meant(&list[i]) {
			_, _ = d.Respond(actor(), list[i].Name, api.Respond{Verb: api.VerbLockdown})
		}
	}
}

// one means the workload of a name, and several those of a selection.
func one(name string) func(*api.Workload) bool {
	return func(w *api.Workload) bool { return w.Name == name }
}

func several(s label.Selection) func(*api.Workload) bool {
	return func(w *api.Workload) bool { return s.All || remembered(w) && s.Selects(w.Principal, w.Labels) }
}

// remembered: is it known which selections mean a workload?
func remembered(w *api.Workload) bool { return w.Origin != api.OriginUnknown }

// actor is who asks a deputy.
func actor() lock.Actor { return lock.ActorOf(os.Getpid(), os.Getuid()) }

// orphans are the workloads of an agent that does not answer.
type orphans struct {
	deputy Deputy
	list   []api.Workload
	err    error // why they cannot be known
}

// orphans lists them: none if err is not that of an agent that does not answer. One that
// cannot be known is told as a workload without a name.
func (h *Host) orphans(err error) (o orphans) {
	if !errors.Is(err, api.ErrNoAgent) || h.Deputy == nil {
		return o
	}
	d, err := h.Deputy()
	if errors.Is(err, fs.ErrNotExist) {
		return o
	}
	if err == nil {
		o.deputy = d
		o.list, err = d.Workloads()
	}
	if err != nil {
		o.err = fmt.Errorf("no agent answers, and what it enforces is not known: %w: NOT stopped; start the agent (systemctl restart stockade), or end processes by cgroup.kill of their cgroups", err)
		o.list = append(o.list, api.Workload{Name: "?", Mode: "?", Origin: api.OriginUnknown, Cgroups: []string{}, Error: o.err.Error()})
	}
	return o
}

func (o orphans) close() {
	if o.deputy != nil {
		_ = o.deputy.Close() // nothing is to be written
	}
}

func (o orphans) has(name string) bool {
	return o.err == nil && slices.ContainsFunc(o.list, func(w api.Workload) bool { return w.Name == name })
}

// unattended has the orphans that are selected stopped. Of one of which nothing is
// remembered nobody knows whether it is meant.
func (h *Host) unattended(err error, s label.Selection, ask api.Respond) []api.Response {
	o := h.orphans(err)
	defer o.close()
	answers := make([]api.Response, len(o.list))
	var going sync.WaitGroup
	for i, w := range o.list {
		going.Go(func() {
			switch {
			case o.err != nil:
				answers[i] = *api.FailedResponse(w.Name, ask.Verb, o.err)
			case several(s)(&w):
				answers[i] = stopped(o.deputy, w.Name, ask)
			case !remembered(&w):
				answers[i] = *api.FailedResponse(w.Name, ask.Verb, errUnknown(ask.Verb))
			}
		})
	}
	going.Wait()
	return slices.DeleteFunc(answers, func(r api.Response) bool { return r.Workload == "" })
}

// stopped is the response of a deputy; an error is one that came to nothing.
func stopped(d Deputy, name string, ask api.Respond) api.Response {
	r, err := d.Respond(actor(), name, ask)
	if err != nil {
		r = *api.FailedResponse(name, ask.Verb, err)
	}
	return r
}

// ofRun returns the deputy of a run that does not answer.
func (h *Host) ofRun(name string) (Deputy, error) {
	if h.RunDeputy == nil {
		return nil, fmt.Errorf("workload %s: the run does not answer: it was NOT stopped; let it go on (kill -CONT, if it was stopped)", name)
	}
	d, err := h.RunDeputy(name)
	if err != nil {
		return nil, fmt.Errorf("workload %s: the run does not answer, and what is pinned: %w: NOT stopped; end what is in its cgroup by cgroup.kill", name, err)
	}
	return d, nil
}

// populated is why the workload of a run may live: nil only if its cgroup is gone, or empty.
func populated(name string) error {
	group, err := cgroup.Open(name)
	if err == nil {
		var lives bool
		if lives, err = group.Populated(); lives {
			err = errors.New("its cgroup holds processes")
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// respondRun stops a run that does not answer, or that was killed.
func (h *Host) respondRun(name string, ask api.Respond) (api.Response, error) {
	d, err := h.ofRun(name)
	if errors.Is(err, fs.ErrNotExist) {
		if lives := populated(name); lives != nil {
			return *api.NewResponse(name, ask.Verb), fmt.Errorf("workload %s: its run was killed meanwhile, and nothing that is pinned for it is seen, but %w: NOT stopped; see that nothing is mounted over %s, then end what is in the cgroup %s by cgroup.kill", name, lives, host.PinRoot, path.Join(cgroup.Parent, name))
		}
		err = fmt.Errorf("workload %s: its run was killed meanwhile, and nothing of it is enforced any more: it is over: its processes were killed with it; see that its cgroup %s is gone. Evidence that was begun is not signed", name, path.Join(cgroup.Parent, name))
	}
	if err != nil {
		return *api.NewResponse(name, ask.Verb), err
	}
	defer d.Close()
	return d.Respond(actor(), name, ask)
}

// inspectRun looks at a run that does not answer.
func (h *Host) inspectRun(ctx context.Context, name string) (i api.Inspection, err error) {
	d, err := h.ofRun(name)
	if err != nil {
		return i, err
	}
	defer d.Close()
	return d.Inspect(ctx, name)
}

// seen is a run as it can be shown: of one that does not answer, what is pinned tells.
func (h *Host) seen(w held) api.Workload {
	if !w.mute {
		return w.Workload
	}
	d, err := h.ofRun(w.Name)
	if err != nil {
		return w.Workload
	}
	defer d.Close()
	if list, err := d.Workloads(); err == nil && len(list) == 1 {
		list[0].Origin, list[0].Error = w.Origin, w.Error
		return list[0]
	}
	return w.Workload
}
