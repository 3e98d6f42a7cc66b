package table

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// possible makes a random request one that the kernel can ask: a destination
// belongs to a move, a name of an attribute to setting one.
func possible(r *rand.Rand, handled abi.ActionMask) abi.Request {
	q := randomRequest(r)
	actions := handled.Actions()
	q.Action = actions[r.IntN(len(actions))]
	for _, s := range []*string{&q.Exe, &q.Parent} {
		if *s != "" && !strings.HasPrefix(*s, "/") {
			*s = "/" + *s
		}
	}
	if r.IntN(2) == 0 {
		q.Now = r.Int64N(4*day) - 2*day
	}
	if q.Action != abi.Move {
		q.Dest = ""
	}
	if q.Action != abi.SetXattr {
		q.Xattr = ""
	}
	return q
}

// edited changes a few rules of a set.
func edited(r *rand.Rand, s *rule.Set, handled abi.ActionMask) *rule.Set {
	out := &rule.Set{Rules: slices.Clone(s.Rules)}
	for range 1 + r.IntN(2) {
		switch n := len(out.Rules); {
		case n > 0 && r.IntN(2) == 0:
			out.Rules = slices.Delete(out.Rules, n-1, n)
		default:
			out.Rules = append(out.Rules, randomSet(r, handled).Rules[0])
		}
	}
	return out
}

func covers(d *Difference, q abi.Request, old, now Answer) bool {
	return d.Old == old && d.New == now && d.Actions[q.Kind].Has(q.Action) &&
		slices.ContainsFunc(d.Places, func(p Place) bool { return p.Contains(q.Kind, q.Path) })
}

func validPath(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == p && !strings.ContainsRune(p, 0)
}

func TestCompareFindsAllThatDiffersAndNothingElse(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Move, abi.SetXattr)
	r := rand.New(rand.NewPCG(11, 12))
	var equal, different, reports, whole, some, facts int
	for range 1500 {
		a := randomSet(r, handled)
		b := edited(r, a, handled)
		old, now := mustBuild(t, a, handled), mustBuild(t, b, handled)
		list, err := Compare(old, now)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 {
			equal++
		}
		for i := range list {
			d := &list[i]
			q := d.Witness
			if was, is := answer(a, q), answer(b, q); was != d.Old || is != d.New || !covers(d, q, was, is) {
				t.Fatalf("witness %+v: rules say %v → %v, difference %+v\n%v\n%v", q, was, is, *d, a.Rules, b.Rules)
			}
			if !validPath(q.Path) || q.Dest != "" && (!validPath(q.Dest) || q.Action != abi.Move) || q.Xattr != "" && q.Action != abi.SetXattr {
				t.Fatalf("no request: %+v", q)
			}
			for p := range d.Places {
				if d.Places[p].Some {
					some++
				} else {
					whole++
				}
			}
			facts += len(d.Needs)
		}
		for range 60 {
			q := possible(r, handled)
			was, is := answer(a, q), answer(b, q)
			found := slices.IndexFunc(list, func(d Difference) bool { return covers(&d, q, was, is) })
			if was != is {
				different++
				if was.Verdict == is.Verdict {
					reports++
				}
				if found < 0 {
					t.Fatalf("%+v: %v → %v is not in %+v\n%v\n%v", q, was, is, list, a.Rules, b.Rules)
				}
			}
			for i := range list {
				d := &list[i]
				exact := len(d.Needs) == 0 && slices.ContainsFunc(d.Places, func(p Place) bool { return !p.Some && p.Contains(q.Kind, q.Path) })
				if exact && d.Actions[q.Kind].Has(q.Action) && (was != d.Old || is != d.New) {
					t.Fatalf("%+v: %v → %v, but %+v\n%v\n%v", q, was, is, *d, a.Rules, b.Rules)
				}
			}
		}
	}
	t.Logf("%d equal, %d requests different, %d in reports alone, %d whole places, %d by globs, %d facts", equal, different, reports, whole, some, facts)
	if equal == 0 || different == 0 || reports == 0 || whole == 0 || some == 0 || facts == 0 {
		t.Fatal("the test sees one side only")
	}
}

