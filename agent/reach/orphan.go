package reach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
)

// Deputy acts on what is pinned, for a keeper that does not answer.
type Deputy interface {
	Workloads() ([]api.Workload, error)
	// Known reports whether it is known which selections mean a workload.
	Known(name string) bool
	Respond(by lock.Actor, name string, ask api.Respond) (api.Response, error)
	Inspect(ctx context.Context, name string) (api.Inspection, error)
	Close() error
}

var (
	// errMute is the error of a run that does not answer.
	errMute = errors.New("the run does not answer: whether it is meant is not known, and it was NOT stopped; stop it by its name")
	// errOrphan is the error of a workload whose agent does not answer.
	errOrphan = errors.New("no agent answers: it is enforced as before; start the agent (systemctl restart stockade)")
	// errUnknown is that of one of which nothing is remembered.
	errUnknown = errors.New("no agent answers, and its labels are not known: whether it is meant is not known, and it was NOT stopped; stop it by its name, or all")
)

// agentLimit is how long an agent may take to say that it is there: it waits for nothing.
var agentLimit = 10 * time.Second

// status asks the agent what there is. One that does not answer is none.
func (h *Host) status(ctx context.Context) (api.Status, error) {
	limited, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	s, err := h.agent().Status(limited)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("%w answers at %s in %v", api.ErrNoAgent, h.Socket, agentLimit)
	}
	return s, err
}

// listens is the error of an agent that does not answer.
func (h *Host) listens(ctx context.Context) error {
	_, err := h.status(ctx)
	if errors.Is(err, api.ErrNoAgent) {
		return err
	}
	return nil // what else is wrong is said of what it is asked
}

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
		o.list = append(o.list, api.Workload{Name: "?", Mode: "?", Origin: "?", Cgroups: []string{}, Error: o.err.Error()})
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
			case s.All || o.deputy.Known(w.Name):
				if s.Selects(w.Principal, w.Labels) {
					answers[i] = stopped(o.deputy, w.Name, ask)
				}
			default:
				answers[i] = *api.FailedResponse(w.Name, ask.Verb, errUnknown)
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
		return nil, fmt.Errorf("workload %s: %w", name, errMute)
	}
	d, err := h.RunDeputy(name)
	if err != nil {
		return nil, fmt.Errorf("workload %s: the run does not answer, and what is pinned: %w: NOT stopped; end what is in its cgroup by cgroup.kill", name, err)
	}
	return d, nil
}

// respondRun stops a run that does not answer.
func (h *Host) respondRun(name string, ask api.Respond) (api.Response, error) {
	d, err := h.ofRun(name)
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
