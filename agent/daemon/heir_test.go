package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/bpf"
)

// A set of another build is succeeded with what is remembered, and adopted from then on.
func TestAnotherBuildsSetIsSucceeded(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	table, err := y.set.Table(d.all.byName["one"].id)
	if err != nil || table == nil {
		t.Fatal(table, err)
	}
	kill()
	adopt := y.machine.Adopt
	y.machine.Adopt = func(string) (host.Kernel, error) { return nil, &bpf.ForeignError{Dir: "/pins"} }
	buried := 0
	y.machine.Bury = func(string, func(bpf.Reader) error) error { buried++; return nil }
	y.machine.Succeed = func(dir string, o bpf.Options, h bpf.Heir) (host.Kernel, error) {
		if dir != y.machine.Pins || len(h.Own) == 0 {
			t.Errorf("%s, %+v", dir, h)
		}
		if words, err := h.Plan("one"); err != nil || !slices.Equal(words, table) {
			t.Errorf("the plan is another: %d words, %v", len(words), err)
		}
		if _, err := h.Plan("nobody"); err == nil || !strings.Contains(err.Error(), "not remembered") {
			t.Errorf("a plan that nobody remembers: %v", err)
		}
		return y.set, nil
	}
	d, kill = y.up()
	y.want(y.status(d), 1, "enforce", "config")
	if !d.adopted || y.set.loaded != 1 || buried != 1 || !strings.Contains(y.said.String(), "took its place") {
		t.Errorf("adopted %v, loaded %d times, buried %d times: %s", d.adopted, y.set.loaded, buried, y.said.String())
	}
	kill()
	y.machine.Adopt = adopt
	_, kill = y.up()
	kill()
}

// Whatever an upgrade fails by, what is pinned stays, and so does what is remembered.
func TestAnUpgradeThatFailsLeavesWhatIsPinned(t *testing.T) {
	y := newYard(t)
	_, kill := y.up()
	kill()
	if err := os.MkdirAll(y.machine.Pins, 0o700); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct{ adopt, succeed error }{
		"fails":          {&bpf.ForeignError{Dir: "/pins"}, fmt.Errorf("a file: %w", fs.ErrNotExist)},
		"not whole":      {&bpf.ForeignError{Dir: "/pins"}, &bpf.IncompleteError{Dir: "/pins", Begun: true}},
		"not understood": {&bpf.ForeignError{Dir: "/pins", Why: "contract 2"}, nil},
	} {
		tried := false
		y.machine.Adopt = func(string) (host.Kernel, error) { return nil, c.adopt }
		y.machine.Succeed = func(string, bpf.Options, bpf.Heir) (host.Kernel, error) { tried = true; return nil, c.succeed }
		if _, err := y.machine.open(y.config(), &y.said); err == nil || tried != (c.succeed != nil) {
			t.Errorf("%s: %v, tried %v", what, err, tried)
		}
		if _, err := os.Stat(y.machine.Pins); err != nil || y.set.loaded != 1 {
			t.Errorf("%s: pins: %v, loaded %d times", what, err, y.set.loaded)
		}
		if m, err := memory.Recall(memory.Dir(y.machine.State), "one"); m == nil || err != nil {
			t.Errorf("%s: remembered: %v, %v", what, m, err)
		}
	}
}