func mustBuild(t *testing.T, s *rule.Set, handled abi.ActionMask) *Table {
	t.Helper()
	tab, err := Build(s, handled)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// A table and one that is written otherwise have no difference, whether or not
// their bytes are equal.
func TestCompareOfEqualMeaningIsEmpty(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Move)
	r := rand.New(rand.NewPCG(13, 14))
	for range 400 {
		s := randomSet(r, handled)
		twin := &rule.Set{}
		for _, x := range s.Rules {
			x.Cond = rule.Not{X: rule.Or{rule.Not{X: x.Cond}, rule.And{rule.Is{Kind: abi.Dir}, rule.Not{X: rule.Is{Kind: abi.Dir}}}}}
			twin.Rules = append(twin.Rules, x)
		}
		slices.Reverse(twin.Rules)
		if list, err := Compare(mustBuild(t, s, handled), mustBuild(t, twin, handled)); err != nil || len(list) > 0 {
			t.Fatalf("%v: %+v\n%v", err, list, s.Rules)
		}
	}
}

func one(effect rule.Effect, actions abi.ActionMask, c rule.Cond) rule.Rule {
	return rule.Rule{Effect: effect, Actions: actions, Cond: c}
}

func TestCompareWritesPlacesAsAReaderWould(t *testing.T) {
	handled := abi.MaskOf(abi.Read, abi.Write, abi.Move)
	srv, tmp := rule.PathBelow{Path: "/srv"}, rule.PathEq{Path: "/srv/tmp"}
	cases := map[string]struct {
		old, now []rule.Rule
		want     string
	}{
		"a tree": {nil, []rule.Rule{one(rule.Permit, 2, rule.Disj(srv, rule.PathEq{Path: "/srv"}))}, "deny→allow read/read /srv{,/**}"},
		"Cedar's in": {nil, []rule.Rule{one(rule.Permit, 2, rule.Disj(srv, rule.Conj(rule.Is{Kind: abi.Dir}, rule.PathEq{Path: "/srv"}))),
			one(rule.Forbid, 2, rule.Conj(rule.Neg(rule.Is{Kind: abi.Dir}), rule.PathEq{Path: "/srv/x"}))}, "deny→allow read/read /srv{dir,/**} -/srv/x"},
		"beneath, but one": {nil, []rule.Rule{one(rule.Permit, 2, rule.Conj(srv, rule.Neg(tmp)))},
			"deny→allow read/read /srv/** -/srv/tmp"},
		"a glob": {nil, []rule.Rule{one(rule.Permit, 2, rule.Like{Field: rule.Path, Pattern: "*.env"})},
			"deny→allow read/read /** some /.env"},
		"a glob in a named tree alone": {[]rule.Rule{one(rule.Permit, 4, rule.PathBelow{Path: "/a"})},
			[]rule.Rule{one(rule.Permit, 4, rule.PathBelow{Path: "/a"}), one(rule.Permit, 2, rule.Like{Field: rule.Path, Pattern: "/a/*x"})},
			"deny→allow read/read /a/** some /a/x"},
		"a glob that is all": {[]rule.Rule{one(rule.Permit, 2, rule.Like{Field: rule.Path, Pattern: "/s*"})},
			[]rule.Rule{one(rule.Permit, 2, rule.Like{Field: rule.Path, Pattern: "/s*"}), one(rule.Forbid, 2, srv)}, "allow→deny read/read /srv/**"},
		"a fact": {nil, []rule.Rule{one(rule.Permit, 2, rule.Conj(srv, rule.Neg(rule.Less{Field: rule.UID, Bound: 1000})))},
			"deny→allow read/read /srv/** uid"},
		"a destination": {nil, []rule.Rule{one(rule.Permit, abi.MaskOf(abi.Read, abi.Move), rule.Like{Field: rule.DestDir, Pattern: "/out"})},
			"deny→allow move/move /{,/**} dest_path"},
		"no request": {nil, []rule.Rule{one(rule.Permit, handled, rule.Like{Field: rule.Path, Pattern: "*/../*"}),
			one(rule.Permit, 2, rule.Like{Field: rule.Xattr, Pattern: "user.*"})}, ""},
	}
	for name, c := range cases {
		list, err := Compare(mustBuild(t, &rule.Set{Rules: c.old}, handled), mustBuild(t, &rule.Set{Rules: c.now}, handled))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, d := range list {
			line := fmt.Sprintf("%v→%v %v/%v", d.Old.Verdict, d.New.Verdict, d.Actions[0], d.Actions[1])
			for _, p := range d.Places {
				line += " " + show(p)
				for _, x := range p.Except {
					line += " -" + show(x)
				}
				if p.Some {
					line += " some " + d.Witness.Path
				}
			}
			for _, n := range d.Needs {
				line += " " + n.String()
			}
			lines = append(lines, line)
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// show writes a place as a pattern: /a, /a/** for what lies beneath, /a{,/**}
// for both, /a{dir,/**} where the path itself is meant as a directory only.
func show(p Place) string {
	switch {
	case !p.Beneath:
		return p.Path
	case p.Self == itself(true):
		return p.Path + "{,/**}"
	case p.Self[abi.Dir]:
		return p.Path + "{dir,/**}"
	}
	return slashed(p.Path) + "**"
}

// The decoded trie and automata answer as the table does.
func TestDecodedTableAnswersAlike(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(15, 16))
	for range 300 {
		tab := mustBuild(t, randomSet(r, handled), handled)
		root, nodes := tab.Trie(), 0
		var count func(*Node)
		count = func(n *Node) {
			nodes++
			for _, c := range n.Children {
				count(c)
			}
		}
		if count(root); nodes != tab.Nodes {
			t.Fatalf("%d nodes of %d", nodes, tab.Nodes)
		}
		for range 30 {
			q := randomRequest(r)
			class := findDecoded(root, q.Path)
			for {
				d, kids, ok := tab.Branch(class)
				if !ok {
					break
				}
				by := tab.ClassOf(d, &q)
				if a := tab.Automaton(d); a != nil {
					by = a.Class(d.Fact().Text(&q))
				}
				class = kids[by]
			}
			if row := tab.Row(class); row.Allow[q.Kind].Has(q.Action) != (tab.Decide(q) == abi.Allow) {
				t.Fatalf("%+v: decoded %+v, table %v", q, row, tab.Decide(q))
			}
		}
	}
}

func findDecoded(n *Node, path string) int {
	for _, c := range n.Children {
		if c.Path == path || rule.Below(path, c.Path) {
			return findDecoded(c, path)
		}
	}
	if n.Path == path {
		return n.Exactly
	}
	return n.Beneath
}

func TestMomentsLieInTheirSpans(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	const least, most = -1 << 63, 1<<63 - 1
	for range 20000 {
		bound := func() int64 {
			switch r.IntN(4) {
			case 0:
				return least + r.Int64N(3*day)
			case 1:
				return most - r.Int64N(3*day)
			}
			return r.Int64N(6*day) - 3*day
		}
		from, last := bound(), bound()
		if from > last {
			from, last = last, from
		}
		first := r.Int64N(day)
		until := first + 1 + r.Int64N(day-first)
		now, ok := moment(from, last, first, until)
		hour := ((now % day) + day) % day
		if ok && (now < from || now > last || hour < first || hour >= until) {
			t.Fatalf("%d is not in %d…%d, %d…%d", now, from, last, first, until)
		}
		if uint64(last)-uint64(from) < 3*day && !ok { // short enough to look
			for x := from; x <= last && x >= from; x += 60_000 {
				if h := ((x % day) + day) % day; h >= first && h < until {
					t.Fatalf("%d is in %d…%d, %d…%d and was not found", x, from, last, first, until)
				}
				if x > most-60_000 {
					break
				}
			}
		}
	}
}
