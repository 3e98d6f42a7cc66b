package bpf_test

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
)

var (
	comparisons = flag.Int64("comparisons", 2_000_000, "requests on which cedar-go, the rules, the Go walker and the BPF walker must agree")
	firstSeed   = flag.Uint64("seed", 1, "first seed of the generator")
)

const (
	// requestsPerSet are drawn near what the policies name, witnessesPerSet
	// from what the table distinguishes.
	requestsPerSet, witnessesPerSet = 1600, 800
	// draws is how many times what only the agent knows is drawn for a request
	// that depends on it.
	draws = 8
	// sampled is how many requests there are to one that the reader of the
	// format's document answers too, and to one that asks for several actions.
	sampled = 4
	// arenaWords is the largest table that is compared.
	arenaWords = 1 << 20
)

// tally counts what the comparisons saw, so that the test can tell whether
// they prove anything.
type tally struct {
	compared, allowed, denied, asked, settled, tripped, reported, perhaps, gains, kept, loses, guarded, masks, refused, sets int64
	// seen counts what the compiler, the tables and the walks came to.
	seen gen.Visits
}

func (a *tally) add(b *tally) {
	a.compared += b.compared
	a.allowed += b.allowed
	a.denied += b.denied
	a.asked += b.asked
	a.settled += b.settled
	a.tripped += b.tripped
	a.reported += b.reported
	a.perhaps += b.perhaps
	a.gains += b.gains
	a.kept += b.kept
	a.loses += b.loses
	a.guarded += b.guarded
	a.masks += b.masks
	a.refused += b.refused
	a.sets += b.sets
	for name, n := range b.seen {
		a.seen[name] += n
	}
}

// TestKernelVerdictIsCedarsVerdict is the promise of this project: for random
// policy sets and requests, cedar-go, the rules, the Go walker and the BPF
// walker (the code of the hooks, run in this kernel) agree.
func TestKernelVerdictIsCedarsVerdict(t *testing.T) {
	wanted := *comparisons
	if testing.Short() {
		wanted = min(wanted, 50_000)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // cedar-go allocates much and keeps nothing
	began := time.Now()
	total := tally{seen: gen.Visits{}}
	shards := runtime.GOMAXPROCS(0)
	var done atomic.Int64
	var lock sync.Mutex
	t.Run("shard", func(t *testing.T) {
		for shard := range shards {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				walker, err := bpf.NewWalker(arenaWords)
				if err != nil {
					t.Fatalf("the BPF walker is needed here: %v", err)
				}
				mine := tally{seen: gen.Visits{}}
				for seed := *firstSeed + uint64(shard); done.Load() < wanted && !t.Failed(); seed += uint64(shards) {
					before := mine.compared
					compareSet(t, walker, seed, &mine)
					done.Add(mine.compared - before)
				}
				lock.Lock()
				defer lock.Unlock()
				total.add(&mine)
			})
		}
	})
	t.Logf("%d comparisons from seed %d on, %.0f a second: %d allowed, %d denied, %d asked (both answers drawn for %d); %d trip a wire; %d reported and %d perhaps by policies in audit; %d moves that gain, %d that do not, %d that lose, %d of guarded places; %d questions about several actions; %d policy sets of %d refused",
		total.compared, *firstSeed, float64(total.compared)/time.Since(began).Seconds(), total.allowed, total.denied, total.asked, total.settled, total.tripped, total.reported, total.perhaps,
		total.gains, total.kept, total.loses, total.guarded, total.masks, total.refused, total.sets)
	checkCoverage(t, &total)
}

