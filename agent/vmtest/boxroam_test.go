package vmtest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What a runtime executes later goes to where the container's first process is by then: each
// of these tries to have that be somewhere that is not judged.

func init() {
	if len(os.Args) == 2 && os.Args[1] == "roam" {
		runtime.LockOSThread() // the first one, by whose namespaces a runtime enters
	}
}

// roam leaves the mount namespace of its container, and waits there.
func roam() int {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		fmt.Println("unshare:", err)
		return 1
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// roams makes that the entry.
func roams(c *container) {
	c.spec.Process.Args = []string{"/bin/roam", "roam"}
	program, err := os.ReadFile("/proc/self/exe")
	must(err)
	must(os.WriteFile(c.dir+"/rootfs/bin/roam", program, 0o755))
	for _, set := range []*[]string{&c.spec.Process.Capabilities.Bounding, &c.spec.Process.Capabilities.Effective, &c.spec.Process.Capabilities.Permitted} {
		*set = append(*set, "CAP_SYS_ADMIN")
	}
}

// roaming: a container whose first process is in another mount namespace than it was.
func (f *fleetOfBoxes) roaming(t *testing.T) {
	c := f.box(t, "roaming", annotated(map[string]string{template: "roaming"}), roams).begin()
	c.isConfined()
	c.refuses("/bin/cat", "/data/secret")
	c.refuses("/bin/touch", "/vol/mark")
	c.refuses("/bin/cat", "/data/ok") // its path is no container's any more
	if len(c.marks()) > 0 {
		t.Errorf("marks: %v", c.marks())
	}
	outside := 0
	await(t, "its denials", func() bool {
		outside = 0
		for _, d := range c.denials() {
			if strings.HasPrefix(d, "execute (outside)") {
				outside++
			}
		}
		return outside >= 3
	})
	if outside != 3 {
		t.Errorf("denied: %q", c.denials())
	}
	c.end()
}

// moved: a hook has put the first process into a cgroup beneath the container's.
func (f *fleetOfBoxes) moved(t *testing.T) {
	c := f.box(t, "moved", func(c *container) {
		script := `sub=/sys/fs/cgroup/boxes/` + c.id + `/sub; mkdir $sub; grep -o '"pid": *[0-9]*' | grep -o '[0-9]*$' >$sub/cgroup.procs`
		c.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}}}
	}).begin()
	if text, err := os.ReadFile("/sys/fs/cgroup/boxes/" + c.id + "/sub/cgroup.procs"); err != nil || len(text) == 0 {
		t.Errorf("the hook moved nothing: %q, %v", text, err)
	}
	c.isConfined()
	c.cannot("read", "/data/secret")
	c.refuses("/bin/touch", "/vol/mark")
	if len(c.marks()) > 0 {
		t.Errorf("marks: %v", c.marks())
	}
	c.wantDenials(secretDenied, touchDenied)
	c.end()
}

// paused: what is paused before its start is neither started nor entered, and no exec goes
// to a cgroup beside the container's.
func (f *fleetOfBoxes) paused(t *testing.T) {
	c := f.box(t, "paused")
	if err := c.create(); err != nil {
		t.Fatalf("create: %v: %s", err, c.said())
	}
	if out, err := c.do("exec", c.id, "/bin/touch", "/vol/mark"); err == nil {
		t.Errorf("exec before the start: %s", out)
	}
	if out, err := c.do("pause", c.id); err != nil {
		t.Fatalf("pause: %v: %s", err, out)
	}
	for _, argv := range [][]string{{"exec", "--ignore-paused", c.id, "/bin/touch", "/vol/mark"}, {"exec", c.id, "/bin/touch", "/vol/mark"}, {"start", c.id}} {
		if out, err := c.do(argv...); err == nil || !strings.Contains(out, "stockade-runc: ") && c.state() == "paused" {
			t.Errorf("%v: %v: %s", argv, err, out)
		}
	}
	if out, err := c.do("resume", c.id); err != nil {
		t.Fatalf("resume: %v: %s", err, out)
	}
	c.start()
	beside := "/sys/fs/cgroup/boxes/" + c.id + "-beside"
	must(os.Mkdir(beside, 0o755))
	defer os.Remove(beside)
	if out, err := c.do("exec", "--cgroup", "../"+filepath.Base(beside), c.id, "/bin/touch", "/vol/mark"); err == nil || !strings.Contains(out, "leads out of the container's cgroup") {
		t.Errorf("exec beside: %v: %s", err, out)
	}
	c.refuses("/bin/touch", "/vol/mark")
	if len(c.marks()) > 0 {
		t.Errorf("marks: %v", c.marks())
	}
	c.wantDenials(touchDenied)
	c.end()
}
