package table

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// beneath lists, relative to a directory, every path of at most n components
// that rules over the names a and b can tell apart; z is no rule's name.
func beneath(n int) []string {
	list := []string{""}
	if n > 0 {
		for _, name := range []string{"/a", "/b", "/z"} {
			for _, rest := range beneath(n - 1) {
				list = append(list, name+rest)
			}
		}
	}
	return list
}

// smallSet draws rules over short paths of a and b, and the user id.
func smallSet(r *rand.Rand) *rule.Set {
	var cond func(depth int) rule.Cond
	path := func() string { return strings.Repeat("/a", r.IntN(2)) + strings.Repeat("/b", r.IntN(2)) + "/a" }
	cond = func(depth int) rule.Cond {
		switch n := r.IntN(9); {
		case n < 3 || depth == 0:
			return rule.PathBelow{Path: path()}
		case n < 5:
			return rule.PathEq{Path: path()}
		case n < 6:
			return rule.Less{Field: rule.UID, Bound: 1 + int64(r.IntN(2))}
		case n < 7:
			return rule.Neg(cond(depth - 1))
		case n < 8:
			return rule.Conj(cond(depth-1), cond(depth-1))
		}
		return rule.Disj(cond(depth-1), rule.Is{Kind: abi.Dir})
	}
	s := &rule.Set{}
	for i := range 1 + r.IntN(5) {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Effect: rule.Effect(r.IntN(3) / 2), Actions: abi.ActionMask(1 + r.Uint32N(3)), Cond: cond(2)})
	}
	return s
}

// witness returns a request that gains by the move, "" if none does.
func witness(s *rule.Set, k abi.Kind, from, to string, rest []string) string {
	for _, x := range rest {
		for kind := range abi.NumPaths {
			if x == "" && kind != k || k == abi.File && x != "" {
				continue
			}
			for a := range abi.Action(2) {
				for uid := range uint32(3) {
					q := abi.Request{Action: a, Kind: kind, Facts: abi.Facts{UID: uid}}
					old, now := q, q
					old.Path, now.Path = from+x, to+x
					if decide(s, old) != abi.Allow && decide(s, now) == abi.Allow {
						return fmt.Sprintf("%v %v %q uid %d", a, kind, x, uid)
					}
				}
			}
		}
	}
	return ""
}

// Without globs the no-gain rule is exact: a move is refused if and only if
// something that can exist gains by it, with rules beneath both places too.
func TestNoGainIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	rest := beneath(4)
	places := []string{"/a", "/b", "/z", "/a/a", "/a/b", "/b/a", "/a/b/a"}
	var gains, none int
	for range 400 {
		s := smallSet(r)
		tab, err := Build(s, 3)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			k, from, to := abi.Kind(r.IntN(2)), places[r.IntN(len(places))], places[r.IntN(len(places))]
			found := witness(s, k, from, to, rest)
			if got := tab.Gains(k, from, to); got != (found != "") {
				t.Fatalf("moving %v %q to %q gains: %v, but a witness is %q\n%v", k, from, to, got, found, s.Rules)
			} else if got {
				gains++
			} else {
				none++
			}
		}
	}
	t.Logf("%d moves gain, %d do not", gains, none)
	if gains < 100 || none < 100 {
		t.Errorf("one-sided test")
	}
}

// Every user's folder has the same rules beneath, and one more than the other:
//
//	/home
//	├── ann
//	│   ├── .ssh      nobody reads
//	│   └── pub       all read
//	├── bob
//	│   ├── .ssh      nobody reads
//	│   └── pub       all read
//	└── eve
//	    └── .ssh/id   nobody reads
func TestFoldersWithLikeRulesMayMove(t *testing.T) {
	rule1 := func(effect rule.Effect, path string) rule.Rule {
		return rule.Rule{Effect: effect, Actions: 1 << abi.Read, Cond: rule.Or{rule.PathBelow{Path: path}, rule.PathEq{Path: path}}}
	}
	s := &rule.Set{Rules: []rule.Rule{
		rule1(rule.Permit, "/home"),
		rule1(rule.Forbid, "/home/ann/.ssh"), rule1(rule.Forbid, "/home/bob/.ssh"), rule1(rule.Forbid, "/home/eve/.ssh/id"),
	}}
	tab, err := Build(s, 1<<abi.Read)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from, to string
		gains    bool
	}{
		{"/home/ann", "/home/bob", false},
		{"/home/ann/.ssh", "/home/bob/.ssh", false},
		{"/home/eve", "/home/ann", false}, // the same and more is closed there
		{"/home/ann", "/home/eve", true},  // .ssh would open
		{"/home/ann", "/home/zoe", true},
		{"/home/zoe", "/home/ann", false},
	} {
		if got := tab.Gains(abi.Dir, c.from, c.to); got != c.gains {
			t.Errorf("%s → %s gains: %v", c.from, c.to, got)
		}
	}
}