// checkCoverage fails if the comparisons prove little: if something that the
// policies, the rules or the tables can hold was never exercised.
func checkCoverage(t *testing.T, total *tally) {
	if t.Failed() {
		return
	}
	for name, n := range map[string]int64{"allowed": total.allowed, "denied": total.denied} {
		if n*20 < total.compared {
			t.Errorf("%d of %d requests are %s: the comparison proves little", n, total.compared, name)
		}
	}
	if total.refused*20 > total.sets {
		t.Errorf("%d of %d policy sets are refused: the generator and the compiler have drifted apart", total.refused, total.sets)
	}
	// An ask that relates facts of the request with each other settles one way.
	if total.gains == 0 || total.kept == 0 || total.loses == 0 || total.guarded == 0 || total.guarded == total.gains+total.kept || total.settled == 0 {
		t.Errorf("moves, asks or their draws are one-sided: the comparison proves little")
	}
	full := total.compared >= 1_000_000 // fewer cannot see everything
	if full && total.tripped*200 < total.compared {
		t.Errorf("%d of %d requests trip a wire: the comparison proves little about them", total.tripped, total.compared)
	}
	if full && (total.reported*200 < total.compared || total.perhaps == 0) {
		t.Errorf("%d of %d requests are reported, %d perhaps: the comparison proves little about policies in audit", total.reported, total.compared, total.perhaps)
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(total.seen)) {
		fmt.Fprintf(&b, "\n%12d  %s", total.seen[name], name)
	}
	for _, part := range []string{"states", "transitions", "decision nodes", "children of decision nodes"} {
		share := 100 * float64(total.seen["visited: "+part]) / float64(max(total.seen["of: "+part], 1))
		fmt.Fprintf(&b, "\n%11.1f%%  %s visited", share, part)
		if least := leastVisited[part]; share < least && full {
			t.Errorf("%.1f%% of all %s were visited, less than %.0f%%", share, part, least)
		}
	}
	t.Logf("exercised:%s", b.String())
	for _, name := range mustBeSeen() {
		if total.seen[name] == 0 && full {
			t.Errorf("never exercised: %s", name)
		}
	}
}

// leastVisited is the least share, in percent, of all tables' parts.
var leastVisited = map[string]float64{"states": 70, "transitions": 15, "decision nodes": 70, "children of decision nodes": 40}

// mustBeSeen lists what a run has to exercise.
func mustBeSeen() []string {
	list := []string{"edge in bucket one", "edge in bucket two", "edge with a long name", "no edge", "class below", "class of the path itself",
		"decision node: early stop", "decision node: 2 children", "decision node: 3-4 children", "decision node: 5-8 children", "decision node: 9 or more children",
		"table whose edges were evicted", "table with several subtree rows", "table that reports", "row: allowed and reported", "row: denied and tripped",
		"several actions: reported", "several actions: tripped", "audited: permit", "audited: forbid"}
	for d := range abi.NumDims {
		if d == abi.DimGlob0 || int(d) >= abi.NumGlobs { // few patterns need more automata than one
			list = append(list, fmt.Sprintf("decision node: dimension %02d %s", d, d))
		}
	}
	for _, f := range abi.EachFact() {
		list = append(list, "condition: "+f.Name)
	}
	for _, kind := range []string{"dir", "path ==", "path <", "unknown", "not", "and", "or"} {
		list = append(list, "condition: "+kind)
	}
	for _, name := range gen.Productions() {
		list = append(list, "production: "+name)
	}
	return list
}

// arena is one policy set, ready for comparison.
type arena struct {
	walker *bpf.Walker
	plan   *compiler.Plan
	oracle *compiler.Oracle
	reader *gen.Reader
	random *rand.Rand
	total  *tally
}

func input(c *gen.Case) compiler.Input {
	return compiler.Input{Sources: []compiler.Source{{Name: "gen.cedar", Text: c.Policies}},
		Entities: c.Entities, EntitiesName: "entities.json", Principal: c.Principal, Handled: abi.EnforcedActions,
		Workload: &compiler.Workload{Name: "demo", Image: "registry/demo", Labels: []string{"ci"}}}
}

// newArena compiles and places a case; it returns nil for one that is refused.
func newArena(walker *bpf.Walker, c *gen.Case, total *tally) (*arena, error) {
	plan, err := compiler.Compile(input(c))
	if err != nil {
		return nil, nil
	}
	oracle, err := compiler.NewOracle(input(c))
	if err != nil {
		return nil, err
	}
	if err := walker.Place(plan.Table.Words()); err != nil {
		return nil, err
	}
	return &arena{walker, plan, oracle, gen.NewReader(plan.Table.Words()), rand.New(rand.NewPCG(1, uint64(len(c.Policies)))), total}, nil
}

// compareSet compares one generated policy set on all its requests.
func compareSet(t *testing.T, walker *bpf.Walker, seed uint64, total *tally) {
	c := gen.New(seed, gen.Options{Requests: requestsPerSet, Audits: true})
	total.sets++
	a, err := newArena(walker, c, total)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if a == nil { // a scope that can never match, for example
		total.refused++
		return
	}
	c.Requests = append(c.Requests, a.reader.Witnesses(witnessesPerSet, c.Requests, a.random)...)
	if err := a.compare(c.Requests); err != nil {
		small := gen.Shrink(c, func(c *gen.Case) bool { return mismatch(walker, c) != nil })
		t.Fatalf("seed %d: %v\nshrunk:\n%v\n%s", seed, err, mismatch(walker, small), small)
	}
	for name, n := range c.Productions {
		total.seen["production: "+name] += n
	}
	for _, r := range a.plan.Rules.Rules {
		countCondition(r.Cond, total.seen)
		if r.Audited {
			total.seen["audited: "+r.Effect.String()]++
		}
	}
	for _, r := range a.plan.Rules.Residuals {
		total.seen["residual: "+r.Reason]++
	}
	a.reader.Visits(total.seen)
}

