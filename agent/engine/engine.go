// Package engine registers a runtime that wraps the real one, stockade-runc, with
// container engines: it edits their configurations as text, so that comments and
// what others wrote stay, and takes its own entry out again.
//
// What an engine needs is planned first, from what its files say; nothing is written
// before all of them are understood.
package engine

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/agent/container"
)

// Where things lie unless somebody says otherwise.
const (
	DefaultName    = "stockade"
	DefaultWrapper = "/usr/local/bin/stockade-runc"
)

// marker begins each comment of ours in a file of somebody else's.
const marker = "# stockade install-runtime: "

// unchanged is what follows from every error before the first write.
const unchanged = "nothing was changed"

// Options say what is registered, and with which engine.
type Options struct {
	Engine  string
	Name    string // of the runtime
	Wrapper string // the wrapper's program
	CopyTo  string // the wrapper is copied to there, below the root, from outside of it
	Runtime string // the real runtime's program; "" is found
	Socket  string // the agent's; "" is the default, or what is configured already
	Config  string // the engine's main file; "" is the usual one
	Root    string // all files lie below it: a host's, as a container sees it, or a test's
	// Version says what `containerd --version` prints; nil if nobody can.
	Version func() (string, error)
}

// kind is what is known of an engine.
type kind struct {
	name    string
	config  string // its main file
	install func(*work) error
	remove  func(*work) error
}

var kinds = []kind{
	{"docker", "/etc/docker/daemon.json", installDocker, removeDocker},
	{"containerd", "/etc/containerd/config.toml", installContainerd, removeContainerd},
	{"podman", "/etc/containers/containers.conf", installPodman, removePodman},
	{"crio", "/etc/crio/crio.conf", installCrio, removeCrio},
	{"nerdctl", "", installNerdctl, func(*work) error { return nil }},
}

// Engines lists the names of the engines.
func Engines() []string {
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

// work is a plan in the making.
type work struct {
	Options
	plan   Plan
	source string // what is copied
}

// name is what a runtime, a RuntimeClass's handler and a key of TOML may all be called.
var name = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// begin looks at what is asked for.
func begin(o Options) (*work, kind, error) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == o.Engine })
	if i < 0 {
		return nil, kind{}, fmt.Errorf("engine %q: unknown: %s; use %s", o.Engine, unchanged, strings.Join(Engines(), ", "))
	}
	if o.Name == "" {
		o.Name = DefaultName
	}
	if o.Wrapper == "" {
		o.Wrapper = DefaultWrapper
	}
	if !name.MatchString(o.Name) {
		return nil, kind{}, fmt.Errorf("name %q: not the name of a runtime: %s; use a-z, 0-9 and -", o.Name, unchanged)
	}
	if slices.Contains([]string{"runc", "crun", "kata", "runsc", "youki"}, o.Name) {
		return nil, kind{}, fmt.Errorf("name %q: that of another runtime: %s; use another name", o.Name, unchanged)
	}
	for _, p := range []struct{ flag, path string }{{"wrapper", o.Wrapper}, {"copy-to", o.CopyTo}, {"runtime", o.Runtime}, {"socket", o.Socket}, {"config", o.Config}} {
		if p.path != "" && (!filepath.IsAbs(p.path) || strings.ContainsFunc(p.path, func(r rune) bool { return r < ' ' || r == '"' || r == '\'' || r == '\\' })) {
			return nil, kind{}, fmt.Errorf("%s %q: not a plain path from the root: %s; write it as /DIR/FILE", p.flag, p.path, unchanged)
		}
	}
	if o.Config == "" {
		o.Config = kinds[i].config
	}
	w := &work{Options: o, plan: Plan{root: o.Root}}
	return w, kinds[i], w.beginCopy()
}

// Install plans to register the wrapper. Nothing is written before Apply.
func Install(o Options) (*Plan, error) {
	w, k, err := begin(o)
	if err != nil {
		return nil, err
	}
	if w.CopyTo != "" {
		if err := w.copyWrapper(); err != nil {
			return nil, err
		}
	} else if !w.executable(w.Wrapper) {
		return nil, fmt.Errorf("wrapper %s: no program there: %s; install stockade-runc, or name it with --wrapper", w.Wrapper, unchanged)
	}
	if err := k.install(w); err != nil {
		return nil, err
	}
	return &w.plan, nil
}

// Remove plans to take the entry out again.
func Remove(o Options) (*Plan, error) {
	w, k, err := begin(o)
	if err != nil {
		return nil, err
	}
	if err := k.remove(w); err != nil {
		return nil, err
	}
	if err := w.removeWrapperConfig(); err != nil {
		return nil, err
	}
	return &w.plan, nil
}

// at is where a path lies.
func (w *work) at(path string) string { return filepath.Join("/", w.Root, path) }

// todo adds what is left to the user.
func (w *work) todo(format string, args ...any) {
	w.plan.Todo = append(w.plan.Todo, fmt.Sprintf(format, args...))
}

// reload says how the engine comes to read its files. Whether it has is known when it is
// asked to.
func (w *work) reload(verb, unit, says string) { w.plan.reload = &reload{verb, unit, says} }

// installNerdctl has nothing to edit: nerdctl names the program itself. By its name, and
// not by its path, which versions take for that of a shim.
func installNerdctl(w *work) error {
	if err := w.wrapperConfig(""); err != nil {
		return err
	}
	base := filepath.Base(w.Wrapper)
	if !slices.Contains(container.Programs, filepath.Dir(w.Wrapper)) {
		return fmt.Errorf("wrapper %s: not where containerd looks for programs: %s; put it in /usr/local/bin", w.Wrapper, unchanged)
	}
	w.todo("nerdctl has no list of runtimes: `nerdctl run --runtime %s …`, or `ctr run --runc-binary %s …`", base, w.Wrapper)
	return nil
}
