package vmtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// engine is a container engine, by its commands.
type engine struct {
	name    string
	version []string                    // the command that tells it
	load    []string                    // loads an image from the file that follows
	run     []string                    // runs a container; in the background with -d
	wrapped []string                    // the option that names the wrapper to it
	bare    []string                    // and the one that names the real runtime
	unnamed bool                        // the name is an argument after the image, not an option
	share   func(b *engineBox) []string // options: its folder is /vol
	exec    func(name string) []string
	restart func(name string) [][]string
	start   func(name string) [][]string // once it is stopped
	remove  func(name string) [][]string
	state   []string // prints STATE of the container that follows
	labels  bool     // the wrapper reads them
	names   bool     // and names and images
}

// dockerLike are the commands that Podman has of Docker.
func dockerLike(program string) engine {
	of := func(argv ...string) func(string) [][]string {
		return func(name string) [][]string { return [][]string{append(append([]string{program}, argv...), name)} }
	}
	return engine{
		name: program, version: []string{program, "--version"}, load: []string{program, "load", "--input"},
		run:     []string{program, "run", "--network", "none"},
		share:   func(b *engineBox) []string { return []string{"--volume", b.dir + ":/vol"} },
		exec:    func(name string) []string { return []string{program, "exec", name} },
		restart: of("restart", "--time", "0"), start: of("start"), remove: of("rm", "--force"),
		state: []string{program, "inspect", "--format", "{{.State.Status}}"}, names: true,
	}
}

// engines are those that the machine has.
func engines() []engine {
	docker, podman := dockerLike("docker"), dockerLike("podman")
	docker.wrapped, docker.bare, docker.labels = []string{"--runtime", "stockade"}, []string{"--runtime", "runc"}, true
	podman.wrapped, podman.bare = []string{"--runtime", wrapper}, []string{"--runtime", "runc"}
	podman.remove = func(name string) [][]string { return [][]string{{"podman", "rm", "--force", "--time", "0", name}} }
	task := func(argv ...string) []string { return append([]string{"ctr", "task"}, argv...) }
	end := func(name string) [][]string {
		return [][]string{task("kill", "--signal", "9", name), task("rm", "--force", name)}
	}
	begin := func(name string) [][]string {
		return [][]string{task("rm", "--force", name), task("start", "--detach", name)}
	}
	return []engine{docker, podman, {
		name: "containerd", version: []string{"ctr", "--version"}, load: []string{"ctr", "image", "import"},
		run: []string{"ctr", "run"}, wrapped: []string{"--runc-binary", wrapper}, bare: []string{"--runc-binary", "runc"}, unnamed: true,
		share: func(b *engineBox) (options []string) {
			if cgroupManager() == "systemd" {
				options = []string{"--runc-systemd-cgroup", "--cgroup", "system.slice:ctr:" + b.name}
			}
			return append(options, "--mount", "type=bind,src="+b.dir+",dst=/vol,options=rbind:rw")
		},
		exec: func(name string) []string {
			return task("exec", "--exec-id", fmt.Sprint("e", time.Now().UnixNano()), name)
		},
		restart: func(name string) [][]string { return append(end(name), task("start", "--detach", name)) },
		start:   begin,
		remove:  func(name string) [][]string { return append(end(name), []string{"ctr", "container", "rm", name}) },
	}}
}

// cgroupManager is who makes the cgroups of containers, as engines call it.
func cgroupManager() string {
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return "systemd"
	}
	return "cgroupfs"
}

// engineBox is a container of an engine.
type engineBox struct {
	*talk
	e        *engine
	image    string
	options  []string // of run: annotations and labels
	runtime  []string
	argv     []string
	terminal bool // is what it has for its three descriptors
}

// enginesDir holds what the containers share with the host.
const enginesDir = "/srv/engines/"

