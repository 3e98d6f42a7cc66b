package vmtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// fuzzTime is how long the fuzzer runs: STOCKADE_FUZZ, such as 10m.
func fuzzTime(t *testing.T) time.Duration {
	t.Helper()
	if text := os.Getenv("STOCKADE_FUZZ"); text != "" {
		return must1(time.ParseDuration(text))(t)
	}
	return 25 * time.Second
}

// fuzzSeed is the first seed: STOCKADE_FUZZ_SEED, or another each time.
func fuzzSeed(t *testing.T) int64 {
	t.Helper()
	if text := os.Getenv("STOCKADE_FUZZ_SEED"); text != "" {
		return must1(strconv.ParseInt(text, 0, 64))(t)
	}
	return time.Now().UnixNano() & (1<<40 - 1)
}

// token is what the canaries hold. Nothing else in the machine does.
var token = []byte("canary-7c1f9b52e0d84a63-end")

const fuzzOperations = 1500 // of one process

// fuzzing is a stage with canaries. Policy by place:
//
//	@
//	├── ws/          everything but execute
//	│   ├── tool     a program that must not run
//	│   └── sym → secret/key, symdir → secret, up → @
//	├── bin/tool     open, read, execute
//	├── look/key     open and read: must not change
//	├── top/         as ws
//	│   └── in/key   nothing: a canary whose ancestor may be changed
//	├── secret/      nothing
//	│   ├── key, hard (one file), dir/sub/key
//	│   └── tool     a program that must not run
//	├── bound/       bind of secret: nothing
//	├── lower/       of the overlay: nothing
//	└── ovl/
//	    ├── all/     as ws
//	    └── none/key nothing
type fuzzing struct {
	*border
	files    []*os.File // that every process of the fuzzer holds
	canaries map[string]canary
	outside  *lookout
	tapes    map[*attempt]probes.Tape // of those that run
	ended    string                   // what those did that ended since the last look outside
	looked   time.Time                // outside
	look     time.Duration            // that it took
	looks    int
	keeper   *attempt
	console  int // the kernel's log, from the beginning of the test on
	found    string
	outcomes map[int]int
	first    string // what the first process that failed said
	from     abi.Counters
	received uint64
}

func newFuzzing(t *testing.T, more ...string) *fuzzing {
	t.Helper()
	policies := append([]string{permit(anyUse, "@/ws/", "@/top/", "@/ovl/all/"), forbid("*", "@/top/in/"), permit("open read execute", "@/bin/"),
		permit(look, "@/look/")}, more...)
	f := &fuzzing{border: newBorder(t, policies...), canaries: map[string]canary{}, tapes: map[*attempt]probes.Tape{}, outcomes: map[int]int{}}
	f.tree("ws/own/", "bin/", "look/", "top/in/", "secret/dir/sub/", "bound/", "lower/all/a", "lower/none/")
	f.program("bin/tool")
	for _, name := range []string{"secret/key", "secret/dir/sub/key", "top/in/key", "lower/none/key"} {
		must(t, os.WriteFile(f.at("@/"+name), token, 0o644))
	}
	must(t, os.WriteFile(f.at("@/look/key"), []byte("not to be changed"), 0o644))
	must(t, os.WriteFile(f.at("@/secret/tool"), probes.Witness(), 0o755))
	must(t, os.Link(f.at("@/secret/key"), f.at("@/secret/hard")))
	must(t, unix.Mount(f.at("@/secret"), f.at("@/bound"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(f.at("@/bound"), unix.MNT_DETACH) })
	f.overlay()
	for _, dir := range []struct {
		path  string
		flags int
	}{{"/", unix.O_RDONLY}, {f.dir, unix.O_RDONLY}, {f.at("@/secret"), unix.O_PATH}, {f.at("@/secret/key"), unix.O_PATH}} {
		f.files = append(f.files, os.NewFile(uintptr(must1(unix.Open(dir.path, dir.flags|unix.O_CLOEXEC, 0))(t)), dir.path))
	}
	f.files = append(f.files, openTree(t, f.dir, unix.OPEN_TREE_CLONE))
	t.Cleanup(func() {
		for _, file := range f.files {
			file.Close()
		}
	})
	for _, name := range []string{"secret/key", "secret/dir/sub/key", "top/in/key", "lower/none/key", "secret/tool", "look/key", "secret", "secret/dir", "top/in", "look", "bin"} {
		f.canaries[name] = takeCanary(t, f.at("@/"+name))
	}
	f.keep()
	f.outside = newLookout(t)
	f.console = must1(unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0))(t)
	must1(unix.Seek(f.console, 0, unix.SEEK_END))(t)
	t.Cleanup(func() { unix.Close(f.console) })
	return f
}

