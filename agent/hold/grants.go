package hold

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// grant is an approval for a number of operations: each that waits for the agent
// and has no other answer spends one.
type grant struct {
	ID      string            `json:"id"`
	Left    int               `json:"left"`
	Answers []compiler.Answer `json:"answers"`
}

// covers reports whether the grant answers for a policy in a request.
func (g *grant) covers(policy string, r abi.Request) bool {
	return slices.ContainsFunc(g.Answers, func(a compiler.Answer) bool {
		return a.Policy == policy && a.Covers(r)
	})
}

// grants are those of all workloads, with a file for each beside its memory. A
// grant is spent on disk before it counts.
type grants struct {
	dir string
	mu  sync.Mutex
	all map[string][]*grant
}

// maxGrants bounds those of a workload.
const maxGrants = 256

func grantPath(dir, name string) string { return filepath.Join(dir, name+".grants") }

// recall reads what an earlier agent kept.
func (g *grants) recall(name string) error {
	text, err := os.ReadFile(grantPath(g.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var list []*grant
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		return fmt.Errorf("grants of workload %s: %w: those for a number of times are not known; remove %s", name, err, grantPath(g.dir, name))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all[name] = list
	return nil
}

// keep writes those of a workload, and keeps none that lapsed. On an error
// nothing is changed.
func (g *grants) keep(name string, list []*grant, now time.Time) error {
	lapsed := func(a compiler.Answer) bool { return a.Until != 0 && a.Until <= now.UnixMilli() }
	list = slices.DeleteFunc(slices.Clone(list), func(one *grant) bool {
		return one.Left <= 0 || !slices.ContainsFunc(one.Answers, func(a compiler.Answer) bool { return !lapsed(a) })
	})
	path := grantPath(g.dir, name)
	if len(list) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("grants of workload %s: %w: nothing is changed; remove it by hand", name, err)
		}
		delete(g.all, name)
		return nil
	}
	if err := host.ReplaceFile(path, list); err != nil {
		return fmt.Errorf("grants of workload %s: %w: nothing is changed; make room in %s", name, err, g.dir)
	}
	g.all[name] = list
	return nil
}

// add makes one more.
func (g *grants) add(name string, one *grant, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.all[name]) >= maxGrants {
		return fmt.Errorf("workload %s: has %d grants: nothing was done; wait until some lapse, or roll back", name, maxGrants)
	}
	return g.keep(name, append(slices.Clip(g.all[name]), one), now)
}

// drop forgets all of a workload.
func (g *grants) drop(name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.keep(name, nil, time.Time{})
}

// find returns a grant that covers what is open in each request, nil if there is
// none. open has the ids of policies, one list a request.
func (g *grants) find(name string, requests []abi.Request, open [][]string, now time.Time) *grant {
	requests = slices.Clone(requests)
	for i := range requests { // the kernel tells no time where no policy tests it
		requests[i].Now = max(requests[i].Now, now.UnixMilli())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.all[name] {
		if one.Left > 0 && one.coversAll(requests, open) {
			return one
		}
	}
	return nil
}

func (g *grant) coversAll(requests []abi.Request, open [][]string) bool {
	for i, r := range requests {
		for _, policy := range open[i] {
			if !g.covers(policy, r) {
				return false
			}
		}
	}
	return true
}

// spend takes one time from a grant, for good; false if there is none left or
// that cannot be kept.
func (g *grants) spend(name, id string) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := g.all[name]
	at := slices.IndexFunc(list, func(one *grant) bool { return one.ID == id })
	if at < 0 || list[at].Left <= 0 {
		return false, nil
	}
	less := *list[at]
	less.Left--
	next := slices.Clone(list)
	next[at] = &less
	err := g.keep(name, next, time.Now())
	return err == nil, err
}

// RecallGrants reads the grants of a workload that an earlier agent kept.
func (h *Answerer) RecallGrants(name string) error { return h.grants.recall(name) }

// DropGrants forgets all grants of a workload.
func (h *Answerer) DropGrants(name string) error { return h.grants.drop(name) }

// AddGrant lets answers hold for a number of operations of a workload.
func (h *Answerer) AddGrant(name, id string, times int, answers []compiler.Answer) error {
	return h.grants.add(name, &grant{ID: id, Left: times, Answers: answers}, time.Now())
}
