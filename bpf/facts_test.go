package bpf

import (
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

var factSets = flag.Int("factsets", 3000, "random rule sets over globs and facts on which the Go walker and the BPF walker must agree")

// needAny is NEED_ANY in kern/decide.h: one of the actions suffices.
const needAny = abi.ActionMask(1) << 63

// handledByFacts are few actions, so that random rules often meet.
var handledByFacts = abi.MaskOf(abi.Open, abi.Read, abi.Write, abi.Create)

// Names of every length that the walk treats in its own way.
var factNames = []string{"a", "b", "ab", "etc", "x.pem", "1234567", "12345678", "123456789", strings.Repeat("n", 15),
	strings.Repeat("n", 16), strings.Repeat("n", 17), strings.Repeat("n", 24), strings.Repeat("m", 254) + "a", "\xff\xfe", "*"}

var factPatterns = []string{"*a", "*b*", "/a*", "/*/etc*", "*", "", "*\\**", "/a/*", "*/a/*/b", "/etc", "a", "*nnnnnnnnnnnnnnnnn*",
	"*.pem", "*9", "*89/a*", "*m", "*ma/b", "user.*", "/*n/", "*\xff*"}

var factTexts = []string{"", "/", "/a", "/a/b", "/etc/a", "a", "ab", "user.a", strings.Repeat("x", 255), strings.Repeat("n", 17), "user.b*"}

func factPath(r *rand.Rand) string {
	if r.IntN(8) == 0 {
		return "/"
	}
	var b strings.Builder
	for range 1 + r.IntN(5) {
		b.WriteString("/" + factNames[r.IntN(len(factNames))])
	}
	return b.String()
}

func factCond(r *rand.Rand, depth int) rule.Cond {
	pattern := func() string { return factPatterns[r.IntN(len(factPatterns))] }
	if depth > 0 {
		switch r.IntN(4) {
		case 0:
			return rule.Neg(factCond(r, depth-1))
		case 1:
			return rule.Conj(factCond(r, depth-1), factCond(r, depth-1))
		case 2:
			return rule.Disj(factCond(r, depth-1), factCond(r, depth-1))
		}
	}
	switch r.IntN(9) {
	case 0:
		return rule.PathBelow{Path: factPath(r)}
	case 1:
		return rule.PathEq{Path: factPath(r)}
	case 2:
		return rule.Is{Kind: abi.Dir}
	case 3, 4:
		return rule.Like{Field: rule.Path, Pattern: pattern()}
	case 5, 6:
		return rule.Like{Field: rule.Texts()[r.IntN(len(rule.Texts()))], Pattern: pattern()}
	case 7:
		if r.IntN(4) == 0 {
			return rule.Unknown{}
		}
	}
	field := rule.Numbers()[r.IntN(len(rule.Numbers()))]
	return rule.Less{Field: field, Bound: factNumber(r, field)}
}

// factNumber draws from few values, so that bounds are often met exactly.
func factNumber(r *rand.Rand, field rule.Field) int64 {
	switch {
	case field == rule.DayTime:
		return r.Int64N(4) * rule.Day / 3
	case !field.Fact().Clock:
		return int64([]uint32{0, 1, 2, 1000, 65534, 1<<32 - 1}[r.IntN(6)])
	}
	return (r.Int64N(9)-4)*rule.Day/3 + 20_000*rule.Day*r.Int64N(2)
}

func factSet(r *rand.Rand) *rule.Set {
	s := &rule.Set{}
	for i := range 1 + r.IntN(7) {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Effect: rule.Effect(r.IntN(4) / 3),
			Actions: abi.ActionMask(r.Uint32()) & handledByFacts, Cond: factCond(r, 3), Audited: r.IntN(4) == 0, Trips: r.IntN(3) == 0})
	}
	return s
}

func factRequest(r *rand.Rand) abi.Request {
	text := func() string { return factTexts[r.IntN(len(factTexts))] }
	path := func() string {
		if r.IntN(3) == 0 {
			return ""
		}
		return factPath(r)
	}
	q := abi.Request{Kind: abi.Kind(r.IntN(2)), Path: factPath(r), Facts: abi.Facts{
		UID: uint32(factNumber(r, rule.UID)), GID: uint32(factNumber(r, rule.GID)), Now: factNumber(r, rule.Now) + r.Int64N(3) - 1,
		Exe: path(), Parent: path(), Dest: path(), Xattr: text()}}
	actions := handledByFacts.Actions()
	q.Action = actions[r.IntN(len(actions))]
	return q
}

