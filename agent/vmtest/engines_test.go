package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Templates of containers of engines: by annotation, image, name and label.
const enginesYAML = `
log: {file: /var/log/stockade.jsonl, format: json}
containers:
  - name: box
    match: {annotation: {stockade.dev/policy: box}}
    policies: [box.cedar]
    principal: 'Agent::"box"'
  - name: by-image
    match: {image: '*stockade/chosen:*'}
    policies: [box.cedar]
    principal: 'Agent::"image"'
  - name: by-name
    match: {name: 'chosen-*'}
    policies: [box.cedar]
    principal: 'Agent::"name"'
  - name: by-label
    match: {label: {chosen: 'yes'}}
    policies: [box.cedar]
    principal: 'Agent::"label"'
`

// engineFiles tell the engines of the wrapper, and to do without a network.
var engineFiles = map[string]string{
	"/etc/docker/daemon.json": `{"iptables": false, "ip6tables": false, "bridge": "none", "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=MANAGER"],
		"runtimes": {"stockade": {"path": "` + wrapper + `"}}}`,
	"/etc/containers/storage.conf":                       "[storage]\ndriver = \"overlay\"\nrunroot = \"/run/containers/storage\"\ngraphroot = \"/var/lib/containers/storage\"\n",
	"/etc/containers/containers.conf.d/50-stockade.conf": "[engine]\ncgroup_manager = \"MANAGER\"\nevents_logger = \"file\"\n[engine.runtimes]\nstockade = [\"" + wrapper + "\"]\n",
	"/etc/containers/policy.json":                        `{"default": [{"type": "insecureAcceptAnything"}]}`,
}

// TestEngines has engines start containers by the wrapper.
func TestEngines(t *testing.T) {
	inVM(t)
	must(os.RemoveAll(agentLog))
	must(os.MkdirAll(filepath.Dir(agentLog), 0o755))
	makeImage()
	for name, text := range engineFiles {
		put(name, strings.ReplaceAll(text, "MANAGER", cgroupManager()))
	}
	list := engines()
	for i := range list {
		serve(t, &list[i])
	}
	put(agentConf, enginesYAML)
	put("/policy/box.cedar", boxPolicy)
	put(wrapperConf, fmt.Sprintf(`{"runtime": "/usr/bin/runc", "wait": %q}`+"\n", waits))
	startAgent(t)
	defer retireAgent(t)
	for i := range list {
		t.Run(list[i].name, func(t *testing.T) { list[i].trials(t) })
	}
	put(wrapperConf, fmt.Sprintf(`{"runtime": "/usr/bin/crun", "wait": %q}`+"\n", waits))
	podman := list[slices.IndexFunc(list, func(e engine) bool { return e.name == "podman" })]
	t.Run("podman with crun", func(t *testing.T) {
		if cgroupManager() == "systemd" {
			t.Skip("crun asks systemd by way of a bus, and the machine has none")
		}
		podman.entry(t)
		podman.forbidden(t)
	})
}

func (e *engine) trials(t *testing.T) {
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"without the wrapper it is free", e.free},
		{"what it may not read is denied", e.entry},
		{"its first instruction is judged", e.first},
		{"it may have a terminal", e.terminal},
		{"an entry that no policy permits does not run", e.forbidden},
		{"what no template selects does not start", e.unmatched},
		{"templates select by what is known of it", e.selected},
		{"started again, it is confined again", e.again},
		{"without an agent it stays confined, and none starts", e.orphaned},
		{"kill stops it", e.killed},
	} {
		t.Run(c.name, func(t *testing.T) {
			attended(t)
			began := time.Now()
			c.test(t)
			t.Logf("took %v", time.Since(began))
		})
	}
}