// box makes a container, which begins when a test says so.
func (e *engine) box(t *testing.T, name string, change ...func(*engineBox)) *engineBox {
	t.Helper()
	b := &engineBox{talk: newTalk(t, name, enginesDir+e.name+"-"+name), e: e, image: plainImage, runtime: e.wrapped}
	b.options = []string{"--annotation", template + "=box"}
	b.argv = talking
	for _, f := range change {
		f(b)
	}
	t.Cleanup(func() {
		for _, argv := range e.remove(name) {
			command(argv...)
		}
	})
	return b
}

func bearing(options ...string) func(*engineBox) { return func(b *engineBox) { b.options = options } }
func of(image string) func(*engineBox)           { return func(b *engineBox) { b.image = image } }
func running(argv ...string) func(*engineBox)    { return func(b *engineBox) { b.argv = argv } }
func withTerminal(b *engineBox)                  { b.terminal = true }
func bare(b *engineBox)                          { b.runtime = b.e.bare }

// command runs one to its end, which comes within two minutes.
func command(argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// commands runs them, one after the other.
func commands(list [][]string) (all string, err error) {
	for _, argv := range list {
		out, failed := command(argv...)
		all, err = all+out, failed
	}
	return all, err
}

// run has the engine run it, in the background where that is asked for.
func (b *engineBox) run(background bool) (string, error) {
	argv := slices.Clone(b.e.run)
	if background {
		argv = append(argv, "-d")
	}
	argv = slices.Concat(argv, b.runtime, b.options, b.e.share(b))
	if b.e.unnamed {
		argv = append(argv, "docker.io/"+b.image, b.name)
	} else {
		argv = append(argv, "--name", b.name, b.image)
	}
	argv = append(argv, b.argv...)
	if b.terminal {
		argv = slices.Insert(argv, len(b.e.run), "--tty")
		if !b.e.unnamed {
			argv = slices.Insert(argv, len(b.e.run), "--interactive")
		}
		argv = []string{"script", "--quiet", "--return", "--command", "'" + strings.Join(argv, "' '") + "'", "/dev/null"}
	}
	return command(argv...)
}

// begin runs it, and waits until it is ready.
func (b *engineBox) begin() *engineBox {
	b.t.Helper()
	if out, err := b.run(true); err != nil {
		b.t.Fatalf("%s: %v: %s", b.name, err, out)
	}
	b.ready()
	return b
}

// execs demands what a program says that is executed in it, in lower case, and how it ends.
func (b *engineBox) execs(well bool, says string, argv ...string) {
	b.t.Helper()
	out, err := command(append(b.e.exec(b.name), argv...)...)
	if (err == nil) != well || !strings.Contains(strings.ToLower(out), says) {
		b.t.Errorf("%s: exec %v: %v: %s", b.name, argv, err, out)
	}
}

// fails demands that it does not start, and that the engine says why.
func (b *engineBox) fails(says string) {
	b.t.Helper()
	out, err := b.run(false)
	b.t.Logf("%s: %v: %s", b.e.name, err, strings.TrimSpace(out))
	if err == nil || !strings.Contains(strings.ToLower(out), says) {
		b.t.Errorf("%s: %v: %s\nwant %q", b.name, err, out, says)
	}
	if text, err := os.ReadFile(b.dir + "/out"); err != nil || len(text) > 0 {
		b.t.Errorf("%s says %q, %v", b.name, text, err)
	}
	if b.state() == "running" {
		b.t.Errorf("%s runs", b.name)
	}
}

// state is what the engine says that it does.
func (b *engineBox) state() string {
	if b.e.state != nil {
		out, _ := command(append(slices.Clone(b.e.state), b.name)...)
		return strings.TrimSpace(out)
	}
	out, _ := command("ctr", "task", "ls")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == b.name {
			return strings.ToLower(f[2])
		}
	}
	return ""
}

// id is what the engine calls it.
func (b *engineBox) id() string {
	b.t.Helper()
	if b.e.unnamed {
		return b.name
	}
	out, err := command(b.e.name, "inspect", "--format", "{{.Id}}", b.name)
	if err != nil {
		b.t.Fatalf("%s: inspect: %v: %s", b.name, err, out)
	}
	return strings.TrimSpace(out)
}
