package vmtest

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// races is how often a race is tried: STOCKADE_RACES, or fewer where there is
// one processor, which hardly races.
func races(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("STOCKADE_RACES"); text != "" {
		return must1(strconv.Atoi(text))(t)
	}
	if runtime.NumCPU() == 1 {
		return 10_000
	}
	return 100_000
}

// TestRace opens a file while an outsider moves its directory between two
// places. The places are chosen such that a walk that mixes both sees an
// allowed path: the name of one and the parent of the other.
//
//	@
//	├── A/      A/one/ may be read
//	│   ├── one → the decoy's directory, in half of its time
//	│   └── two → the canary's directory, in half of its time
//	└── B/      B/two/ may be read
//	    ├── one → the canary's directory, in the other half
//	    └── two → the decoy's directory, in the other half
func TestRace(t *testing.T) {
	s := newStage(t, permit(look, "@/A/one/", "@/B/two/"))
	s.tree("A/two/file", "B/two/file")
	n := races(t)
	canaryDir := must1(os.Open(s.at("@/A/two")))(t)
	defer canaryDir.Close()
	decoyDir := must1(os.Open(s.at("@/B/two")))(t)
	defer decoyDir.Close()
	var canary unix.Stat_t
	must(t, unix.Stat(s.at("@/A/two/file"), &canary))

	stop := s.shuffle()
	s.storm("canary by its directory is never opened", n, 0, canary.Ino, canaryDir, "/proc/self/fd/3/file")
	s.storm("canary by its names is never opened", n/2, 0, canary.Ino, canaryDir,
		s.at("@/A/two/file"), s.at("@/B/one/file"), s.at("@/A/one/file"), s.at("@/B/two/file"))
	s.storm("decoy by its directory is always opened", n/2, n/2, canary.Ino, decoyDir, "/proc/self/fd/3/file")

	stop()
}

// shuffle lets an outsider move the directories between their places, until the
// returned function is called.
func (s *stage) shuffle() (halt func()) {
	t := s.t
	var stop atomic.Bool
	moves := make(chan int)
	places := [2][2]string{{s.at("@/A/two"), s.at("@/B/one")}, {s.at("@/B/two"), s.at("@/A/one")}}
	go func() {
		runtime.LockOSThread()
		count := 0
		for ; !stop.Load(); count++ {
			for _, p := range places {
				if err := unix.Rename(p[count%2], p[1-count%2]); err != nil {
					count = -1 << 30
				}
			}
		}
		moves <- count
	}()
	return func() {
		t.Helper()
		stop.Store(true)
		if count := <-moves; count <= 0 {
			t.Errorf("the outsider could not move the directories (%d)", count)
		} else {
			t.Logf("directories moved %d times", count)
		}
	}
}

// TestRaceLinks is TestRace for hard links: of the decoy they are made, of the
// canary never. @/ws has the rights of the decoy's places.
func TestRaceLinks(t *testing.T) {
	const some = "open read create delete move"
	s := newStage(t, permit(some, "@/A/one/", "@/B/two/", "@/ws/"))
	s.tree("A/two/file", "B/two/file", "ws/")
	n := races(t) / 4
	canaryDir := must1(os.Open(s.at("@/A/two")))(t)
	defer canaryDir.Close()
	decoyDir := must1(os.Open(s.at("@/B/two")))(t)
	defer decoyDir.Close()
	var canary unix.Stat_t
	must(t, unix.Stat(s.at("@/A/two/file"), &canary))
	stop := s.shuffle()
	for _, op := range []string{"link", "rename"} {
		s.stormOf([]string{"racemove", op, s.at("@/ws/new")}, "canary by its directory gets no name by "+op, n, 0, canary.Ino, canaryDir, "/proc/self/fd/3/file")
		s.stormOf([]string{"racemove", op, s.at("@/ws/new")}, "decoy by its directory gets one by "+op, n, n/4, canary.Ino, decoyDir, "/proc/self/fd/3/file")
	}
	stop()
}

// storm runs one race of n opens, of which at least some must succeed, and
// accounts for every denial.
func (s *stage) storm(name string, n, atLeast int, canary uint64, dir *os.File, paths ...string) {
	s.t.Helper()
	s.stormOf([]string{"race"}, name, n, atLeast, canary, dir, paths...)
}

// stormOf is storm of another operation than opening.
func (s *stage) stormOf(op []string, name string, n, atLeast int, canary uint64, dir *os.File, paths ...string) {
	s.t.Helper()
	want := isDenied
	if atLeast > 0 {
		want = isAllowed
	}
	s.step(name, want, func() {
		t := s.t
		from := must1(s.Counters(s.id))(t)
		a := s.start("", []*os.File{dir}, eacces, slices.Concat([]string{"gate"}, op, []string{fmt.Sprint(n), fmt.Sprint(canary)}, paths)...)
		a.ready()
		a.pass()
		reasons := map[abi.Reason]int{}
		received := 0
		done := make(chan struct{})
		go func() { a.wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
			}
			for _, e := range s.take(t, s.id) {
				received++
				reasons[e.Reason]++
			}
			runtime.Gosched()
		}
		var opened, denied, absent, back int // back: denied on the way back
		if k, _ := fmt.Sscanf(counted(a.text), "%d %d %d %d", &opened, &denied, &absent, &back); k < 3 || a.code != 1 {
			t.Errorf("%v %s", a, a.text)
		}
		c := must1(s.Counters(s.id))(t)
		if got := int(c.Denied - from.Denied); got != denied+back || received+int(c.Dropped-from.Dropped) != got {
			t.Errorf("%d denied by the probe's count, %d by the counter, %d events, %d dropped", denied, got, received, c.Dropped-from.Dropped)
		}
		if opened < atLeast || opened+denied+absent != n {
			t.Errorf("%d opened of %d, want at least %d", opened, n, atLeast)
		}
		if n := reasons[abi.ReasonTorn]; atLeast > 0 && n > 0 {
			t.Errorf("%d denied although permitted: renames tore every walk", n)
		}
		for r := range reasons {
			if r != abi.ReasonPolicy && r != abi.ReasonTorn && r != abi.ReasonGain {
				t.Errorf("%d events: %s", reasons[r], r)
			}
		}
		t.Logf("%d opens: %d opened, %d denied (%d by policy, %d torn), %d absent", n, opened, denied, reasons[abi.ReasonPolicy], reasons[abi.ReasonTorn], absent)
		s.seq, s.denied, s.dropped = c.Denied, c.Denied, c.Dropped
	})
}