// serve starts an engine's daemon, if it has one, and loads the image.
func serve(t *testing.T, e *engine) {
	t.Helper()
	ready := map[string][]string{"docker": {"dockerd", "docker", "info"}, "containerd": {"containerd", "ctr", "version"}}[e.name]
	if ready != nil {
		log, err := os.Create("/var/log/" + e.name)
		must(err)
		daemon := exec.Command(ready[0])
		daemon.Stdout, daemon.Stderr = log, log
		must(daemon.Start())
		t.Cleanup(func() {
			daemon.Process.Kill()
			daemon.Wait()
			if text, _ := os.ReadFile(log.Name()); t.Failed() {
				t.Logf("%s: %s", log.Name(), text)
			}
		})
		await(t, e.name, func() bool { _, err := command(ready[1:]...); return err == nil })
	}
	if out, err := command(append(slices.Clone(e.load), imageFile)...); err != nil {
		t.Fatalf("%s: loading an image: %v: %s", e.name, err, out)
	}
	version, _ := command(e.version...)
	t.Logf("%s", strings.TrimSpace(version))
}

// free is the control of all below: what is denied there is done here.
func (e *engine) free(t *testing.T) {
	b := e.box(t, "free", bare).begin()
	if got := b.ask("read", "/data/secret"); got != "done: secret" {
		t.Errorf("the entry: %s", got)
	}
	b.execs(true, "secret", "/bin/cat", "/data/secret")
	if out, err := e.box(t, "free-touch", bare, running("/bin/touch", "/vol/out")).run(false); err != nil {
		t.Errorf("touch: %v: %s", err, out)
	}
}

func (e *engine) entry(t *testing.T) {
	b := e.box(t, "entry").begin()
	b.confined()
	b.execs(true, "ok", "/bin/cat", "/data/ok")
	b.execs(false, "permission denied", "/bin/cat", "/data/secret")
	b.execs(false, "permission denied", "/bin/touch", "/vol/mark")
	b.denied("box", secretDenied, secretDenied, touchDenied)
	w := b.shown("box")
	want := [3]string{b.id(), "", ""}
	if e.names {
		want = [3]string{b.id(), "entry", plainImage}
	}
	if w == nil || w.Container == nil || w.Container.ID != want[0] || w.Container.Name != want[1] || !strings.HasSuffix(w.Container.Image, want[2]) {
		t.Errorf("ps shows %+v, want %q", w, want)
	}
}

// first: what the entry does at once is judged as what it does later.
func (e *engine) first(t *testing.T) {
	b := e.box(t, "first", running("/bin/cat", "/data/secret"))
	b.fails("can't open '/data/secret': permission denied")
	b.denied("box", secretDenied)
}

// terminal: its descriptors are then of a file system of the container.
func (e *engine) terminal(t *testing.T) {
	b := e.box(t, "terminal", running("/bin/sh", "-c", "echo it has $(cat /data/ok); cat /data/secret"), withTerminal)
	out, _ := b.run(false)
	for _, want := range []string{"it has ok", "can't open '/data/secret': Permission denied"} {
		if !strings.Contains(out, want) {
			t.Errorf("says %q, want %q", out, want)
		}
	}
	b.denied("box", secretDenied)
}

func (e *engine) forbidden(t *testing.T) {
	b := e.box(t, "touch", running("/bin/touch", "/vol/mark"))
	b.fails("permission denied")
	if _, err := os.Stat(b.dir + "/mark"); err == nil {
		t.Error("it ran")
	}
	b.denied("box", touchDenied)
}

func (e *engine) unmatched(t *testing.T) {
	e.box(t, "other", bearing("--annotation", template+"=other")).fails("no template of /policy/agent.yaml selects it")
	b := e.box(t, "none", bearing())
	b.fails("no template of /policy/agent.yaml selects it")
	if w := b.shown("box"); w != nil {
		t.Errorf("ps shows %+v", w)
	}
}

func (e *engine) selected(t *testing.T) {
	type one struct {
		template string
		known    bool
		box      *engineBox
	}
	for _, c := range []one{
		{"by-image", e.names, e.box(t, "image", bearing(), of(chosenImage))},
		{"by-name", e.names, e.box(t, "chosen-one", bearing())},
		{"by-label", e.labels, e.box(t, "label", bearing("--label", "chosen=yes"))},
	} {
		if !c.known {
			c.box.fails("no template of /policy/agent.yaml selects it")
			continue
		}
		c.box.begin().confined()
		c.box.denied(c.template, secretDenied)
	}
}

