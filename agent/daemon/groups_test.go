package daemon

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/cgroup"
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

// Where the agent cannot read which group it is in, what it knew counts: nothing that matches
// goes unconfined for that, and nothing is said to hold the agent.
func TestGroupsAreConfinedThoughTheAgentsOwnCannotBeRead(t *testing.T) {
	if _, err := cgroup.Mountpoint(); err != nil && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	group, err := cgroup.Create(fmt.Sprintf("test-own-%d", os.Getpid()))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { _ = group.Remove() })
	rel := cgroup.Parent + "/" + group.Name()
	covered := errors.New("/proc: covered")
	for _, c := range []struct {
		what     string
		before   bool // the agent's own was read before
		own      string
		err      error
		confined bool
		says     string
	}{
		{"it is read", false, "system.slice/agent", nil, true, ""},
		{"it was read", true, "", covered, true, ""},
		{"it was never read", false, "", covered, false, "and may hold the agent itself: /proc: covered: it is NOT confined yet"},
		{"it is the agent's", true, rel + "/agent", nil, false, "holds the agent itself: it is not confined"},
	} {
		var confined, notes []string
		g, err := newGroups(func(rel, _ string) error { confined = append(confined, rel); return nil }, func(text string) { notes = append(notes, text) })
		if err != nil {
			t.Fatal(err)
		}
		g.own, g.known = "system.slice/agent", c.before
		g.read = func() (string, error) { return c.own, c.err }
		for range 2 { // told once, tried each time
			if err := errors.Join(g.set(patterns{{workload: "one", components: strings.Split(rel, "/")}}), g.all()); err != nil {
				t.Fatal(err)
			}
		}
		if found := g.of()["one"]; slices.Contains(confined, rel) != c.confined || slices.Contains(found, rel) != c.confined {
			t.Errorf("%s: confined %v, found %v", c.what, confined, found)
		}
		told := strings.Join(notes, "\n")
		if !strings.Contains(told, c.says) || c.says == "" && told != "" || strings.Count(told, rel+":") > 2 {
			t.Errorf("%s: %s", c.what, told)
		}
		// Once it can be read, what was left out is confined.
		g.read = func() (string, error) { return "system.slice/agent", nil }
		confined = nil
		if err := g.all(); err != nil || !slices.Contains(confined, rel) || !slices.Contains(g.of()["one"], rel) {
			t.Errorf("%s: later: %v, %v", c.what, confined, err)
		}
		_ = g.tree.Close()
	}
}
