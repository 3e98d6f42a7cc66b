package bpf

import (
	"fmt"
	"os"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// benchRules makes n subtree rules of the shape that a platform team's
// projects have: six components, 60 bytes.
func benchRules(n int) *rule.Set {
	s := &rule.Set{}
	for i := range n {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Actions: abi.EnforcedActions, Cond: rule.PathEq{Path: benchPath(i)}})
	}
	return s
}

func benchPath(i int) string {
	return fmt.Sprintf("/srv/teams/team-%03d/project-%04d/workspace/file-%08d.txt", i%100, i%1000, i)
}

// BenchmarkVerdict measures the match alone, in the kernel: the work of one
// verdict but for the walk of the dentries. ns/op is one match.
func BenchmarkVerdict(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		w := newWalker(b, 1<<16)
		for b.Loop() {
			if err := w.Empty(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, n := range []int{10, 1000, 10000, 100000} {
		tab, err := table.Build(benchRules(n), abi.EnforcedActions)
		if err != nil {
			b.Fatal(err)
		}
		w := newWalker(b, len(tab.Words())+1)
		if err := w.Place(tab.Words()); err != nil {
			b.Fatal(err)
		}
		for name, path := range map[string]string{"hit": benchPath(n / 2), "miss": "/usr/lib/python3/dist-packages/yaml/loader.py"} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, name), func(b *testing.B) {
				b.ReportMetric(float64(len(tab.Words())*8)/1024, "KiB")
				if err := w.Repeat(path, b.N); err != nil {
					b.Fatal(err)
				}
			})
		}
		b.Run(fmt.Sprintf("rules=%d/spread", n), func(b *testing.B) {
			for i := range (b.N + 999) / 1000 {
				if err := w.Repeat(benchPath(i*7919%n), 1000); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkWalk measures the walk of real dentries alone.
func BenchmarkWalk(b *testing.B) {
	w := newWalker(b, 1<<16)
	for _, depth := range []int{3, 6, 12} {
		dir := "/tmp"
		for i := 1; i < depth; i++ {
			dir += fmt.Sprintf("/dir-%02d", i)
		}
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		b.Chdir(dir)
		b.Run(fmt.Sprintf("depth=%d", depth), func(b *testing.B) {
			w.in.plan = 0
			if _, err := w.WalkCwd(b.N); err != nil {
				b.Fatal(err)
			}
		})
	}
	os.RemoveAll("/tmp/dir-01")
}
