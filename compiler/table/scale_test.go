package table

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// typicalGlobs writes n globs as policies have them.
func typicalGlobs(n int) []string {
	shapes := []string{"*.ext%d", "*/.cache%d/*", "/home/*/.ssh%d/*", "*secret%d*", "/srv/*/config%d/*.yaml",
		"/work/*/node_modules%d/*/bin/*", "*id_rsa%d", "*/key-%d.pem", "/opt/tool%d*", "*/build-%d/*.o"}
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(shapes[i%len(shapes)], i)
	}
	return list
}

func TestAHundredThousandLiteralsAndAThousandGlobs(t *testing.T) {
	s := manyRules(100000)
	for i, p := range typicalGlobs(1000) {
		s.Rules = append(s.Rules, rule.Rule{Policy: len(s.Rules), Effect: rule.Effect(i % 2), Actions: 3, Cond: rule.Like{Field: rule.Path, Pattern: p}})
	}
	start := time.Now()
	tab, err := Build(s, abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%v, %d KiB of table, %d nodes, %d rows, %d decision nodes, %d automata of %d states, %d MiB of heap from the system",
		time.Since(start).Round(time.Millisecond), len(tab.Bytes())>>10, tab.Nodes, tab.Rows, tab.Decisions, tab.Automata, tab.States, m.HeapSys>>20)
}
