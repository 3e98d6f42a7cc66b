package vmtest

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// dig makes n directories called name below dir, and a file in each that leaf
// names: paths that are too long for one call.
func (s *stage) dig(dir, name string, n int, leaf string) {
	s.t.Helper()
	s.tree(dir + "/")
	fd := must1(unix.Open(s.at("@/"+dir), unix.O_PATH|unix.O_CLOEXEC, 0))(s.t)
	for i := 0; ; i++ {
		file := must1(unix.Openat(fd, leaf, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644))(s.t)
		unix.Close(file)
		if i == n {
			break
		}
		must(s.t, unix.Mkdirat(fd, name, 0o755))
		next := must1(unix.Openat(fd, name, unix.O_PATH|unix.O_CLOEXEC, 0))(s.t)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
}

// TestDepth opens files at depths around every boundary of the walk.
//
//	@/ws/d/d/…/file       open and read
//	@/secret/d/d/…/file   nothing
//	@/one/d/d/…/file      open and read the file of 128 components only
func TestDepth(t *testing.T) {
	// @ has two components, ws and the file one each.
	below := func(dir string, components int) string {
		return "@/" + dir + strings.Repeat("/d", components-4) + "/file"
	}
	s := newStage(t, permit(look, "@/ws/", below("one", abi.MaxComponents)))
	for _, dir := range []string{"ws", "secret", "one"} {
		s.dig(dir, "d", abi.MaxComponents+2-4, "file")
	}
	for _, n := range []int{21, 31, 32, 33, 34, 64, 127, 128} {
		s.run(trial{name: fmt.Sprintf("%d components are exact", n), control: []string{"open", "r", below("ws", n)},
			probe: []string{"open", "r", below("secret", n)}, errno: eacces, want: denial{actions: "open,read", path: below("secret", n)}})
	}
	deep := func(dir string, n, kept int) denial {
		parts := strings.Split(s.at(below(dir, n)), "/")
		return denial{actions: "open,read", path: ".../" + strings.Join(parts[len(parts)-kept:], "/"),
			reason: abi.ReasonTooDeep, status: abi.PathTooDeep}
	}
	s.run(
		trial{name: "exact rule at the limit is not its neighbour's", control: []string{"open", "r", below("one", 128)},
			probe: []string{"open", "r", below("one", 127)}, errno: eacces, want: denial{actions: "open,read", path: below("one", 127)}},
		trial{name: "129 components are denied", control: []string{"open", "r", below("ws", 128)},
			probe: []string{"open", "r", below("ws", 129)}, errno: eacces, want: deep("ws", 129, 128)},
		trial{name: "130 components are denied", control: []string{"open", "r", below("ws", 128)},
			probe: []string{"open", "r", below("ws", 130)}, errno: eacces, want: deep("ws", 130, 128)},
		trial{name: "129 components in a secret place are denied", control: []string{"open", "r", below("ws", 128)},
			probe: []string{"open", "r", below("secret", 129)}, errno: eacces, want: deep("secret", 129, 128)},
	)
}

// TestLongPaths opens files whose path no system call could name at once: the
// verdict is exact, the event keeps the end of the path.
func TestLongPaths(t *testing.T) {
	s := newStage(t, permit(look, "@/ws/"))
	name := strings.Repeat("n", 255)
	for _, dir := range []string{"ws", "secret"} {
		s.dig(dir, name, 20, "file")
	}
	cut := "..." + strings.Repeat("/"+name, 15) + "/file"
	s.run(trial{name: "path beyond PATH_MAX is exact", control: []string{"down", "@/ws", "20", name, "open", "r", "file"},
		probe: []string{"down", "@/secret", "20", name, "open", "r", "file"}, errno: eacces,
		want: denial{actions: "open,read", path: cut, status: abi.PathCut}})
}

// TestNameLengths opens names around the boundaries between names that a table
// slot holds, names that a dentry holds and names that neither holds.
func TestNameLengths(t *testing.T) {
	lengths := []int{1, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 39, 40, 41, 254, 255}
	twin := func(n int, last string) string { return "@/n/" + strings.Repeat("a", n-1) + last }
	var granted []string
	for _, n := range lengths {
		granted = append(granted, twin(n, "a"))
	}
	s := newStage(t, permit(look, granted...))
	for _, n := range lengths {
		s.tree(twin(n, "a")[2:], twin(n, "b")[2:])
		s.run(trial{name: fmt.Sprintf("name of %d bytes is exact", n), control: []string{"open", "r", twin(n, "a")},
			probe: []string{"open", "r", twin(n, "b")}, errno: eacces, want: denial{actions: "open,read", path: twin(n, "b")}})
	}
}
