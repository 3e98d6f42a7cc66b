package vmtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	wrapper     = "/usr/bin/stockade-runc"
	wrapperConf = "/etc/stockade/runtime.json"
	bundles     = "/srv/bundles"
	template    = "stockade.dev/policy" // the annotation that chooses a template
)

// entry is what a container runs unless a test says otherwise: it does what it is told to,
// a line each, and answers with one.
var entry = []string{"/bin/sh", "-c", `echo ready; while read -r how what; do
	case $how in
	read) x=$(/bin/cat "$what" 2>&1) ;;
	write) x=$( (echo x >"$what") 2>&1) ;;
	run) x=$("$what" 2>&1) ;;
	esac && echo done: $x || echo failed: $x
done`}

// container is an OCI bundle and the runtime that it is for.
//
//	/srv/bundles/ID
//	├── config.json
//	├── volume/         /vol of the container: its marks
//	├── shut/key        /shut/key
//	├── file            /data/file
//	└── rootfs
//	    ├── bin/sh, cat, sleep     static, a file each
//	    ├── bin/touch              policy permits to execute the others, not this
//	    ├── data/ok                policy permits to read it
//	    └── data/secret            and forbids that
type container struct {
	t             *testing.T
	runtime       string // the program; the wrapper starts it where wrapped is set
	wrapped       bool
	id, dir, logs string
	spec          *specs.Spec
	in            io.WriteCloser // the input of its entry
	lines         chan string    // and what that prints
	mu            sync.Mutex
	errs          bytes.Buffer
}

// newContainer makes a bundle. What change does to it is done before it is written.
func newContainer(t *testing.T, runtime, id string, wrapped bool, change ...func(*container)) *container {
	t.Helper()
	c := &container{t: t, runtime: runtime, wrapped: wrapped, id: id, dir: bundles + "/" + id, logs: bundles + "/" + id + ".log"}
	must(os.RemoveAll(c.dir))
	must(os.RemoveAll(c.logs))
	for _, dir := range []string{"volume", "rootfs/bin", "rootfs/data", "rootfs/vol", "rootfs/shut", "rootfs/scratch", "rootfs/proc", "rootfs/dev", "rootfs/usr/lib", "rootfs/usr/lib64"} {
		must(os.MkdirAll(c.dir+"/"+dir, 0o755))
	}
	must(os.Chmod(c.dir+"/volume", 0o777))
	program, err := os.ReadFile("/vmtest/busybox")
	must(err)
	for _, name := range []string{"sh", "cat", "sleep", "touch"} {
		must(os.WriteFile(c.dir+"/rootfs/bin/"+name, program, 0o755))
	}
	for _, name := range []string{"rootfs/data/ok", "rootfs/data/secret", "rootfs/data/file", "file", "shut/key"} {
		put(c.dir+"/"+name, filepath.Base(name)+"\n")
	}
	c.spec = &specs.Spec{
		Version:     "1.0.2",
		Process:     &specs.Process{Args: entry, Env: []string{"PATH=/bin"}, Cwd: "/", NoNewPrivileges: true},
		Root:        &specs.Root{Path: "rootfs"},
		Hostname:    id,
		Annotations: map[string]string{template: "box"},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			c.bind("volume", "/vol"),
		},
		Linux: &specs.Linux{
			CgroupsPath: "/boxes/" + id,
			Namespaces:  []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}},
			MaskedPaths: []string{"/proc/kcore", "/proc/keys"},
			Resources:   &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
	capabilities := []string{"CAP_KILL", "CAP_AUDIT_WRITE"}
	c.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities}
	for _, f := range change {
		f(c)
	}
	text, err := json.Marshal(c.spec)
	must(err)
	must(os.WriteFile(c.dir+"/config.json", text, 0o644))
	t.Cleanup(c.remove)
	return c
}

// bind mounts a file or folder of the bundle.
func (c *container) bind(name, where string) specs.Mount {
	return specs.Mount{Destination: where, Type: "bind", Source: filepath.Join(c.dir, name), Options: []string{"rbind", "rprivate"}}
}

// runs makes an argument vector the entry.
func runs(argv ...string) func(*container) {
	return func(c *container) { c.spec.Process.Args = argv }
}

// annotated replaces the annotations.
func annotated(with map[string]string) func(*container) {
	return func(c *container) { c.spec.Annotations = with }
}

// inUserNamespace makes root of the container another user of the host.
func inUserNamespace(c *container) {
	const first = 100000
	maps := []specs.LinuxIDMapping{{ContainerID: 0, HostID: first, Size: 65536}}
	c.spec.Linux.UIDMappings, c.spec.Linux.GIDMappings = maps, maps
	c.spec.Linux.Namespaces = append(c.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	must(filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, err error) error {
		must(err)
		return os.Lchown(path, first, first)
	}))
}

// withVolumes has a read-only root, a file and a folder of the bundle, and a tmpfs.
func withVolumes(c *container) {
	c.spec.Root.Readonly = true
	c.spec.Mounts = append(c.spec.Mounts, c.bind("file", "/data/file"), c.bind("shut", "/shut"),
		specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}})
}