// mismatch returns the first mismatch of a case.
func mismatch(walker *bpf.Walker, c *gen.Case) error {
	a, err := newArena(walker, c, &tally{seen: gen.Visits{}})
	if err != nil || a == nil {
		return err
	}
	return a.compare(c.Requests)
}

func (a *arena) compare(requests []abi.Request) error {
	previous := "/"
	for i, r := range requests {
		v, err := a.verdict(r)
		if err != nil {
			return err
		}
		if i%sampled == 0 || i >= requestsPerSet {
			if err := a.sample(r, v); err != nil {
				return err
			}
		}
		if err := a.move(r, previous); err != nil {
			return err
		}
		previous = r.Path
	}
	return nil
}

// verdict compares the answers to one request. Where the answer depends on what
// only the agent knows, that is drawn several times: a verdict other than ask
// must be right for every draw.
func (a *arena) verdict(r abi.Request) (abi.Verdict, error) {
	goWalk, reported := a.plan.Decide(r), a.plan.Table.Reports(r)
	kernel, err := a.walker.Lacks(abi.MaskOf(r.Action), r)
	if err != nil {
		return abi.Deny, err
	}
	inKernel, kernelReports := kernel.Verdict(), kernel.Reported != 0
	if tripped := a.plan.Table.Trips(r); tripped != (kernel.Trips != 0) || tripped && goWalk != abi.Deny {
		return goWalk, fmt.Errorf("%s: %s, tripped by the Go walker: %v, by the BPF walker: %v", gen.Show(r), goWalk, tripped, kernel.Trips != 0)
	}
	rules, unclear := verdictOf(&a.plan.Rules, r, false)
	would, doubtful := verdictOf(&a.plan.Rules, r, true)
	if reported != kernelReports || reported && (goWalk != abi.Allow || would == abi.Allow) {
		return goWalk, fmt.Errorf("%s: %s, reported by the Go walker: %v, by the BPF walker: %v; with those in audit the rules say %s", gen.Show(r), goWalk, reported, kernelReports, would)
	}
	n := 1
	if unclear || doubtful {
		n = draws
	}
	var seen [2]bool
	for i := 0; i < n && !(seen[0] && seen[1]); i++ {
		var told compiler.Told
		if len(a.plan.Rules.Residuals) > 0 || i > 0 {
			told = compiler.Told(gen.NewTold(a.random, r.Path))
		}
		allow, by, err := a.oracle.AuthorizeIn(r, told)
		if err != nil {
			return abi.Deny, err
		}
		if wired := a.wired(by); kernel.Trips != 0 && !wired || kernel.Trips == 0 && wired && !unclear {
			return goWalk, fmt.Errorf("%s: cedar-go denies by %q, tripped: %v (told %+v)", gen.Show(r), by, kernel.Trips != 0, told)
		}
		cedar := abi.Deny
		if allow {
			cedar = abi.Allow
		}
		seen[cedar] = true
		if inKernel != goWalk || goWalk != abi.Ask && goWalk != cedar || rules != abi.Ask && rules != cedar || goWalk == abi.Ask && rules != abi.Ask {
			return goWalk, fmt.Errorf("%s: cedar-go: %s; rules: %s; Go walker: %s; BPF walker: %s (told %+v)", gen.Show(r), cedar, rules, goWalk, inKernel, told)
		}
		if goWalk == abi.Allow {
			if err := a.report(r, told, reported, doubtful); err != nil {
				return goWalk, err
			}
		}
	}
	a.count(goWalk, seen[0] && seen[1])
	if kernel.Trips != 0 {
		a.total.tripped++
	}
	if reported && doubtful {
		a.total.perhaps++
	} else if reported {
		a.total.reported++
	}
	return goWalk, nil
}

// wired: does one of the policies that a denial rests on say how to respond?
func (a *arena) wired(ids []string) bool {
	return slices.ContainsFunc(a.plan.Rules.Policies, func(p rule.Policy) bool {
		return p.Respond() != "" && slices.Contains(ids, p.ID)
	})
}

