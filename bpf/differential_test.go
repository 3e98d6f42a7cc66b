package bpf_test

import (
	"flag"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
	"github.com/stockade-dev/stockade/compiler/gen"
)

var (
	comparisons = flag.Int("comparisons", 1_000_000, "requests on which cedar-go, the Go walker and the BPF walker must agree")
	firstSeed   = flag.Uint64("seed", 1, "first seed of the generator")
)

const requestsPerSet = 400

// tally counts what the comparisons saw, so that the test can tell whether
// they prove anything.
type tally struct{ compared, allowed, gains, refused atomic.Int64 }

// TestKernelVerdictIsCedarsVerdict is the promise of this project: for random
// policy sets and requests, cedar-go, the Go walker and the BPF walker (the
// code of the hooks, run in this kernel) agree.
func TestKernelVerdictIsCedarsVerdict(t *testing.T) {
	if testing.Short() {
		*comparisons = min(*comparisons, 50_000)
	}
	var total tally
	t.Run("shard", func(t *testing.T) {
		for shard := range 2 {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				walker, err := bpf.NewWalker(1 << 16)
				if err != nil {
					t.Fatalf("the BPF walker is needed here: %v", err)
				}
				for seed := *firstSeed + uint64(shard); total.compared.Load() < int64(*comparisons); seed += 2 {
					compareSet(t, walker, seed, &total)
				}
			})
		}
	})
	n := total.compared.Load()
	t.Logf("%d comparisons from seed %d on: %d allowed, %d moves that gain, %d policy sets refused; no mismatch",
		n, *firstSeed, total.allowed.Load(), total.gains.Load(), total.refused.Load())
	if share := total.allowed.Load() * 100 / max(n, 1); share < 5 || share > 95 {
		t.Errorf("%d%% of the requests are allowed: the comparison proves little", share)
	}
	if sets := n / requestsPerSet; total.refused.Load()*50 > sets {
		t.Errorf("%d of %d policy sets are refused: the generator and the compiler have drifted apart", total.refused.Load(), sets)
	}
	if total.gains.Load() == 0 {
		t.Error("no move gains anything: the comparison proves little")
	}
}

// compareSet compares one generated policy set on all its requests.
func compareSet(t *testing.T, walker *bpf.Walker, seed uint64, total *tally) {
	c := gen.New(seed, gen.Options{Requests: requestsPerSet})
	in := compiler.Input{Sources: []compiler.Source{{Name: "gen.cedar", Text: c.Policies}},
		Entities: c.Entities, EntitiesName: "entities.json", Principal: c.Principal, Handled: abi.EnforcedActions}
	plan, err := compiler.Compile(in)
	if err != nil { // a scope that can never match, for example
		total.refused.Add(1)
		return
	}
	oracle, err := compiler.NewOracle(in)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	if err := walker.Place(plan.Table.Words()); err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	previous := "/"
	for _, r := range c.Requests {
		cedar, _, err := oracle.Authorize(r)
		if err != nil {
			t.Fatalf("seed %d: %q: %v", seed, r.Path, err)
		}
		goWalk := plan.Decide(r)
		inKernel, err := walker.Decide(r)
		if err != nil {
			t.Fatalf("seed %d: %q: %v", seed, r.Path, err)
		}
		if (goWalk == abi.Allow) != cedar || inKernel != goWalk {
			t.Fatalf("seed %d: %s %s %q: cedar-go allows: %v; Go walker: %v; BPF walker: %v\nprincipal %s\n%s\n%s",
				seed, r.Action, r.Kind, r.Path, cedar, goWalk, inKernel, c.Principal, c.Policies, c.Entities)
		}
		if cedar {
			total.allowed.Add(1)
		}
		compareGains(t, walker, plan, r, previous, total)
		previous = r.Path
	}
	total.compared.Add(int64(len(c.Requests)))
}

// compareGains compares the no-gain rule of both walkers.
func compareGains(t *testing.T, walker *bpf.Walker, plan *compiler.Plan, r abi.Request, to string, total *tally) {
	if to == "/" {
		return
	}
	want := plan.Table.Gains(r.Kind, r.Path, to)
	got, err := walker.Gains(r.Kind, r.Path, to)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Fatalf("moving %s %q to %q gains: Go walker %v, BPF walker %v\n%v", r.Kind, r.Path, to, want, got, plan.Rules.Rules)
	}
	if got {
		total.gains.Add(1)
	}
}

// FuzzVerdict searches for a seed on which the walkers disagree.
func FuzzVerdict(f *testing.F) {
	f.Add(uint64(1))
	walker, err := bpf.NewWalker(1 << 16)
	if err != nil {
		f.Fatalf("the BPF walker is needed here: %v", err)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		var total tally
		compareSet(t, walker, seed, &total)
	})
}
