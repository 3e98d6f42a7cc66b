package vmtest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// TestNobodyElsePays lets the many threads of one workload open a deep path at
// once, as another one opens a file: whoever is preempted in the middle of a verdict
// keeps its scratch memory, and yet nobody is denied what policy permits.
func TestNobodyElsePays(t *testing.T) {
	many, one := newStage(t, permit(look, "@/ws/")), newStage(t, permit(look, "@/ws/"))
	many.dig("ws", "d", 100, "file")
	one.tree("ws/file")
	deep := "@/ws" + strings.Repeat("/d", 100) + "/file"
	crowd := many.start("", nil, 0, "gate", "openers", "24", "6000", deep)
	alone := one.start("", nil, 0, "gate", "openers", "2", "6000", "@/ws/file")
	for _, a := range []*attempt{crowd, alone} {
		a.ready()
	}
	for _, a := range []*attempt{crowd, alone} {
		a.pass()
	}
	for name, a := range map[string]*attempt{"24 openers of a deep path are all allowed": crowd, "openers of another workload are allowed": alone} {
		a.s.step(name, isAllowed, func() {
			var opened, denied int
			a.wait()
			if n, _ := fmt.Sscanf(counted(a.text), "%d %d", &opened, &denied); n != 2 || a.code != probes.Allowed || opened == 0 {
				a.s.t.Fatalf("%v %s", a, a.text)
			}
			a.s.t.Logf("%d opened, %d denied", opened, denied)
			reasons := map[string]int{}
			events := a.s.collect()
			for _, e := range events {
				reasons[e.Reason.String()]++
			}
			if a.s.balance(len(events)); denied > 0 {
				a.s.t.Errorf("%d denied although permitted: %v", denied, reasons)
			}
		})
	}
}
