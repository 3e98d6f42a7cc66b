package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// fresh makes a group, or skips where no cgroup can be made; STOCKADE_STRICT=1
// turns the skip into a failure.
func fresh(t *testing.T) *Group {
	t.Helper()
	g, err := Create(fmt.Sprintf("test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err != nil && (os.Geteuid() != 0 || errors.Is(err, syscall.EROFS)) && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
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

// start runs a shell script inside the group.
func start(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	return cmd
}

func waitProcs(t *testing.T, g *Group, n int) []int {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		pids, err := g.Procs()
		if err != nil {
			t.Fatal(err)
		}
		if len(pids) >= n {
			return pids
		}
		if time.Now().After(end) {
			t.Fatalf("%d processes in the group, want %d", len(pids), n)
		}
	}
}

func TestKillEmptiesGroupAndChildren(t *testing.T) {
	g := fresh(t)
	if err := os.MkdirAll(filepath.Join(g.Path(), "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	start(t, g, `sleep 1000 & sleep 1000 & echo $$ >`+g.Path()+`/a/b/cgroup.procs; sleep 1000`)
	waitProcs(t, g, 4)
	killed, err := g.Kill(10 * time.Second)
	if err != nil || killed != 4 {
		t.Fatalf("Kill: %d, %v; want 4 processes killed", killed, err)
	}
	if populated, err := g.Populated(); populated || err != nil {
		t.Fatalf("after Kill: populated %v, %v", populated, err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Kill(time.Second); err != nil {
		t.Fatalf("Kill of a group that is gone: %v", err)
	}
	if _, err := Open(g.Name()); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("Open of a group that is gone: %v", err)
	}
}

func TestCreateRefusesPopulatedAndReplacesEmpty(t *testing.T) {
	g := fresh(t)
	old, err := g.ID()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(g.Name()); err != nil {
		t.Fatalf("over an empty group: %v", err)
	}
	if id, err := g.ID(); err != nil || id == old {
		t.Fatalf("id %d after id %d, %v; want a fresh group", id, old, err)
	}
	start(t, g, "sleep 1000")
	waitProcs(t, g, 1)
	if _, err := Create(g.Name()); err == nil {
		t.Fatal("created over a group that holds a process")
	}
}

func TestCreateRefusesNamesThatArePaths(t *testing.T) {
	for _, name := range []string{"", ".", "..", "a/b", "/a"} {
		if _, err := Create(name); err == nil {
			t.Errorf("Create(%q) succeeded", name)
		}
	}
}

func TestFreezeStopsAndThawResumes(t *testing.T) {
	g := fresh(t)
	start(t, g, "while :; do :; done")
	waitProcs(t, g, 1)
	if err := g.Freeze(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	before := usage(t, g)
	time.Sleep(50 * time.Millisecond)
	if after := usage(t, g); after != before {
		t.Errorf("usage went from %q to %q while frozen", before, after)
	}
	if err := g.Thaw(10 * time.Second); err != nil {
		t.Fatal(err)
	}
}

func usage(t *testing.T, g *Group) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.Path(), "cpu.stat"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text[:min(len(text), 40)])
}

func TestWatchSeesEntryAndExit(t *testing.T) {
	g := fresh(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	states, err := g.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := func(populated bool) {
		t.Helper()
		if got, ok := <-states; !ok || got != populated {
			t.Fatalf("watch: %v, open %v; want %v", got, ok, populated)
		}
	}
	want(false)
	start(t, g, "sleep 0.2")
	want(true)
	want(false)
	cancel()
	if _, ok := <-states; ok {
		t.Fatal("watch goes on after its context")
	}
}

func TestWatchEndsWithGroup(t *testing.T) {
	g := fresh(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	states, err := g.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	<-states
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-states; ok || ctx.Err() != nil {
		t.Fatalf("watch of a removed group: open %v, %v", ok, ctx.Err())
	}
}

func TestWithinIsByWholeNames(t *testing.T) {
	for _, c := range []struct {
		rel, group string
		want       bool
	}{
		{"a", "a", true}, {"a/b", "a", true}, {"/a/b", "a/", true}, {"a", "", true}, {"", "", true}, {"/", "/", true},
		{"ab", "a", false}, {"a", "a/b", false}, {"", "a", false}, {"/", "a", false}, {"b/a", "a", false},
	} {
		if got := Within(c.rel, c.group); got != c.want {
			t.Errorf("%q within %q: %v", c.rel, c.group, got)
		}
	}
}
