package daemon

import (
	"testing"

	"github.com/stockade-dev/stockade/agent/config"
)

func TestPatternsMatchCgroups(t *testing.T) {
	p := patternsOf([]config.Workload{
		{Name: "slice", Cgroups: []string{"agents.slice"}},
		{Name: "glob", Cgroups: []string{"user.slice/user-*.slice/session-?.scope", "x*"}},
		{Name: "unit", Units: []string{"ci.service"}},
	})
	for _, c := range []struct {
		rel, workload string
		above         bool
	}{
		{"agents.slice", "slice", true},
		{"agents.slice/a.service", "", false},
		{"", "", true},
		{"user.slice", "", true},
		{"user.slice/user-7.slice", "", true},
		{"user.slice/user-7.slice/session-1.scope", "glob", false},
		{"user.slice/user-7.slice/session-11.scope", "", false},
		{"user.slice/user-7.slice/more.slice/session-1.scope", "", false},
		{"xylophone", "glob", false},
		{"x/y", "", false},
		{"ci.service", "unit", false},
		{"system.slice/ci.service", "unit", false},
		{"system.slice/system-ci.slice/ci.service", "unit", false},
		{"user.slice/user-7.slice/user@7.service/ci.service", "", false},
		{"system.slice/other.service/ci.service", "", false},
		{"system.slice", "", true},
	} {
		workload, _ := p.match(c.rel)
		if workload != c.workload || p.above(c.rel) != c.above {
			t.Errorf("%q: workload %q, above %v; want %q, %v", c.rel, workload, p.above(c.rel), c.workload, c.above)
		}
	}
}