// keep starts an outsider with the canary in its memory and as descriptor 3.
func (f *fuzzing) keep() {
	f.t.Helper()
	key := must1(os.Open(f.at("@/secret/key")))(f.t)
	defer key.Close()
	f.keeper = f.command([]*os.File{key}, "-1", "", 0, words("keeping", probes.Masked(token), "gate", "hold", "0"))
	f.keeper.startErr = f.keeper.cmd.Start()
	f.keeper.ready()
}

// canary is what must not change of a file.
type canary struct {
	stat    unix.Stat_t
	xattrs  string
	content []byte
}

func takeCanary(t *testing.T, path string) canary {
	t.Helper()
	var c canary
	c.content, _ = os.ReadFile(path)
	must(t, unix.Lsetxattr(path, "trusted.old", []byte("1"), 0))
	// Older than the last change: the next reading would be noted.
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{{Sec: 1}, {Sec: 2}}, 0))
	must(t, unix.Stat(path, &c.stat))
	c.xattrs = listXattrs(path)
	return c
}

func listXattrs(path string) string {
	names := make([]byte, 1024)
	n, err := unix.Listxattr(path, names)
	if err != nil {
		return err.Error()
	}
	return string(names[:n])
}

// compare compares the canaries with what they were.
func (f *fuzzing) compare() {
	for name, was := range f.canaries {
		var now unix.Stat_t
		if err := unix.Lstat(f.at("@/"+name), &now); err != nil {
			f.hole("%s: %v", name, err)
			continue
		}
		if name == "look/key" || name == "look" || name == "bin" {
			now.Atim = was.stat.Atim // reading is granted
		}
		if now != was.stat {
			f.hole("%s changed or was read: %+v, was %+v", name, now, was.stat)
		}
	}
}

// inspect looks into the canaries, and for their content elsewhere.
func (f *fuzzing) inspect() {
	f.compare()
	for name, was := range f.canaries {
		path := f.at("@/" + name)
		if got := listXattrs(path); got != was.xattrs {
			f.hole("%s: extended attributes %q, were %q", name, got, was.xattrs)
		}
		if content, _ := os.ReadFile(path); !bytes.Equal(content, was.content) {
			f.hole("%s: its content changed", name)
		}
	}
	filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(path, f.dir)
		if err == nil && d.IsDir() && (rel == "/secret" || rel == "/bound" || rel == "/lower" || rel == "/top/in" || rel == "/ovl/none") {
			return filepath.SkipDir
		}
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if content, err := os.ReadFile(path); err == nil && bytes.Contains(content, token) {
			f.hole("%s holds the canary's content", path)
		}
		return nil
	})
}

// hole notes what was found, and what the processes did that may have led there.
func (f *fuzzing) hole(format string, a ...any) {
	if f.found != "" {
		return
	}
	f.found = fmt.Sprintf(format, a...) + "\n" + f.ended
	for a, tape := range f.tapes {
		f.found += fmt.Sprintf("process %d, running:\n%v", a.cmd.Process.Pid, tape)
	}
}

// watch compares what lies outside with what it was. It looks so often that the tapes
// still hold what was done since.
func (f *fuzzing) watch() {
	if time.Since(f.looked) < max(100*time.Millisecond, 5*f.look) {
		return
	}
	began := time.Now()
	f.compare()
	if told := f.outside.changed(); told != "" {
		f.hole("%s", told)
	}
	f.looked, f.looks = time.Now(), f.looks+1
	f.look = f.looked.Sub(began)
	if len(f.tapes) > 0 {
		f.ended = ""
	}
}

