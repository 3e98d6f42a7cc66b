package bpf

import (
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

func newWalker(t testing.TB, words int) *Walker {
	t.Helper()
	w, err := NewWalker(words)
	if err != nil {
		t.Fatalf("the BPF walker is needed here: %v", err)
	}
	return w
}

func TestWalkerReadsTheTable(t *testing.T) {
	w := newWalker(t, 1<<16)
	long := strings.Repeat("long-name.", 20)
	set := &rule.Set{Rules: []rule.Rule{
		{Actions: 1 << abi.Read, Cond: rule.PathBelow{Path: "/ws"}},
		{Actions: 1 << abi.Write, Cond: rule.PathEq{Path: "/ws/" + long + "/x"}},
		{Actions: 1 << abi.Read, Effect: rule.Forbid, Cond: rule.PathBelow{Path: "/ws/" + long}},
	}}
	tab, err := table.Build(set, abi.MaskOf(abi.Read, abi.Write))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Place(tab.Words()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    abi.Action
		path string
		want abi.Verdict
	}{
		{abi.Read, "/", abi.Deny},
		{abi.Read, "/ws", abi.Deny},
		{abi.Read, "/ws/a", abi.Allow},
		{abi.Read, "/ws/a/b/c/d", abi.Allow},
		{abi.Read, "/wsa/a", abi.Deny},
		{abi.Read, "/ws/" + long, abi.Allow},
		{abi.Read, "/ws/" + long + "/y", abi.Deny},
		{abi.Read, "/ws/" + long + "y/y", abi.Allow},
		{abi.Write, "/ws/" + long + "/x", abi.Allow},
		{abi.Write, "/ws/" + long + "/x/y", abi.Deny},
	} {
		got, err := w.Decide(abi.Request{Action: c.a, Path: c.path})
		if err != nil {
			t.Fatal(err)
		}
		if want := tab.Decide(abi.Request{Action: c.a, Path: c.path}); got != c.want || want != c.want {
			t.Errorf("%v %q: BPF %v, Go %v, want %v", c.a, c.path, got, want, c.want)
		}
	}
}

func TestWalkCwdFindsEveryComponent(t *testing.T) {
	w := newWalker(t, 1<<16)
	tab, err := table.Build(&rule.Set{}, abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Place(tab.Words()); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "walk")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	deep := dir + strings.Repeat("/d", 40) + "/" + strings.Repeat("n", 200)
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(deep)
	n, err := w.WalkCwd(1)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Count(deep, "/"); n != want {
		t.Errorf("%d components, want %d", n, want)
	}
}

func TestWalkInputHasTheKernelsShape(t *testing.T) {
	w := newWalker(t, 1<<16)
	if got, want := uint32(unsafe.Sizeof(walkInput{})), w.maps["walk_input"].ValueSize(); got != want {
		t.Errorf("walkInput has %d bytes, the map's value %d", got, want)
	}
}
