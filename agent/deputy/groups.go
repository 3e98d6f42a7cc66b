package deputy

import (
	"path"
	"slices"

	"github.com/stockade-dev/stockade/cgroup"
)

// groups are the cgroups that a set knows.
type groups struct {
	of    map[uint64]uint32 // the workload of each, by id
	paths map[uint64]string // of those that are there
}

// groups looks for them in the whole tree; a run's is known without.
func (d *Deputy) groups() (g groups, err error) {
	if d.run != "" {
		return g, nil
	}
	if g.of, err = d.set.Groups(); err == nil {
		g.paths, err = cgroup.Paths(func(id uint64) bool { return g.of[id] != 0 })
	}
	return g, err
}

// outermost lists the cgroups of a workload beneath none of its own, but for those beneath
// which another workload has one: what is in these is found by its mark.
func outermost(id uint32, of map[uint64]uint32, paths map[uint64]string) (list []string) {
	shared, own := map[string]bool{}, map[string]bool{}
	for group, rel := range paths {
		if of[group] == id {
			continue
		}
		for outer := range above(rel) {
			shared[outer] = true
		}
	}
	for group, rel := range paths {
		if of[group] == id && !shared[rel] {
			own[rel] = true
		}
	}
	for rel := range own {
		inner := false
		for outer := range above(rel) {
			inner = inner || own[outer]
		}
		if !inner {
			list = append(list, rel)
		}
	}
	slices.Sort(list)
	return list
}

// above yields the paths that a relative path is beneath.
func above(rel string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for rel = path.Dir(rel); rel != "." && yield(rel); {
			rel = path.Dir(rel)
		}
	}
}