// report compares whether an allowed request is reported with what cedar-go says
// of all policies, those in audit too.
func (a *arena) report(r abi.Request, told compiler.Told, reported, doubtful bool) error {
	all, by, err := a.oracle.AuthorizeAll(r, told)
	if err == nil && (!all && !reported || all && reported && !doubtful) {
		err = fmt.Errorf("%s: with those in audit cedar-go allows: %v by %q; reported: %v (told %+v)", gen.Show(r), all, by, reported, told)
	}
	return err
}

func (a *arena) count(v abi.Verdict, settled bool) {
	a.total.compared++
	switch v {
	case abi.Allow:
		a.total.allowed++
	case abi.Deny:
		a.total.denied++
	case abi.Ask:
		a.total.asked++
		if settled {
			a.total.settled++
		}
	}
}

// verdictOf is the meaning of rules: forbid over permit, default deny, and ask
// where it depends on a residual.
// With audits, those in audit count as well.
func verdictOf(set *rule.Set, q abi.Request, audits bool) (v abi.Verdict, unclear bool) {
	var came [2][3]bool
	for i := range set.Rules {
		if r := &set.Rules[i]; r.Actions>>q.Action&1 == 1 && (audits || !r.Audited) {
			came[r.Effect][rule.Eval(r.Cond, &q)] = true
		}
	}
	permit, forbid := came[rule.Permit], came[rule.Forbid]
	unclear = permit[rule.Unclear] || forbid[rule.Unclear]
	switch {
	case forbid[rule.True] || !permit[rule.True] && !permit[rule.Unclear]:
		return abi.Deny, unclear
	case forbid[rule.Unclear] || !permit[rule.True]:
		return abi.Ask, unclear
	}
	return abi.Allow, unclear
}

// sample asks the reader of the format's document, and the kernel about several
// actions at once.
func (a *arena) sample(r abi.Request, want abi.Verdict) error {
	got, err := a.reader.Answer(r)
	if walked := a.plan.Table.Answer(r); err != nil || got != gen.Answer(walked) || got.Verdict != want {
		return fmt.Errorf("%s: by the format's document %v (%v), Go walker: %v", gen.Show(r), got, err, walked)
	}
	need := abi.ActionMask(a.random.Uint32()) & abi.ActionMask(a.random.Uint32()) & abi.EnforcedActions
	var lack bpf.Lack
	for _, action := range need.Actions() {
		q := r
		q.Action = action
		switch a.plan.Decide(q) {
		case abi.Deny:
			lack.Denied |= abi.MaskOf(action)
			lack.Missing |= abi.MaskOf(action)
			if a.plan.Table.Trips(q) {
				lack.Trips |= abi.MaskOf(action)
			}
		case abi.Ask:
			lack.Missing |= abi.MaskOf(action)
		case abi.Allow:
			if a.plan.Table.Reports(q) {
				lack.Reported |= abi.MaskOf(action)
			}
		}
	}
	if lack.Missing != 0 { // the denial tells enough
		lack.Reported = 0
	} else if lack.Reported != 0 {
		a.total.seen["several actions: reported"]++
	}
	if lack.Trips != 0 {
		a.total.seen["several actions: tripped"]++
	}
	inKernel, err := a.walker.Lacks(need, r)
	if err != nil {
		return err
	}
	if inKernel != lack {
		return fmt.Errorf("%s, asked for %s: BPF walker %v; Go walker %v", gen.Show(r), need, inKernel, lack)
	}
	a.total.masks++
	return nil
}

// countCondition notes the kinds of conditions.
func countCondition(c rule.Cond, seen gen.Visits) {
	kind := "constant"
	var parts []rule.Cond
	switch c := c.(type) {
	case rule.Is:
		kind = "dir"
	case rule.PathEq:
		kind = "path =="
	case rule.PathBelow:
		kind = "path <"
	case rule.Like:
		kind = c.Field.String()
	case rule.Less:
		kind = c.Field.String()
	case rule.Unknown:
		kind = "unknown"
	case rule.Not:
		kind, parts = "not", []rule.Cond{c.X}
	case rule.And:
		kind, parts = "and", c
	case rule.Or:
		kind, parts = "or", c
	}
	seen["condition: "+kind]++
	for _, x := range parts {
		countCondition(x, seen)
	}
}

// FuzzVerdict searches for a seed on which the walkers disagree.
func FuzzVerdict(f *testing.F) {
	f.Add(uint64(1))
	walker, err := bpf.NewWalker(arenaWords)
	if err != nil {
		f.Fatalf("the BPF walker is needed here: %v", err)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		compareSet(t, walker, seed, &tally{seen: gen.Visits{}})
	})
}