// send starts one more process of the fuzzer.
func (f *fuzzing) send(seed int64) *attempt {
	f.t.Helper()
	f.refill()
	file, tape, err := probes.NewTape()
	must(f.t, err)
	defer file.Close()
	files := append(f.files[:len(f.files):len(f.files)], file)
	a := f.start("", files, unix.EEXIST, "fuzz", fmt.Sprint(seed), fmt.Sprint(fuzzOperations), probes.Masked(token), f.dir, fmt.Sprint(f.keeper.cmd.Process.Pid))
	must(f.t, a.startErr)
	f.tapes[a] = tape
	return a
}

// receive takes one that ended.
func (f *fuzzing) receive(a *attempt) {
	tape := f.tapes[a]
	f.ended += fmt.Sprintf("process %d, ended:\n%v", a.cmd.Process.Pid, tape)
	delete(f.tapes, a)
	tape.Close()
	f.compare()
	f.outcomes[a.code]++
	if a.code == probes.Denied {
		_, found, _ := strings.Cut(a.text, "found: ")
		what, _, _ := strings.Cut(found, "\n")
		f.hole("%s", what)
	} else if a.code != probes.Allowed && f.first == "" {
		f.first = a.String()
	}
}

// refill puts back what processes of the fuzzer may remove.
func (f *fuzzing) refill() {
	for _, dir := range []string{"ws/own", "ws/d", "top", "ovl/all"} {
		os.MkdirAll(f.at("@/"+dir), 0o755)
	}
	// The workload may have put a link in its place: nothing is written through it.
	tool := f.at("@/ws/tool")
	os.RemoveAll(tool)
	if file, err := os.OpenFile(tool, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755); err == nil {
		file.Write(probes.Witness())
		file.Chmod(0o755)
		file.Close()
	}
	for name, target := range map[string]string{"sym": "@/secret/key", "symdir": "@/secret", "up": "@"} {
		os.Symlink(f.at(target), f.at("@/ws/"+name))
	}
}

// run lets processes fuzz, a few at once, until the time is over or one has
// found something.
func (f *fuzzing) run(long time.Duration) {
	t := f.t
	t.Helper()
	seed := fuzzSeed(t)
	from := must1(f.Counters(f.id))(t)
	f.from, f.received = from, 0
	until := time.Now().Add(long)
	done := make(chan *attempt)
	started := map[*attempt]time.Time{}
	total, ops, killed, at := [3]int{}, 0, 0, seed
	for len(started) > 0 || f.found == "" && time.Now().Before(until) {
		if f.found == "" && time.Now().Before(until) && len(started) < runtime.NumCPU()+2 {
			a := f.send(at)
			at++
			started[a] = time.Now()
			go func() { done <- a.wait() }()
			continue
		}
		select {
		case a := <-done:
			delete(started, a)
			f.receive(a)
			for line := range strings.Lines(a.text) {
				var n [3]int
				if k, _ := fmt.Sscanf(line, "count %d %d %d", &n[0], &n[1], &n[2]); k == 3 {
					ops++
					for i := range n {
						total[i] += n[i]
					}
				}
			}
		case <-time.After(20 * time.Millisecond):
		}
		for a, since := range started {
			if time.Since(since) > 20*time.Second {
				if killed == 0 {
					t.Logf("stuck: %s", whereabouts(a.cmd.Process.Pid))
				}
				a.cmd.Process.Kill() // stuck in a call that blocks
				started[a] = time.Now()
				killed++
			}
		}
		f.count()
		f.watch()
	}
	t.Logf("seeds %d to %d: %d processes, %d operations, %d done, %d denied; %d processes were stuck; exit codes %v; %d looks outside, the last of %v", seed, at-1, ops, total[0], total[1], total[2], killed, f.outcomes, f.looks, f.look)
	if f.found == "" && (ops == 0 || total[1] < total[0]/50 || total[2] < total[0]/50) {
		t.Errorf("%d operations, %d done, %d denied: too few to mean anything: %s", total[0], total[1], total[2], f.first)
	}
}

// whereabouts tells what the threads of a process wait for.
func whereabouts(pid int) string {
	var b strings.Builder
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	for _, dir := range threads {
		call, _ := os.ReadFile(dir + "/syscall")
		where, _ := os.ReadFile(dir + "/wchan")
		fmt.Fprintf(&b, "%s in %s; ", strings.TrimSpace(string(call)), where)
	}
	return b.String()
}