// What is asked about one path says nothing about another if the question is
// about the path.
func TestAsksThatDependOnThePathGain(t *testing.T) {
	s := &rule.Set{Rules: []rule.Rule{{Actions: 1 << abi.Execute, Cond: rule.Unknown{}}}, Residuals: make([]rule.Residual, 1)}
	for _, about := range []bool{false, true} {
		s.Residuals[0].Resource = about
		tab, err := Build(s, abi.EnforcedActions)
		if err != nil {
			t.Fatal(err)
		}
		for k := range abi.NumPaths {
			if got := tab.Gains(k, "/a", "/b"); got != about {
				t.Errorf("%v, question about the path: %v, gains: %v", k, about, got)
			}
		}
	}
}

// lossWitness returns a path beneath a directory that may be made at the old place and
// not at the new one, "" if there is none.
func lossWitness(s *rule.Set, from, to string, rest []string) string {
	for _, x := range rest {
		for kind := range abi.NumPaths {
			for a := range abi.Action(2) {
				for uid := range uint32(3) {
					old := abi.Request{Action: fills[a], Kind: kind, Path: from + x, Facts: abi.Facts{UID: uid}}
					now := old
					now.Path = to + x
					if x != "" && decide(s, old) == abi.Allow && decide(s, now) != abi.Allow {
						return fmt.Sprintf("%v %v %q uid %d", fills[a], kind, x, uid)
					}
				}
			}
		}
	}
	return ""
}

var fills = [2]abi.Action{abi.Create, abi.Write}

// Without globs the no-loss rule is exact, too; other actions than those that fill a
// directory do not count.
func TestNoLossIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	rest := beneath(4)
	places := []string{"/a", "/b", "/z", "/a/a", "/a/b", "/b/a", "/a/b/a"}
	handled := abi.MaskOf(abi.Create, abi.Write, abi.Read)
	var loses, none int
	for range 400 {
		s := smallSet(r)
		for i := range s.Rules {
			bits := s.Rules[i].Actions
			s.Rules[i].Actions = abi.MaskOf(abi.Read)
			for a := range fills {
				if bits>>a&1 == 1 {
					s.Rules[i].Actions |= abi.MaskOf(fills[a])
				}
			}
		}
		tab, err := Build(s, handled)
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			from, to := places[r.IntN(len(places))], places[r.IntN(len(places))]
			found := lossWitness(s, from, to, rest)
			if got := tab.Loses(from, to); got != (found != "") {
				t.Fatalf("moving %q to %q loses: %v, but a witness is %q\n%v", from, to, got, found, s.Rules)
			}
			if found != "" {
				loses++
			} else {
				none++
			}
		}
	}
	t.Logf("%d moves lose, %d do not", loses, none)
	if loses < 100 || none < 100 {
		t.Error("one-sided: the test proves little")
	}
}

// A place is guarded for its own name, not for what is forbidden everywhere.
func TestGuardedPlaces(t *testing.T) {
	all := abi.MaskOf(abi.Create, abi.Write)
	set := &rule.Set{Rules: []rule.Rule{
		{Policy: 0, Effect: rule.Permit, Actions: all, Cond: rule.PathBelow{Path: "/w"}},
		{Policy: 1, Effect: rule.Forbid, Actions: all, Cond: rule.Disj(
			rule.Like{Field: rule.Path, Pattern: "*/.git/hooks/*"}, rule.PathBelow{Path: "/w/.ssh"}, rule.PathEq{Path: "/w/app/settings"})},
	}}
	tab, err := Build(set, all)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/w/x": false, "/w/x/y": false, "/w/x/hooks": false, "/w/.gitx": false, "/w/.git/objects": false, "/w/x\x00": false,
		"/w/.git": true, "/w/x/.git": true, "/w/.git/hooks": true, "/w/.ssh": true, "/w/app": true, "/w": true, "/": true, "/v": true,
		"/w/.git/hooks/a": false, // create there is refused
	} {
		if got := tab.Guards(path, all); got != want {
			t.Errorf("%q is guarded: %v", path, got)
		}
	}
	if tab.Guards("/w/.git", abi.MaskOf(abi.Delete)) {
		t.Error("an action that is not handled guards a place")
	}
	for _, m := range [][2]string{{"/w/x", "/w/.git"}, {"/w/x", "/w/app"}, {"/w/x", "/w/y/.git"}, {"/w/x", "/w/.git/hooks"}} {
		if !tab.Loses(m[0], m[1]) {
			t.Errorf("moving %v loses nothing", m)
		}
	}
	for _, m := range [][2]string{{"/w/x", "/w/y"}, {"/w/x/.git", "/w/y/.git"}, {"/w/.git/objects", "/w/y"}, {"/w/x/y/z", "/w/.git/objects"}, {"/v", "/w/app"}} {
		if tab.Loses(m[0], m[1]) {
			t.Errorf("moving %v loses", m)
		}
	}
}
