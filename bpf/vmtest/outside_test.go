package vmtest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// outside is what a workload without any grant there must not change, as somebody
// outside sees it. Each part is text, a line for each thing.
type outside map[string]string

// lookout plants files and a message queue and looks at them, and at the machine.
type lookout struct {
	tree   string
	before outside
}

func newLookout(t *testing.T) *lookout {
	t.Helper()
	l := &lookout{tree: "/tmp/" + probes.Outside}
	os.RemoveAll(l.tree) // of a test that failed
	must(t, os.MkdirAll(l.tree+"/dir", 0o755))
	for _, name := range []string{"/file", "/dir/file"} {
		must(t, os.WriteFile(l.tree+name, []byte("outside"), 0o644))
	}
	must(t, os.Symlink("file", l.tree+"/link"))
	must(t, l.send([]byte("outside")))
	t.Cleanup(func() {
		os.RemoveAll(l.tree)
		name := must1(unix.BytePtrFromString(probes.Queue))(t)
		unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(name)), 0, 0)
	})
	l.before = l.look()
	return l
}

func queueDescriptor(flags int) (int, error) {
	name, err := unix.BytePtrFromString(probes.Queue)
	if err != nil {
		return -1, err
	}
	fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(name)), uintptr(flags|unix.O_CLOEXEC), 0o600, 0, 0, 0)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// send puts a message into the queue.
