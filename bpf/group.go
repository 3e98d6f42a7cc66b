package bpf

import (
	"reflect"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// group says when programs are loaded: the beginning of a program's name tells.
type group string

const (
	groupAlways group = ""        // what confines
	groupStrict group = "strict_" // the hooks that only strict workloads need
	groupHold   group = "hold_"   // the hooks that confirm what the agent was asked about
	groupHeir   group = "heir_"   // what takes marks over from another build's set
	groupWalker group = "walker_" // the decision core for callers in user space
)

func groupOf(program string) group {
	for _, g := range []group{groupStrict, groupHold, groupHeir, groupWalker} {
		if strings.HasPrefix(program, string(g)) {
			return g
		}
	}
	return groupAlways
}

// mapGroups are the groups of maps that no other programs use.
var mapGroups = map[string]group{imagesMap: groupHold, oldTasks: groupHeir, oldMembers: groupHeir, inheritedMap: groupHeir, "walk_input": groupWalker}

// choose leaves in spec what groups need.
func choose(spec *ebpf.CollectionSpec, groups ...group) {
	for name := range spec.Programs {
		if !slices.Contains(groups, groupOf(name)) {
			delete(spec.Programs, name)
		}
	}
	for name := range spec.Maps {
		if of := mapGroups[name]; of != groupAlways && !slices.Contains(groups, of) {
			delete(spec.Maps, name)
		}
	}
}

// mapNames lists the maps of the programs that confine. It asks what bpf2go wrote,
// since parsing the object takes much longer.
func mapNames() []string {
	var names []string
	all := reflect.TypeFor[kernMapSpecs]()
	for i := range all.NumField() {
		if name := all.Field(i).Tag.Get("ebpf"); mapGroups[name] == groupAlways {
			names = append(names, name)
		}
	}
	return names
}
