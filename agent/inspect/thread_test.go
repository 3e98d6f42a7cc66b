package inspect

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

// What ends the first thread has its main run on it.
func init() {
	if len(os.Args) > 2 && os.Args[1] == "do" && os.Args[2] == "headless" {
		runtime.LockOSThread()
	}
}

// later has a process wait for SIGUSR1.
const later = "later"

// beHeadless is a process whose first thread has ended, or will if args[1] is later, and has
// a name of its own, while others hold the file args[0] open, and mapped to be executed.
func beHeadless(args []string) {
	must(os.WriteFile("/proc/self/comm", []byte("first"), 0))
	fd, err := unix.Open(args[0], unix.O_RDONLY, 0)
	must(err)
	_, err = unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	must(err)
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGUSR1)
	wait := args[len(args)-1] == later
	go func() {
		defer os.Exit(0) // nobody waits for the main
		for !wait && !over(statIn(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/stat", os.Getpid()))) {
			time.Sleep(time.Millisecond)
		}
		ready()
	}()
	if wait {
		<-told
	}
	if unix.Gettid() != os.Getpid() {
		must(errors.New("main is not on the first thread"))
	}
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0) // of this thread alone
}

// headless starts one. The control: the kernel tells nothing of it by its number.
func headless(t *testing.T, path string, more ...string) (p Process, args []string) {
	t.Helper()
	cmd := do(t, "headless", append([]string{path}, more...)...)
	cmd.Env = []string{"OWN=value"}
	p = start(t, cmd)
	dir := fmt.Sprintf("/proc/%d/", p.PID)
	if s, err := statIn(unix.AT_FDCWD, dir+"stat"); err != nil || s.state != "Z" || s.threads < 2 {
		t.Fatalf("its first thread lives: %+v, %v", s, err)
	}
	if exe, err := os.Readlink(dir + "exe"); err == nil {
		t.Fatalf("it has an executable: %q", exe)
	}
	if text, err := os.ReadFile(dir + "cmdline"); err == nil && len(text) != 0 {
		t.Fatalf("it has a command line: %q", text)
	}
	return p, cmd.Args
}

