package table

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

var names = []string{"a", "b", "ab", "etc", "x y", "new\nline", "*", strings.Repeat("n", 16), strings.Repeat("n", 17),
	strings.Repeat("n", 24), strings.Repeat("m", 255), "\xff\xfe"}

func randomPath(r *rand.Rand) string {
	n := r.IntN(5)
	if n == 0 {
		return "/"
	}
	var b strings.Builder
	for range n {
		b.WriteString("/" + names[r.IntN(len(names))])
	}
	return b.String()
}

var patterns = []string{"*a", "*b*", "/a*", "/*/etc*", "*", "", "*\\**", "/a/*", "*/a/*/b", "/etc", "a", "ab", "*nnnnnnnnnnnnnnnnnn*", "/a", "/b*b", "user.*"}

var texts = []string{"", "/", "/a", "/a/b", "/etc/a", "a", "ab", "/b/b", "user.a", "/*/etc/x y", "user.b*"}

func randomFact(r *rand.Rand) rule.Cond {
	switch r.IntN(5) {
	case 0:
		return rule.Less{Field: rule.Numbers()[r.IntN(len(rule.Numbers()))], Bound: int64(r.IntN(6)) - 1}
	case 1:
		if r.IntN(3) == 0 {
			return rule.Unknown{}
		}
	case 2, 3:
		return rule.Like{Field: rule.Path, Pattern: patterns[r.IntN(len(patterns))]}
	}
	return rule.Like{Field: rule.Texts()[r.IntN(len(rule.Texts()))], Pattern: patterns[r.IntN(len(patterns))]}
}

func randomCond(r *rand.Rand, depth int) rule.Cond {
	switch n := r.IntN(12); {
	case n < 3 || depth == 0:
		return rule.PathBelow{Path: randomPath(r)}
	case n < 5:
		return rule.PathEq{Path: randomPath(r)}
	case n < 6:
		return rule.Is{Kind: abi.Dir}
	case n < 8:
		return randomFact(r)
	case n < 9:
		return rule.Neg(randomCond(r, depth-1))
	case n < 10:
		return rule.Conj(randomCond(r, depth-1), randomCond(r, depth-1))
	default:
		return rule.Disj(randomCond(r, depth-1), randomCond(r, depth-1))
	}
}

// randomSet draws rules; half of the sets are about paths alone.
func randomSet(r *rand.Rand, handled abi.ActionMask) *rule.Set {
	s := &rule.Set{}
	for i := range 1 + r.IntN(8) {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Effect: rule.Effect(r.IntN(4) / 3),
			Actions: abi.ActionMask(r.Uint32()) & handled, Cond: randomCond(r, 3), Audited: r.IntN(4) == 0, Trips: r.IntN(3) == 0})
	}
	return s
}

func randomRequest(r *rand.Rand) abi.Request {
	text := func() string { return texts[r.IntN(len(texts))] }
	return abi.Request{Action: abi.Action(r.IntN(3)), Kind: abi.Kind(r.IntN(2)), Path: randomPath(r),
		Facts: abi.Facts{UID: uint32(r.IntN(6)), GID: uint32(r.IntN(6)), Now: int64(r.IntN(12) - 6), Exe: text(), Parent: text(),
			Xattr: text(), Dest: randomDest(r)}}
}

func randomDest(r *rand.Rand) string {
	if r.IntN(4) == 0 {
		return ""
	}
	return randomPath(r)
}

// decide is the meaning of a rule set: forbid over permit, default deny; what
// hangs on the unknown is asked; what is audited does not count.
func decide(s *rule.Set, q abi.Request) abi.Verdict { return decideBy(s, q, false) }

// answer is decide, with whether policies in audit would not allow what is, and whether
// a tripwire denies what is not.
func answer(s *rule.Set, q abi.Request) Answer {
	v := decide(s, q)
	trips := slices.ContainsFunc(s.Rules, func(r rule.Rule) bool {
		return r.Trips && r.Effect == rule.Forbid && !r.Audited && r.Actions.Has(q.Action) && rule.Eval(r.Cond, &q) == rule.True
	})
	return Answer{v, v == abi.Allow && decideBy(s, q, true) != abi.Allow, trips}
}

func decideBy(s *rule.Set, q abi.Request, audits bool) abi.Verdict {
	var seen [2][3]bool
	for _, r := range s.Rules {
		if r.Actions>>q.Action&1 == 1 && (audits || !r.Audited) {
			seen[r.Effect][rule.Eval(r.Cond, &q)] = true
		}
	}
	permit, forbid := seen[rule.Permit], seen[rule.Forbid]
	switch {
	case forbid[rule.True] || !permit[rule.True] && !permit[rule.Unclear]:
		return abi.Deny
	case forbid[rule.Unclear] || !permit[rule.True]:
		return abi.Ask
	}
	return abi.Allow
}
