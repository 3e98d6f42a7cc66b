package compiler

import (
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// ruleIndex finds the rules that may hold for a path without a look at all.
type ruleIndex struct {
	// at holds the rules that can hold only at or below a path, or only at or
	// below one of a few.
	at map[string][]int
	// anywhere holds the others.
	anywhere []int
}

func newRuleIndex(rules []rule.Rule) *ruleIndex {
	x := &ruleIndex{at: make(map[string][]int)}
	for i, r := range rules {
		places, ok := placesOf(r.Cond)
		if !ok {
			x.anywhere = append(x.anywhere, i)
			continue
		}
		slices.Sort(places)
		for _, p := range slices.Compact(places) {
			x.at[p] = append(x.at[p], i)
		}
	}
	return x
}

// maxPlaces bounds the paths under which one rule is filed.
const maxPlaces = 64

// placesOf returns paths such that a condition holds only at or below one of
// them; ok is false if it does not tell.
func placesOf(cond rule.Cond) (places []string, ok bool) {
	switch c := cond.(type) {
	case rule.Const:
		return nil, !bool(c)
	case rule.PathEq:
		return []string{c.Path}, true
	case rule.PathBelow:
		return []string{c.Path}, true
	case rule.And:
		for _, x := range c {
			if list, found := placesOf(x); found && (!ok || len(list) < len(places)) {
				places, ok = list, true
			}
		}
		return places, ok
	case rule.Or:
		for _, x := range c {
			list, found := placesOf(x)
			if !found || len(places)+len(list) > maxPlaces {
				return nil, false
			}
			places = append(places, list...)
		}
		return places, true
	}
	return nil, false
}

// candidates lists, in order, the rules that may hold for a path.
func (x *ruleIndex) candidates(path string) []int {
	list := slices.Clone(x.anywhere)
	list = append(list, x.at["/"]...)
	for i := 1; i < len(path); i++ {
		if n := strings.IndexByte(path[i:], '/'); n >= 0 {
			i += n
		} else {
			i = len(path)
		}
		list = append(list, x.at[path[:i]]...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}
