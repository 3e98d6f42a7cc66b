package vmtest

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// alone runs each trial that was noted once more, by itself, as -run does, and
// reports whether all still end as they should: none may live on what another one
// left behind. STOCKADE_ALONE=1 asks for it; it takes long.
func alone(m *testing.M) (ok bool) {
	if os.Getenv("STOCKADE_ALONE") == "" {
		return true
	}
	names, before := results.names, results.results
	pattern := flag.Lookup("test.run").Value
	defer pattern.Set(pattern.String())
	var bad []string
	for _, name := range names {
		if before[name] == isFailed {
			continue
		}
		parts := strings.Split(name, "/")
		for i, p := range parts {
			parts[i] = "^" + regexp.QuoteMeta(p) + "$"
		}
		if theLab.last > abi.MaxWorkloads-50 { // numbers are not given back
			closeLabs()
		}
		results = matrix{results: map[string]result{}}
		pattern.Set(strings.Join(parts, "/")) // a string takes any
		if m.Run() != 0 || results.results[name] != before[name] {
			bad = append(bad, name)
			fmt.Printf("alone: %s: %q, was %q\n", name, results.results[name], before[name])
		}
	}
	fmt.Printf("alone: %d trials, %d of them end otherwise\n", len(names), len(bad))
	results = matrix{names: names, results: before, better: results.better}
	return len(bad) == 0
}