func (l *lookout) send(message []byte) error {
	queue, err := queueDescriptor(unix.O_CREAT | unix.O_RDWR | unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer unix.Close(queue)
	_, _, errno := unix.Syscall6(unix.SYS_MQ_TIMEDSEND, uintptr(queue), uintptr(unsafe.Pointer(&message[0])), uintptr(len(message)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func text(path string) string {
	content, _ := os.ReadFile(path)
	return string(content)
}

var corrupted = regexp.MustCompile(`HardwareCorrupted:.*\n`)

func (l *lookout) look() outside {
	return outside{
		"mounts":       text("/proc/thread-self/mountinfo"),
		"memory":       corrupted.FindString(text("/proc/meminfo")),
		"interfaces":   "lo " + text("/sys/class/net/lo/flags") + text("/proc/thread-self/net/route"),
		"settings":     "core_pattern " + text("/proc/sys/kernel/core_pattern") + "hostname " + text("/proc/sys/kernel/hostname"),
		"files":        l.files(),
		"queue":        queueState(),
		"process 1":    processOne(),
		"its children": childrenOfOne(),
		"groups":       groups(),
	}
}

// files is the planted tree.
func (l *lookout) files() string {
	var b strings.Builder
	filepath.WalkDir(l.tree, func(path string, d fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		fmt.Fprintf(&b, "%s %v %o %d %d:%d size %d changed %v", path, err, st.Mode, st.Nlink, st.Uid, st.Gid, st.Size, st.Ctim)
		if err == nil && d.Type().IsRegular() {
			fmt.Fprintf(&b, " %.8x %q", sha256.Sum256([]byte(text(path))), listXattrs(path))
		}
		b.WriteString("\n")
		return nil
	})
	return b.String()
}

func queueState() string {
	fd, err := queueDescriptor(unix.O_RDONLY)
	if err != nil {
		return err.Error()
	}
	defer unix.Close(fd)
	var attr [8]int64 // flags, most messages, their size, messages that are there
	if _, _, errno := unix.Syscall(unix.SYS_MQ_GETSETATTR, uintptr(fd), 0, uintptr(unsafe.Pointer(&attr))); errno != 0 {
		return errno.Error()
	}
	return fmt.Sprintf("%d messages of at most %d\n", attr[3], attr[1])
}

var steady = regexp.MustCompile(`(?m)^(Name|Uid|Gid|Groups|TracerPid|SigIgn|Cap\w+|NoNewPrivs|Seccomp|Cpus_allowed_list):.*\n|^State:\s+[tTZX].*\n`)

func processOne() string {
	var b strings.Builder
	for _, name := range []string{"exe", "cwd", "root", "ns/mnt", "ns/net", "ns/cgroup"} {
		target, _ := os.Readlink("/proc/1/" + name)
		fmt.Fprintln(&b, name, target)
	}
	for _, name := range []string{"cgroup", "oom_score_adj", "limits"} {
		b.WriteString(text("/proc/1/" + name))
	}
	priority, _ := unix.Getpriority(unix.PRIO_PROCESS, 1)
	fmt.Fprintln(&b, "priority", priority)
	b.WriteString(strings.Join(steady.FindAllString(text("/proc/1/status"), -1), ""))
	return b.String()
}

// childrenOfOne are those that belong to no workload of a test.
func childrenOfOne() string {
	var list []string
	threads, _ := filepath.Glob("/proc/1/task/*/children")
	for _, name := range threads {
		for pid := range strings.FieldsSeq(text(name)) {
			group, _ := os.ReadFile("/proc/" + pid + "/cgroup")
			stat := text("/proc/" + pid + "/stat")
			ended := strings.Contains(stat, ") Z ") || strings.Contains(stat, ") X ")
			if len(group) > 0 && !ended && !bytes.Contains(group, []byte("/vmtest-")) {
				list = append(list, pid+" "+strings.TrimSpace(text("/proc/"+pid+"/comm"))+"\n")
			}
		}
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// groups are the cgroups beside those of tests.
func groups() string {
	var b strings.Builder
	filepath.WalkDir(cgroups, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		if strings.HasPrefix(d.Name(), "vmtest-") {
			return filepath.SkipDir
		}
		fmt.Fprint(&b, path)
		for _, name := range []string{"cgroup.freeze", "cgroup.type", "cgroup.subtree_control", "cgroup.max.descendants", "pids.max", "memory.max", "cpu.max"} {
			fmt.Fprintf(&b, " %s", strings.TrimSpace(text(path+"/"+name)))
		}
		b.WriteString("\n")
		return nil
	})
	return b.String()
}

// changed says what is not as it was, "" if all is.
func (l *lookout) changed() string {
	difference := l.before.difference(l.look())
	for range 10 { // a process that ends is everybody's for a moment
		if !strings.HasPrefix(difference, "its children") {
			break
		}
		time.Sleep(20 * time.Millisecond)
		difference = l.before.difference(l.look())
	}
	return difference
}

func (o outside) difference(now outside) string {
	names := []string{"mounts", "memory", "interfaces", "settings", "files", "queue", "process 1", "groups", "its children"}
	for _, name := range names {
		if o[name] == now[name] {
			continue
		}
		was, is := slices.Collect(strings.Lines(o[name])), slices.Collect(strings.Lines(now[name]))
		var b strings.Builder
		fmt.Fprintf(&b, "%s changed outside:", name)
		for _, line := range was {
			if !slices.Contains(is, line) {
				b.WriteString(" -" + strings.TrimSpace(line))
			}
		}
		for _, line := range is {
			if !slices.Contains(was, line) {
				b.WriteString(" +" + strings.TrimSpace(line))
			}
		}
		return b.String()
	}
	return ""
}

// TestFuzzLooksOutside changes one thing after the other outside: the fuzzer's lookout
// must tell each, and nothing before and after.
func TestFuzzLooksOutside(t *testing.T) {
	if os.Getenv("STOCKADE_VM") != "1" {
		t.Skip("runs in the VM: it breaks a page of memory, and more")
	}
	l := newLookout(t)
	dir, group, host, orphan := l.tree+"/dir", cgroups+"/lie", strings.TrimSpace(text("/proc/sys/kernel/hostname")), ""
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	for _, lie := range []struct {
		what       string
		tell, undo func() error
	}{
		{"mounts", func() error { return unix.Mount("none", dir, "tmpfs", 0, "") }, nil},
		{"mounts", func() error { return unix.Mount("none", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "") }, nil},
		{"groups", func() error { return os.Mkdir(group, 0o755) }, func() error { return os.Remove(group) }},
		{"process 1", func() error { return unix.Setpriority(unix.PRIO_PROCESS, 1, 5) }, func() error { return unix.Setpriority(unix.PRIO_PROCESS, 1, 0) }},
		{"its children", func() (err error) {
			out, err := exec.Command("sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!").Output()
			orphan = strings.TrimSpace(string(out))
			return err
		}, func() error { return exec.Command("kill", "-KILL", orphan).Run() }},
		{"settings", func() error { return unix.Sethostname([]byte("lie")) }, func() error { return unix.Sethostname([]byte(host)) }},
		{"queue", func() error { return l.send([]byte("lie")) }, nil},
		{"files", func() error { return os.WriteFile(l.tree+"/file", []byte("outside"), 0o644) }, nil}, // the same again
		{"memory", poison, nil},
	} {
		if told := l.changed(); told != "" {
			t.Fatalf("before %s: %s", lie.what, told)
		}
		if err := lie.tell(); lie.what == "memory" && err == unix.EINVAL && l.before["memory"] == "" {
			t.Log("memory: this kernel knows no broken pages")
			continue
		} else if err != nil {
			t.Fatalf("%s: %v", lie.what, err)
		}
		told := l.changed()
		if !strings.HasPrefix(told, lie.what+" changed outside: ") {
			t.Errorf("%s: it told %q", lie.what, told)
		}
		t.Log(told)
		if lie.undo == nil {
			l.before = l.look()
			continue
		}
		must(t, lie.undo())
	}
}

// poison makes one page of the machine unusable, for good. Who does it is killed.
func poison() error {
	exe, err := prober()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, "-1", "", fmt.Sprint(int(unix.EINVAL)), "poison")
	if cmd.Run(); cmd.ProcessState.ExitCode() == probes.Denied {
		return unix.EINVAL
	}
	return nil
}