// count takes the events that are there.
func (f *fuzzing) count() { f.received += uint64(len(f.take(f.t, f.id))) }

// finish looks at everything that processes of the fuzzer could have touched.
func (f *fuzzing) finish() {
	t := f.t
	t.Helper()
	f.looked = time.Time{}
	f.watch()
	f.inspect() // reads the canaries
	f.keeper.pass()
	if f.keeper.wait(); f.keeper.code != probes.Allowed {
		f.hole("the outsider: %v", f.keeper)
	}
	f.count()
	c := must1(f.Counters(f.id))(t)
	if lost := c.Dropped - f.from.Dropped; f.received+lost != c.Denied-f.from.Denied {
		t.Errorf("%d events and %d dropped for %d denials", f.received, lost, c.Denied-f.from.Denied)
	}
	f.seq, f.denied, f.dropped = c.Denied, c.Denied, c.Dropped
	if text := string(must1(os.ReadFile("/proc/sys/kernel/ftrace_enabled"))(t)); text != "1\n" {
		f.hole("ftrace_enabled holds %q", text)
	}
	line := make([]byte, 8192)
	for {
		n, err := unix.Read(f.console, line)
		if err == unix.EPIPE {
			continue // lines were lost
		}
		if err != nil {
			break
		}
		if trouble.Match(line[:n]) {
			t.Errorf("kernel log: %s", line[:n])
		}
	}
}

var trouble = regexp.MustCompile(`BUG:|Oops|WARNING:|general protection|KASAN|UBSAN|stack-protector|invalid opcode`)

// TestFuzz makes random system calls in a workload. What must hold whatever they
// do: the canaries' content is nowhere but in the canaries, their inodes are
// unchanged, nothing ran that may not, nothing changed outside, and enforcement is as
// it was before.
func TestFuzz(t *testing.T) {
	f := newFuzzing(t)
	must(t, os.Symlink(f.at("@/secret/key"), f.at("@/ws/tool"))) // as a workload may
	f.refill()
	control := func(when string) {
		f.stage.run(trial{name: "secret is denied " + when, control: words("open", "r", "@/look/key"), probe: words("open", "r", "@/secret/key"), errno: eacces, want: on("open,read", "@/secret/key")},
			trial{name: "program is denied " + when, control: words("exec", "@/bin/tool"), probe: words("exec", "@/secret/tool"), errno: eacces, want: on("execute", "@/secret/tool")})
	}
	control("before")
	f.step("random calls find no hole", isDenied, func() {
		f.run(fuzzTime(t))
		f.finish()
		if f.found != "" {
			f.t.Errorf("found: %s", f.found)
		}
	})
	control("after")
}

// TestFuzzFindsHoles plants holes, one of each kind: the fuzzer must find them.
func TestFuzzFindsHoles(t *testing.T) {
	for _, hole := range []struct {
		name, policy string
		lie          func(dir string) // a change outside meanwhile
	}{
		{"readable alias", permit(look, "@/bound/"), nil},
		{"writable alias", permit("open write", "@/bound/"), nil},
		{"executable workspace", permit("execute", "@/ws/"), nil},
		{"readable overlay", permit(look, "@/ovl/none/"), nil},
		{"mount outside", "", func(dir string) { unix.Mount("none", dir, "tmpfs", 0, "") }},
	} {
		t.Run(hole.name, func(t *testing.T) {
			f := newFuzzing(t, hole.policy)
			if hole.lie != nil {
				t.Cleanup(func() { unix.Unmount(f.outside.tree+"/dir", 0) })
				time.AfterFunc(time.Second, func() { hole.lie(f.outside.tree + "/dir") })
			}
			f.run(2 * time.Minute)
			f.finish()
			if f.found == "" {
				t.Error("the fuzzer did not find it")
			}
			what, steps, _ := strings.Cut(f.found, "\n")
			t.Log(what)
			if !strings.Contains(steps, " = ") {
				t.Errorf("it does not tell what led there: %q", steps)
			}
		})
	}
}