// withLibraries has those of the host: Debian's runtimes can be executed in it.
func withLibraries(c *container) {
	for _, name := range []string{"/usr/lib", "/usr/lib64"} {
		c.spec.Mounts = append(c.spec.Mounts, specs.Mount{Destination: name, Type: "bind", Source: name, Options: []string{"rbind", "rprivate", "ro"}})
		must(os.Symlink(name[1:], c.dir+"/rootfs/"+filepath.Base(name)))
	}
}

// command is one of the runtime, of which nothing takes longer than a minute.
func (c *container) command(args ...string) *exec.Cmd {
	runtime := c.runtime
	if c.wrapped {
		runtime = wrapper
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, runtime, append([]string{"--root", "/run/boxes", "--log", c.logs, "--log-format", "json"}, args...)...)
	cmd.WaitDelay = time.Second
	return cmd
}

// do runs a command of the runtime that has no part in the container's own output.
func (c *container) do(args ...string) (string, error) {
	out, err := c.command(args...).CombinedOutput()
	return string(out), err
}

// create creates the container. Its entry's three descriptors are pipes, as they are with
// containerd.
func (c *container) create() error {
	c.t.Helper()
	cmd := c.command("create", "--bundle", c.dir, c.id)
	input, in, err := os.Pipe()
	must(err)
	out, output, err := os.Pipe()
	must(err)
	errs, errors, err := os.Pipe()
	must(err)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, output, errors
	c.in, c.lines = in, make(chan string, 100)
	go func(lines chan<- string) {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
		out.Close()
		close(lines)
	}(c.lines)
	go func() {
		for s := bufio.NewScanner(errs); s.Scan(); {
			c.mu.Lock()
			fmt.Fprintln(&c.errs, s.Text())
			c.mu.Unlock()
		}
		errs.Close()
	}()
	err = cmd.Run()
	for _, f := range []*os.File{input, output, errors} {
		f.Close()
	}
	return err
}

// said is what the runtime and the entry wrote to standard error, and the runtime to its
// log.
func (c *container) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errs.String() + c.log()
}

// log is what the runtime wrote to its log.
func (c *container) log() string {
	text, _ := os.ReadFile(c.logs) // none: nothing was written
	return string(text)
}

// begin creates and starts a container, which then runs its entry.
func (c *container) begin() *container {
	c.t.Helper()
	if err := c.create(); err != nil {
		c.t.Fatalf("create %s: %v: %s", c.id, err, c.said())
	}
	c.start()
	return c
}

// start starts what was created, and waits until it is ready.
func (c *container) start() {
	c.t.Helper()
	if out, err := c.do("start", c.id); err != nil {
		c.t.Fatalf("start %s: %v: %s%s", c.id, err, out, c.said())
	}
	if line := c.line(); line != "ready" {
		c.t.Fatalf("%s says %q: %s", c.id, line, c.said())
	}
}

// line is the next that the entry prints; "" at its end.
func (c *container) line() string {
	c.t.Helper()
	select {
	case line := <-c.lines:
		return strings.TrimSpace(line)
	case <-time.After(30 * time.Second):
		c.t.Fatalf("%s says nothing: %s", c.id, c.said())
		return ""
	}
}

// ask lets the entry do something, and returns its answer.
func (c *container) ask(how, what string) string {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, how, what); err != nil {
		c.t.Fatalf("%s: %v: %s", c.id, err, c.said())
	}
	return c.line()
}

// can and cannot demand what the entry may do.
func (c *container) can(how, what, prints string) {
	c.t.Helper()
	if got := c.ask(how, what); got != strings.TrimSpace("done: "+prints) {
		c.t.Errorf("%s %s: %q, want \"done: %s\"", how, what, got, prints)
	}
}

func (c *container) cannot(how, what string) {
	c.t.Helper()
	if got := c.ask(how, what); !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, "ermission denied") {
		c.t.Errorf("%s %s: %q, want a failure by EACCES", how, what, got)
	}
}

// marks are the files in its volume.
func (c *container) marks() (names []string) {
	list, err := os.ReadDir(c.dir + "/volume")
	must(err)
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// state is what the runtime says that it does; "" where it knows of none.
func (c *container) state() string {
	var s struct{ Status string }
	out, err := c.command("state", c.id).Output()
	if err != nil || json.Unmarshal(out, &s) != nil {
		return ""
	}
	return s.Status
}

// end lets the entry end, and deletes the container.
func (c *container) end() {
	c.t.Helper()
	must(c.in.Close())
	await(c.t, "the end of "+c.id, func() bool { return c.state() == "stopped" })
	if out, err := c.do("delete", c.id); err != nil {
		c.t.Errorf("delete %s: %v: %s", c.id, err, out)
	}
}

// remove removes what is left, by the runtime itself.
func (c *container) remove() {
	if c.in != nil {
		c.in.Close()
	}
	c.wrapped = false
	if c.state() != "" {
		c.do("delete", "--force", c.id)
	}
	if s := c.state(); s != "" {
		c.t.Errorf("%s is left behind: %s", c.id, s)
	}
	must(os.RemoveAll(c.dir))
}
