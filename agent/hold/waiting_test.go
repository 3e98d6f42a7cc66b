package hold

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/fanotify"
	"github.com/stockade-dev/stockade/agent/image"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

func TestOperationsAreCompleteWhicheverSideTellsFirst(t *testing.T) {
	now := time.Now()
	event := func(n uint64) *abi.Event { return &abi.Event{Hold: n} }
	w, g := newWaiting(), &gate{}
	if o, full := w.asks(event(1), now); o != nil || full {
		t.Fatal(o, full)
	}
	first, goOn := w.comes(1, g, fanotify.Event{TID: 7}, now)
	if first == nil || goOn || first.asked.Hold != 1 || first.event.TID != 7 || !first.taken {
		t.Fatal(first, goOn)
	}
	if o, goOn := w.comes(2, g, fanotify.Event{TID: 8}, now); o != nil || goOn {
		t.Fatal(o, goOn)
	}
	second, full := w.asks(event(2), now)
	if second == nil || full || second.event.TID != 8 {
		t.Fatal(second, full)
	}
	if !w.end(first, verdict{outcome: isAllowed}) || w.end(first, verdict{outcome: isLate}) {
		t.Error("it ends not once")
	}
	if o, goOn := w.comes(1, g, fanotify.Event{TID: 7}, now); o != nil || !goOn { // an exec has two events
		t.Error(o, goOn)
	}
	if v := w.verdict(1); v.outcome != isAllowed {
		t.Error(v)
	}
	w.asks(event(2+maxOver+1), now)
	if o, goOn := w.comes(1, g, fanotify.Event{TID: 7}, now); o != nil || !goOn {
		t.Error(o, goOn)
	}
	if o, goOn := w.comes(3, g, fanotify.Event{TID: 9}, now); o != nil || goOn {
		t.Error(o, goOn)
	}
	if o, goOn := w.comes(1, g, fanotify.Event{TID: 9}, now); o != nil || !goOn { // long over
		t.Error(o, goOn)
	}
	w.end(w.all[3], verdict{})
	w.end(w.all[2+maxOver+1], verdict{})
	if list := w.old(now.Add(time.Second)); !slices.Equal(list, []*operation{second}) || len(w.old(now)) > 0 {
		t.Error(list)
	}
}

// Whatever waits of one workload, another one has room.
func TestWhatWaitsIsBounded(t *testing.T) {
	w, now, number := newWaiting(), time.Now(), uint64(0)
	fill := func(workload uint32) (n int) {
		for ; n <= maxHeld; n++ {
			number++
			if _, full := w.asks(&abi.Event{Hold: number, Workload: workload}, now); full {
				return n
			}
		}
		t.Fatal("there is room without end")
		return n
	}
	if a, b, c := fill(1), fill(2), fill(3); a != maxHeld/2 || b != maxHeld/4 || c != maxHeld/8 {
		t.Errorf("%d, %d and %d wait of three workloads", a, b, c)
	}
	if o, goOn := w.comes(number, &gate{}, fanotify.Event{}, now); o != nil || !goOn {
		t.Error("who was refused waits all the same")
	}
	// The group may tell first, and whose it is comes after.
	number++
	if o, goOn := w.comes(number, &gate{}, fanotify.Event{TID: 7}, now); o != nil || goOn {
		t.Error("there is no room for who is not known yet")
	}
	if o, full := w.asks(&abi.Event{Hold: number, Workload: 1}, now); o == nil || !full || o.taken || !w.end(o, verdict{}) {
		t.Error("it is not over")
	}
	for len(w.all) < maxHeld {
		number++
		w.comes(number, &gate{}, fanotify.Event{}, now)
	}
	if o, goOn := w.comes(number+1, &gate{}, fanotify.Event{}, now); o != nil || !goOn {
		t.Error("there is room without end")
	}
	for _, o := range w.old(now.Add(time.Second)) {
		w.end(o, verdict{outcome: isLate})
	}
	for n := range uint64(3 * maxOver) {
		if _, full := w.asks(&abi.Event{Hold: 10_000 + n, Workload: 1}, now); full {
			t.Fatal(n)
		}
		w.end(w.old(now.Add(time.Second))[0], verdict{})
	}
	if len(w.all) != 0 || len(w.of) != 0 || len(w.over) != maxOver {
		t.Errorf("%d wait of %d workloads, %d are remembered", len(w.all), len(w.of), len(w.over))
	}
}

func TestNamesOfAccounts(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		path := filepath.Join(dir, "etc/passwd")
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	a := newAccounts(root)
	want := func(uid uint32, name string, known bool) {
		t.Helper()
		if got, ok := a.user(uid); got != name || ok != known {
			t.Errorf("%d: %q %v, want %q %v", uid, got, ok, name, known)
		}
	}
	want(0, "", false) // no file
	write("root:x:0:0::/root:/bin/sh\nann:x:7:7:::\nbob:x:7:7:::\n+nis::::::\n#c:x:8:8:::\nbad:x:y:1:::\n:x:9:9:::\nend:x:10:10:::")
	want(0, "root", true)
	want(7, "ann", true) // the first counts
	want(8, "", false)
	want(9, "", false)
	want(10, "end", true)
	write("eve:x:7:7:::\n") // of the same second
	want(7, "eve", true)
	if err := os.Chtimes(filepath.Join(dir, "etc/passwd"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	want(7, "eve", true)
	if err := errors.Join(os.Remove(filepath.Join(dir, "etc/passwd")), os.Symlink("/etc/other", filepath.Join(dir, "etc/passwd")),
		os.WriteFile(filepath.Join(dir, "etc/other"), []byte("mel:x:7:7:::\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	want(7, "mel", true) // links count from the root
	if _, ok := a.group(0); ok {
		t.Error("a group without a file")
	}
}

func TestMountPointsThatFilesAreOn(t *testing.T) {
	text := `22 1 8:1 / / rw - ext4 /dev/sda1 rw
23 22 0:5 / /proc rw,nosuid shared:12 - proc proc rw
24 22 0:6 / /with\040space\134 rw shared:1 master:2 - tmpfs tmpfs rw
25 22 0:7 / /dev rw - devtmpfs udev rw
26 22 0:8 / /over rw - overlay overlay rw
bad line
`
	if got := mountPoints(text); !slices.Equal(got, []string{"/", `/with space\`, "/over"}) {
		t.Errorf("%q", got)
	}
}

func TestArgumentsAndEnvironmentAsPoliciesSeeThem(t *testing.T) {
	var f facts
	f.arguments([]string{"git", "-C", "push", "", "--", "-"})
	if !slices.Equal(f.told.Flags, []string{"-C", "--", "-"}) || !slices.Equal(f.told.Positional, []string{"push", ""}) ||
		!slices.Equal(f.told.Tokens, []string{"-C", "push", "", "--", "-"}) {
		t.Errorf("%+v", f.told)
	}
	f.arguments(nil)
	for _, c := range []struct {
		env   []string
		known bool
	}{
		{nil, true}, {[]string{"A=1", "B=", "C=x=y"}, true}, {[]string{"A=1", "A=1"}, false}, {[]string{"A"}, false}, {[]string{"=x"}, false}, {[]string{""}, false},
	} {
		var f facts
		if f.environment(c.env); f.known(compiler.UsesEnvironment) != c.known {
			t.Errorf("%q: known is %v", c.env, !c.known)
		}
	}
	if image.Limit != 128<<10 {
		t.Errorf("%d bytes: the kernel's programs compare another number", image.Limit)
	}
}