// TestWalkersAgreeOnFacts compares the kernel's walker with the one in Go on
// random rules over globs, executables, users, times, destinations and
// attributes: verdicts on one action, on several at once, and the no-gain rule.
func TestWalkersAgreeOnFacts(t *testing.T) {
	w := newWalker(t, 1<<18)
	sets := *factSets
	if testing.Short() {
		sets = min(sets, 300)
	}
	var verdicts [3]int
	var reports, anyReports int
	var gains, stays, refused int
	dims := map[abi.Dim]int{}
	for seed := range sets {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		set := factSet(r)
		tab, err := table.Build(set, handledByFacts)
		if err != nil {
			refused++
			continue
		}
		if err := w.Place(tab.Words()); err != nil {
			t.Fatal(err)
		}
		for d := range abi.NumDims {
			if tab.Words()[abi.HdrDims+int(d)] != 0 {
				dims[d]++
			}
		}
		for range 60 {
			q := factRequest(r)
			verdict, reported, ofAny := sameVerdict(t, w, tab, set, q)
			verdicts[verdict]++
			if reported {
				reports++
			}
			if ofAny {
				anyReports++
			}
			to := factPath(r)
			if r.IntN(3) == 0 { // beside it
				to = q.Path[:strings.LastIndexByte(q.Path, '/')+1] + factNames[r.IntN(len(factNames))]
			}
			q.Kind %= abi.NumPaths // no other moves
			m, err := SameMove(w, tab, q, to, abi.MaskOf(q.Action))
			if err != nil {
				t.Fatalf("seed %d: %v\n%v", seed, err, set.Rules)
			}
			if m.Gains {
				gains++
			} else {
				stays++
			}
		}
	}
	t.Logf("%d rule sets, %d refused; verdicts (deny, allow, ask) %v, %d reported, %d where one action suffices; %d moves gain, %d do not; tables by dimension %v",
		sets, refused, verdicts, reports, anyReports, gains, stays, dims)
	if slices.Min(verdicts[:]) < 100 || reports < 100 || anyReports < 10 || gains < 100 || stays < 100 || refused*20 > sets {
		t.Error("some outcome is so rare that the comparison proves little")
	}
	for d := range abi.NumDims {
		if d != abi.DimGlob1 && d != abi.DimGlob2 && d != abi.DimGlob3 && dims[d] < sets/100 {
			t.Errorf("dimension %v is in %d tables: the comparison proves little", d, dims[d])
		}
	}
}

// sameVerdict compares the walkers on one request and on random sets of
// actions. It returns the verdict, whether it is reported, and whether that is
// so of a set of which one action suffices.
func sameVerdict(t *testing.T, w *Walker, tab *table.Table, set *rule.Set, q abi.Request) (v abi.Verdict, reported, ofAny bool) {
	t.Helper()
	want := tab.Decide(q)
	one, err := w.Lacks(abi.MaskOf(q.Action), q)
	if err != nil {
		t.Fatal(err)
	}
	if answer := (table.Answer{Verdict: one.Verdict(), Reported: one.Reported != 0, Tripped: one.Trips != 0}); answer != tab.Answer(q) {
		t.Fatalf("%+v: Go walker %v, BPF walker %v\n%v", q, tab.Answer(q), answer, set.Rules)
	}
	var missing, denied, reports, trips abi.ActionMask
	for _, a := range handledByFacts.Actions() {
		asked := q
		asked.Action = a
		switch tab.Decide(asked) {
		case abi.Deny:
			missing, denied = missing|1<<a, denied|1<<a
		case abi.Ask:
			missing |= 1 << a
		}
		if tab.Reports(asked) {
			reports |= 1 << a
		}
		if tab.Trips(asked) {
			trips |= 1 << a
		}
	}
	need := handledByFacts &^ (1 << q.Action)
	all := Lack{Missing: missing & need, Denied: denied & need, Trips: trips & need}
	if all.Missing == 0 {
		all.Reported = reports & need
	}
	if got, err := w.Lacks(need, q); err != nil || got != all {
		t.Fatalf("%+v: of %v lacks %v (%v), want %v\n%v", q, need, got, err, all, set.Rules)
	}
	some := Lack{Missing: need, Denied: need, Trips: trips & need}
	if missing&need != need { // one is allowed
		some = Lack{}
		if need&^missing&^reports == 0 { // and none without a report
			some.Reported = need
		}
	} else if denied&need != need { // one is asked
		some.Denied, some.Trips = 0, 0
	}
	if got, err := w.Lacks(need|needAny, q); err != nil || got != some {
		t.Fatalf("%+v: of any of %v lacks %v (%v), want %v\n%v", q, need, got, err, some, set.Rules)
	}
	return want, one.Reported != 0, some.Reported != 0
}