// contentFile makes a file of which the text is its name.
func contentFile(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAProcessWhoseFirstThreadEndedIsToldWhole(t *testing.T) {
	path := contentFile(t, "held")
	p, args := headless(t, path, "a word")
	exe, _ := os.Executable()
	lives := func(h Head) {
		t.Helper()
		stat := fmt.Sprintf("/proc/%d/task/%d/stat", p.PID, h.Thread)
		if h.PID != p.PID || h.Thread == p.PID || over(statIn(unix.AT_FDCWD, stat)) || h.Gone || h.Failed != nil || h.Cut != nil || h.Started != p.Start*tick {
			t.Errorf("%+v", h)
		}
	}
	r := one[ProcessRecord](t, Processes, p)
	if lives(r.Head); !slices.Equal(r.Args, args) || r.Executable != exe || r.State == "Z" || r.State == "" || r.Threads < 2 {
		t.Errorf("%+v", r)
	}
	if r.Comm != "first" || r.PPID != os.Getpid() || !slices.Equal(r.NSPID, []uint32{uint32(p.PID)}) || r.UID == nil || r.Cgroup == "" {
		t.Errorf("%+v", r)
	}
	d := one[DescriptorsRecord](t, Descriptors, p)
	if lives(d.Head); !slices.ContainsFunc(d.Descriptors, func(d Descriptor) bool { return d.Target == path && d.Thread == 0 }) {
		t.Errorf("%+v", d)
	}
	x := one[ExecutablesRecord](t, Executables, p)
	if lives(x.Head); x.Executable == nil || x.Executable.Path != exe || x.Executable.SHA256 == "" || find(t, x, path).SHA256 != sumOf([]byte("held")) || find(t, x, exe).SHA256 != x.Executable.SHA256 {
		t.Errorf("%+v", x)
	}
	e := one[EnvironmentRecord](t, Environment, p)
	if lives(e.Head); len(e.Variables) != 1 || e.Variables[0].Name != "OWN" {
		t.Errorf("%+v", e)
	}
	own, n := one[NamespacesRecord](t, Namespaces, named(t, os.Getpid())), one[NamespacesRecord](t, Namespaces, p)
	if lives(n.Head); len(n.Namespaces) < 8 || n.Namespaces["mnt"] != own.Namespaces["mnt"] {
		t.Errorf("%+v", n)
	}
	c := one[CredentialsRecord](t, Credentials, p)
	if lives(c.Head); len(c.UID) != 4 || c.Effective == "" {
		t.Errorf("%+v", c)
	}
}

// silently is how a process is held by what only looks.
func silently(int, string) {}

func TestANumberThatIsAnothersByNowIsNoThread(t *testing.T) {
	p, _ := headless(t, contentFile(t, "held"))
	h := hold(p, silently)
	defer h.close()
	if h.Thread == 0 || h.lost() {
		t.Fatalf("%+v", h.Head)
	}
	for _, tid := range []int{os.Getpid(), 1, 1 << 29, p.PID} { // the last has ended
		if fd := h.open(tid); fd >= 0 {
			unix.Close(fd)
			t.Errorf("%d is taken for a thread of process %d", tid, p.PID)
		}
	}
	fd := h.open(h.Thread)
	if fd < 0 {
		t.Fatalf("thread %d is not known", h.Thread)
	}
	unix.Close(fd)
}

func TestAProcessIsReadAgainIfTheThreadEnds(t *testing.T) {
	cmd := do(t, "headless", contentFile(t, "held"), later)
	p := start(t, cmd)
	words, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer words.Close()
	l, tries := &look{words: words}, 0
	r := l.record(p, func(l *look, held *process) any {
		l.spent.Descriptors++
		if tries++; tries == 1 {
			if err := unix.Kill(p.PID, unix.SIGUSR1); err != nil || held.Thread != 0 {
				t.Fatal(err, held.Thread)
			}
			for end := time.Now().Add(time.Minute); !held.ended(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("its first thread does not end")
				}
			}
		}
		return readProcess(l, held)
	}).(ProcessRecord)
	if tries != 2 || r.Thread == 0 || r.State == "Z" || !slices.Equal(r.Args, cmd.Args) || l.spent.Descriptors != 1 {
		t.Errorf("%d tries, %d descriptors, %+v", tries, l.spent.Descriptors, r)
	}
}

// beTables is a process of which args[0] threads have descriptors of their own, each with
// args[1] of the file args[2].
func beTables(args []string) {
	threads, err := strconv.Atoi(args[0])
	must(err)
	count, err := strconv.Atoi(args[1])
	must(err)
	time.Sleep(time.Millisecond) // the runtime opens for its timers what it would open later
	done := make(chan struct{})
	for range threads {
		thread.Start(func() {
			must(unix.Unshare(unix.CLONE_FILES))
			for range count {
				_, err := unix.Open(args[2], unix.O_RDONLY, 0)
				must(err)
			}
			done <- struct{}{}
			select {}
		})
	}
	for range threads {
		<-done
	}
	ready()
}

// lookApart is a helper whose kernel compares no tables.
func lookApart([]string) {
	compareTables = func(int, int) int { return 1 }
	must(Helper(os.Stdin, os.Stdout))
}

// ofFile are those that are told of a file.
func ofFile(r DescriptorsRecord, path string) (list []Descriptor) {
	for _, d := range r.Descriptors {
		if d.Target == path {
			list = append(list, d)
		}
	}
	return list
}

