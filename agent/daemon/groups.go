package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/cgroup"
)

// rescan is how often the whole tree is looked at, whatever inotify told.
const rescan = 10 * time.Second

// pattern matches cgroups by their path relative to the mount of cgroup2.
type pattern struct {
	workload   string
	components []string // of a glob
	unit       string   // or the name of a systemd unit
}

// patterns are those of a configuration, in its order.
type patterns []pattern

func patternsOf(workloads []config.Workload) patterns {
	var list patterns
	for _, w := range workloads {
		for _, glob := range w.Cgroups {
			list = append(list, pattern{workload: w.Name, components: strings.Split(glob, "/")})
		}
		for _, unit := range w.Units {
			list = append(list, pattern{workload: w.Name, unit: unit})
		}
	}
	return list
}

// match returns the workload of the first pattern that matches a path.
func (p patterns) match(rel string) (workload string, ok bool) {
	for _, one := range p {
		if one.matches(rel) {
			return one.workload, true
		}
	}
	return "", false
}

// above reports whether something below a path may match.
func (p patterns) above(rel string) bool {
	for _, one := range p {
		if one.above(rel) {
			return true
		}
	}
	return false
}

func (p *pattern) matches(rel string) bool {
	if p.unit != "" {
		return path.Base(rel) == p.unit && allSlices(path.Dir(rel))
	}
	return strings.Count(rel, "/")+1 == len(p.components) && p.begins(rel)
}

func (p *pattern) above(rel string) bool {
	if p.unit != "" {
		return allSlices(rel)
	}
	return rel == "" || strings.Count(rel, "/")+1 < len(p.components) && p.begins(rel)
}

// begins matches each component of a path, which has at most as many.
func (p *pattern) begins(rel string) bool {
	for i, name := range strings.Split(rel, "/") {
		if ok, err := path.Match(p.components[i], name); !ok || err != nil {
			return false
		}
	}
	return true
}

// allSlices reports whether every component names a slice: systemd keeps its units
// there. What lies below a service or a scope is its own, under names that it
// chooses.
func allSlices(rel string) bool {
	if rel == "" || rel == "." {
		return true
	}
	for name := range strings.SplitSeq(rel, "/") {
		if !strings.HasSuffix(name, ".slice") {
			return false
		}
	}
	return true
}

// groups confines the cgroups that match, now and as they appear.
type groups struct {
	tree    *cgroup.Tree
	confine func(rel, workload string) error // one group
	note    func(text string)
	read    func() (string, error) // the agent's own group

	mu       sync.Mutex
	own      string // as it was last known
	known    bool
	patterns patterns
	refused  map[string]bool     // texts that were told
	found    map[string][]string // outermost groups, by workload
}

func newGroups(confine func(rel, workload string) error, note func(string)) (*groups, error) {
	tree, err := cgroup.NewTree()
	if err != nil {
		return nil, err
	}
	g := &groups{tree: tree, confine: confine, note: note, read: cgroup.Own, refused: map[string]bool{}, found: map[string][]string{}}
	_ = g.learn() // before any workload runs; who needs it tells what fails
	return g, nil
}

// learn reads the agent's own group again. Where that fails, what was known counts: somebody
// may have covered /proc, and no workload is left out for that.
func (g *groups) learn() error {
	own, err := g.read()
	if err == nil {
		g.own, g.known = own, true
	}
	if g.known {
		return nil
	}
	return err
}

// set changes the patterns and looks at the whole tree.
func (g *groups) set(p patterns) error {
	g.mu.Lock()
	g.patterns = p
	clear(g.refused)
	g.mu.Unlock()
	return g.all()
}

// all looks at the whole tree.
func (g *groups) all() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := fault.At("agent.groups"); err != nil {
		return fmt.Errorf("cgroups: %w: new ones are not confined before the next look at all", err)
	}
	before := g.found
	g.found = map[string][]string{}
	err := g.scan("")
	if err != nil { // what was not looked at is not gone
		for name, list := range before {
			g.found[name] = append(g.found[name], list...)
		}
	}
	return err
}

// scan confines what matches at or below a path. It watches a group before it
// lists it, so that no child is missed between the two.
func (g *groups) scan(rel string) error {
	if name, ok := g.patterns.match(rel); ok && rel != "" {
		if err := g.learn(); err != nil {
			g.refuse(fmt.Sprintf("cgroup %s: matches workload %s, and may hold the agent itself: %v: it is NOT confined yet, and looked at again every %v; mount /proc", rel, name, err, rescan))
			return nil
		}
		if cgroup.Within(g.own, rel) {
			g.refuse(fmt.Sprintf("cgroup %s: matches workload %s and holds the agent itself: it is not confined; change the pattern, or start the agent elsewhere", rel, name))
			return nil
		}
		g.found[name] = append(g.found[name], rel)
		return g.subtree(rel, name)
	}
	if !g.patterns.above(rel) {
		return nil
	}
	if err := g.tree.Watch(rel); err != nil {
		g.refuse(err.Error())
	}
	children, err := cgroup.Children(rel)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := g.scan(child); err != nil {
			return err
		}
	}
	return nil
}

// subtree confines a group and all below it, from the top: a child that is made
// after its parent was confined belongs to the workload by itself.
func (g *groups) subtree(rel, workload string) error {
	if err := g.confine(rel, workload); err != nil {
		return err
	}
	children, err := cgroup.Children(rel)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := g.subtree(child, workload); err != nil {
			return err
		}
	}
	return nil
}

// inside reports whether a group above matches.
func (g *groups) inside(rel string) bool {
	for up := path.Dir(rel); up != "."; up = path.Dir(up) {
		if _, ok := g.patterns.match(up); ok {
			return true
		}
	}
	return false
}

// refuse tells of something once.
func (g *groups) refuse(text string) {
	if !g.refused[text] {
		g.refused[text] = true
		g.note(text)
	}
}

// appeared looks at groups that are new.
func (g *groups) appeared(paths []string) error {
	_ = fault.At("agent.appeared")
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, rel := range paths {
		if g.inside(rel) {
			continue // it belongs to the workload by itself
		}
		if err := g.scan(rel); err != nil {
			return err
		}
	}
	return nil
}

// of returns the outermost groups of each workload.
func (g *groups) of() map[string][]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := map[string][]string{}
	for name, found := range g.found {
		for _, rel := range found {
			if _, err := cgroup.ID(rel); !errors.Is(err, fs.ErrNotExist) && !slices.Contains(list[name], rel) {
				list[name] = append(list[name], rel)
			}
		}
	}
	return list
}

// follow confines what appears until the tree is closed.
func (g *groups) follow() {
	ticker := time.NewTicker(rescan)
	defer ticker.Stop()
	type news struct {
		paths []string
		all   bool
	}
	events := make(chan news)
	go func() {
		defer close(events)
		for {
			paths, all, err := g.tree.Next()
			if err != nil {
				return
			}
			events <- news{paths, all}
		}
	}()
	for {
		var err error
		select {
		case n, ok := <-events:
			switch {
			case !ok:
				return
			case n.all:
				err = g.all()
			default:
				err = g.appeared(n.paths)
			}
		case <-ticker.C:
			err = g.all()
		}
		if err != nil {
			g.note(err.Error())
		}
	}
}
