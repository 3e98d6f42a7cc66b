//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
)

// BenchmarkAuthorize is what cedar-go takes for one decision on the policies
// that BenchmarkVerdict of package bpf has compiled: what a user-space decision
// would cost, without the way there and back.
func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 1000, 10000} {
		var text strings.Builder
		path := func(i int) string {
			return fmt.Sprintf("/srv/teams/team-%03d/project-%04d/workspace/file-%08d.txt", i%100, i%1000, i)
		}
		for i := range n {
			fmt.Fprintf(&text, "permit (principal, action, resource == file_system::File::%q);\n", path(i))
		}
		set, err := cedar.NewPolicySetFromBytes("bench.cedar", []byte(text.String()))
		if err != nil {
			b.Fatal(err)
		}
		request := cedar.Request{
			Principal: types.NewEntityUID("User", "agent"),
			Action:    types.NewEntityUID("file_system::Action", "read"),
			Resource:  types.NewEntityUID("file_system::File", types.String(path(n/2))),
		}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			for b.Loop() {
				if decision, _ := cedar.Authorize(set, types.EntityMap{}, request); decision != cedar.Allow {
					b.Fatal(decision)
				}
			}
		})
	}
}

func TestBenchmarkLinesAreRead(t *testing.T) {
	got := parse("goos: linux\nBenchmarkVerdict/rules=10/hit-2  100  30.0 ns/op  3.00 KiB\n" +
		"BenchmarkVerdict/rules=10/hit-2  100  10.0 ns/op  3.00 KiB\nBenchmarkVerdict/rules=10/hit-2  100  20.0 ns/op  3.00 KiB\n" +
		"    x_test.go:1: BenchmarkOpen/depth=8/confined 1 9000 ns/op\nPASS\n")
	if len(got) != 2 || got[1].name != "Verdict/rules=10/hit" || got[1].ns != 10 || got[1].other["KiB"] != 3 ||
		got[0].name != "Open/depth=8/confined" || got[0].ns != 9000 {
		t.Errorf("got %+v", got)
	}
}

func TestOpenTableIsRead(t *testing.T) {
	got := parseOpen("bench: verifier: 9 instructions in all\n" +
		"bench: open+close, kernel 6.12.1, depth [3 8 20]\n" +
		"bench: no LSM program            7003 (+0)    9271 (+0)   13651 (+0)\n" +
		"bench: confined, 1000 rules      8000 x1.10 (+997)    9999 x1.08 (+728)   14000 x1.00 (+349)   against unconfined\n")
	if len(got) != 6 || got[1].name != "depth 8, no LSM program" || got[1].ns != 9271 ||
		got[5].name != "depth 20, confined, 1000 rules" || got[5].ns != 14000 {
		t.Errorf("got %+v", got)
	}
}

func TestTargetsAreJudged(t *testing.T) {
	r := results{{name: "a", ns: 30}, {name: "b", ns: 20, other: map[string]float64{"KiB": 5}}}
	var out strings.Builder
	missed := r.judge(&out, "here", []target{
		{what: "A", this: "a", that: "b", max: 1.2},
		{what: "B", this: "b", that: "a", max: 1},
		{what: "C", this: "b", unit: "KiB", max: 4},
		{what: "D", this: "a", that: "b", max: 1.2, goal: true},
		{what: "E", this: "none", that: "b", max: 1},
	})
	if missed != 2 {
		t.Errorf("%d missed, want 2 (A and C):\n%s", missed, out.String())
	}
}