func TestAThreadsOwnDescriptorsAreTold(t *testing.T) {
	path := contentFile(t, "held")
	p := start(t, do(t, "tables", "2", "1", path))
	dir := fmt.Sprintf("/proc/%d/", p.PID)
	first := open(t, p.PID, p.PID)
	for _, helper := range []string{"look", "apart"} {
		var text strings.Builder
		if err := Run(t.Context(), []string{"/proc/self/exe", "do", helper}, Request{Collector: Descriptors, Processes: []Process{p}}, &text); err != nil {
			t.Fatal(err)
		}
		r := decode[DescriptorsRecord](t, text.String()).Processes[0]
		list := ofFile(r, path)
		if len(list) != 2 || list[0].Thread == list[1].Thread || len(r.Descriptors) != first+2 || r.Cut != nil || r.Failed != nil || r.Thread != 0 {
			t.Fatalf("%s: %+v, of %d in its first table", helper, r, first)
		}
		for _, d := range list {
			if target, err := os.Readlink(fmt.Sprintf("%stask/%d/fd/%d", dir, d.Thread, d.FD)); err != nil || target != path || d.Thread == p.PID {
				t.Errorf("%s: %+v: %q, %v", helper, d, target, err)
			}
		}
	}
}

// open counts the descriptors of a thread.
func open(t *testing.T, pid, tid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/task/%d/fd", pid, tid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// openApart counts those of all threads that have a file open.
func openApart(t *testing.T, pid int, path string) (all int) {
	t.Helper()
	links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/fd/*", pid)) // the pattern is well formed
	threads := map[string]bool{}
	for _, link := range links {
		if target, _ := os.Readlink(link); target == path {
			threads[filepath.Dir(link)] = true
		}
	}
	for _, link := range links {
		if threads[filepath.Dir(link)] {
			all++
		}
	}
	return all
}

func TestThreadsDescriptorsHaveBounds(t *testing.T) {
	path := contentFile(t, "held")
	p := start(t, do(t, "tables", "2", "600", path))
	r := one[DescriptorsRecord](t, Descriptors, p)
	all := open(t, p.PID, p.PID) + openApart(t, p.PID, path)
	if len(r.Descriptors) != MaxDescriptors || r.Cut["descriptors"] != (Total{Total: int64(all)}) {
		t.Errorf("%d of %d told, cut %v", len(r.Descriptors), all, r.Cut)
	}
	p = start(t, do(t, "tables", fmt.Sprint(MaxTables+5), "1", path))
	r = one[DescriptorsRecord](t, Descriptors, p)
	told := map[int]bool{}
	for _, d := range ofFile(r, path) {
		told[d.Thread] = true
	}
	if len(told) != MaxTables-1 || told[0] || !r.Cut["descriptors"].AtLeast || r.Failed != nil {
		t.Errorf("%d threads told, cut %v, failed %v", len(told), r.Cut, r.Failed)
	}
}

func TestDescriptorsThatRepeatHaveBounds(t *testing.T) {
	path := contentFile(t, "held")
	p := start(t, do(t, "tables", "1", "1", path))
	for left, want := range map[int]int{1000: 1, 1: 0} {
		var text strings.Builder
		r := newRun(helperArgs, Request{Collector: Descriptors, Processes: []Process{p}}, &text)
		r.request.Spent.Repeated = AllRepeated - left
		if err := r.all(t.Context()); err != nil {
			t.Fatal(err)
		}
		record := decode[DescriptorsRecord](t, text.String()).Processes[0]
		if n := len(ofFile(record, path)); n != want || (record.Cut == nil) != (want == 1) {
			t.Errorf("%d left: %d told, cut %v", left, n, record.Cut)
		}
		if spent := r.request.Spent.Repeated; want == 0 && spent != AllRepeated || spent == AllRepeated-left {
			t.Errorf("%d left: %d spent", left, spent)
		}
	}
}

func TestAProcessIsNotSearchedForEverForWhatRepeats(t *testing.T) {
	const threads, more = 200, 50
	path := contentFile(t, "held")
	cmd := do(t, "tables", fmt.Sprint(threads), "1", path)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd.ExtraFiles = slices.Repeat([]*os.File{null}, more)
	p := start(t, cmd)
	first := open(t, p.PID, p.PID)
	r := one[DescriptorsRecord](t, Descriptors, p)
	all := first + openApart(t, p.PID, path)
	if n := len(ofFile(r, path)); n > MaxRepeated/more || n < threads/2 || r.Cut["descriptors"] != (Total{Total: int64(all)}) {
		t.Errorf("%d of %d told, %d in the first table, cut %v", n, all, first, r.Cut)
	}
}
