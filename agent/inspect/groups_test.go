package inspect

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/cgroup"
)

// fresh makes a cgroup.
func fresh(t *testing.T) *cgroup.Group {
	t.Helper()
	g, err := cgroup.Create(fmt.Sprintf("inspect-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil {
		lacking(t, "no cgroup can be made", err)
	}
	t.Cleanup(func() {
		if _, err := g.Kill(10 * time.Second); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	})
	return g
}

func TestGroupsAreToldWithAllBeneath(t *testing.T) {
	g := fresh(t)
	below := filepath.Join(g.Path(), "odd\xff\x1b")
	if err := os.Mkdir(below, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(below)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/bin/sh", "-c", "sleep 60 >/dev/null 2>&1 & echo ready; read x; kill $!")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	start(t, cmd)
	gone, plain := filepath.Join(g.Path(), "gone"), t.TempDir()
	doc, err := ask[GroupRecord](t, Request{Collector: ControlGroup, Groups: []string{g.Path(), gone, plain, filepath.Join(plain, "hidden")}})
	if err != nil || len(doc.Cgroups) != 5 || doc.Cut != nil {
		t.Fatalf("%v, %+v", err, doc)
	}
	top, child := doc.Cgroups[0], doc.Cgroups[1]
	if top.Path != g.Path() || *top.Processes != 0 || string(child.PathB64) != below || *child.Processes != 2 {
		t.Errorf("%+v, %+v", top, child)
	}
	for _, r := range []GroupRecord{top, child} {
		if !slices.Contains(r.Files["cgroup.events"], "populated 1") || !slices.Equal(r.Files["cgroup.freeze"], []string{"0"}) || r.Failed != nil || r.Gone {
			t.Errorf("%+v", r)
		}
	}
	if !slices.Contains(top.Files["cgroup.stat"], "nr_descendants 1") {
		t.Errorf("%+v", top)
	}
	if r := doc.Cgroups[2]; r.Path != gone || !r.Gone || r.Failed != nil {
		t.Errorf("%+v", r)
	}
	if r := doc.Cgroups[3]; r.Path != plain || r.Gone || r.Failed["."] != "it is no cgroup" {
		t.Errorf("%+v", r)
	}
	if r := doc.Cgroups[4]; r.Gone || r.Failed["."] == "" { // what covers cgroup2 hides what is there
		t.Errorf("%+v", r)
	}
}

func TestGroupsBeyondTheBoundsAreCounted(t *testing.T) {
	g := fresh(t)
	for i := range MaxGroups + 10 {
		if err := os.Mkdir(filepath.Join(g.Path(), fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := ask[GroupRecord](t, Request{Collector: ControlGroup, Groups: []string{g.Path()}})
	if err != nil || len(doc.Cgroups) != MaxGroups || doc.Cut["cgroups"] != (Total{Total: MaxGroups + 11}) {
		t.Errorf("%v, %d told, cut %v", err, len(doc.Cgroups), doc.Cut)
	}
}

func TestGroupsThatLieTooDeepAreSaidToBeMore(t *testing.T) {
	g := fresh(t)
	path := g.Path()
	for range MaxDepth + 1 {
		path = filepath.Join(path, "d")
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := ask[GroupRecord](t, Request{Collector: ControlGroup, Groups: []string{g.Path()}})
	if err != nil || len(doc.Cgroups) != MaxDepth+1 || doc.Cut["cgroups"] != (Total{Total: MaxDepth + 1, AtLeast: true}) {
		t.Errorf("%v, %d told, cut %v", err, len(doc.Cgroups), doc.Cut)
	}
}