func (e *engine) again(t *testing.T) {
	b := e.box(t, "again").begin()
	b.confined()
	before := b.shown("box")
	if out, err := commands(e.restart(b.name)); err != nil {
		t.Fatalf("restart: %v: %s", err, out)
	}
	b.ready()
	b.confined()
	after := b.shown("box")
	if before == nil || after == nil || before.Name != after.Name || before.Container.PID == after.Container.PID {
		t.Errorf("ps shows %+v, then %+v", before, after)
	}
	b.denied("box", secretDenied, secretDenied)
}

func (e *engine) orphaned(t *testing.T) {
	b := e.box(t, "orphaned").begin()
	leave(t)
	b.confined()
	b.execs(true, "ok", "/bin/cat", "/data/ok")
	b.execs(false, "permission denied", "/bin/cat", "/data/secret")
	b.execs(false, "permission denied", "/bin/touch", "/vol/mark")
	late := e.box(t, "late")
	late.fails("no agent listens at /run/stockade/agent.sock")
	startAgent(t)
	b.confined()
	if b.shown("box") == nil {
		t.Error("ps shows it no more")
	}
	if out, err := commands(e.remove(late.name)); err != nil && !e.unnamed { // ctr keeps none that did not start
		t.Errorf("rm: %v: %s", err, out)
	}
	late.begin().confined()
}

func (e *engine) killed(t *testing.T) {
	b := e.box(t, "killed").begin()
	w := b.shown("box")
	if w == nil {
		t.Fatal("ps does not show it")
	}
	r := respond(t, 0, "kill", w.Name)
	if r.Outcome() != "verified: no process of it lives, and no socket of it is left" || r.Processes < 1 {
		t.Errorf("%+v", r)
	}
	await(t, "the engine to notice", func() bool { return b.state() != "running" })
	if out, err := commands(e.start(b.name)); err != nil { // under its policies again
		t.Fatalf("start: %v: %s", err, out)
	}
	b.ready()
	b.confined()
}

// engineWorkload is what ps shows of a container.
type engineWorkload struct {
	Name, Origin, Mode string
	Denied             uint64
	Container          *struct {
		Template, ID, Name, Image, Pod string
		PID                            int
	}
}

// workload is the name of the one that a template makes of it.
func (b *engineBox) workload(template string) string {
	const short = 12
	id := b.id()
	if !b.e.unnamed {
		id = id[:short]
	}
	return template + "." + id
}

// shown is what ps shows of it; nil: nothing.
func (b *engineBox) shown(template string) *engineWorkload {
	b.t.Helper()
	return shown(b.t, b.workload(template))
}

// shown is what ps shows of a container that is confined; nil: nothing.
func shown(t *testing.T, name string) *engineWorkload {
	t.Helper()
	for _, w := range allShown(t) {
		if w.Name == name && w.Origin == "container" && w.Mode == "enforce" {
			return w
		}
	}
	return nil
}

// allShown is what ps shows.
func allShown(t *testing.T) []*engineWorkload {
	t.Helper()
	r := stockade(t, "ps", "--json")
	var s struct{ Workloads []*engineWorkload }
	if err := json.Unmarshal([]byte(r.stdout), &s); r.code != 0 || err != nil {
		t.Fatalf("ps: exit %d, %v: %s%s", r.code, err, r.stdout, r.stderr)
	}
	return s.Workloads
}

// denied demands that these are what was denied to it.
func (b *engineBox) denied(template string, want ...string) {
	b.t.Helper()
	denied(b.t, b.workload(template), want...)
}

func denied(t *testing.T, name string, want ...string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); len(denialsOf(name)) < len(want) && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if got := denialsOf(name); !slices.Equal(got, want) {
		t.Errorf("%s: denied %q, want %q", name, got, want)
	}
}
