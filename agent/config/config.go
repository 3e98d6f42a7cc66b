// Package config reads the agent's configuration: YAML, checked to the last key
// before anything is done with it. Errors name file, line and column.
package config

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stockade-dev/stockade/agent/dial"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Defaults of what a file leaves out.
const (
	defaultMemory = 512 << 20
	defaultTables = 16 << 20
	defaultEvents = 4 << 20

	defaultDeadline = 5 * time.Second
)

// Config is one file.
type Config struct {
	// File is its name, as errors give it.
	File string
	// Socket is where the agent listens.
	Socket string
	Limits Limits
	Asks   Asks
	// Strict attaches the hooks that strict workloads need, of runs and of templates to come.
	Strict bool
	// Metrics is the address that serves them beside the socket, "" for none.
	Metrics string
	// Log is that of workloads that name none, and of denials that no workload takes.
	Log Log
	// Disarm is beyond how many workloads nothing but lockdown is done by itself.
	Disarm    tripwire.Rate
	Workloads []Workload
	// Containers are templates for those of containers: the first that selects one is its.
	Containers []Template
	// ContainersFrom is a file with more templates, for who writes them by program; "" is
	// none, and it need not be there.
	ContainersFrom string
}

// Asks is about operations that wait for the agent.
type Asks struct {
	// Deadline is how long one waits at most: then it is refused.
	Deadline time.Duration
}

// Limits bound what the agent takes, in bytes.
type Limits struct {
	// Memory is what the agent's own process may take before it works harder
	// to free some.
	Memory int64
	// Tables is the kernel memory for the tables of all workloads; a reload
	// needs room for the old and the new table.
	Tables int64
	// Events is the size of the ring of denials, a power of two.
	Events int64
}

// Workload is one workload that a file declares.
type Workload struct {
	Name string
	// Cgroups are paths or globs, relative to the cgroup2 mount, without a
	// slash in front. Units are names of systemd units.
	Cgroups, Units []string
	// Root is the process whose root directory the paths of the policies start
	// from: a number, or a file that holds one; "" is the agent.
	Root string
	// Policies are files, or folders of *.cedar files; Entities is a file.
	Policies  []string
	Entities  string
	Principal string
	Baseline  string
	// Labels select it, beside its principal.
	Labels label.Set
	// Budget is beyond how many denials it is responded to; nil for none.
	Budget *tripwire.Budget
	// Handled are the actions to enforce beside the default ones.
	Handled abi.ActionMask
	Mode    abi.Mode
	// Strict: code comes from files alone, and every use of a descriptor is judged.
	Strict bool
	// Grants are what the boundary lets it do beside what every workload may.
	Grants abi.Grants
	Log    Log
	// Sinks get its denials beside the log.
	Sinks []Sink

	file  string
	lines map[string]place // of each key
}

// Log is where the denials of a workload go. No file means standard error.
type Log struct {
	File string
	JSON bool
}

// Sink is one of a kind; what its argument says is its own.
type Sink struct{ Kind, Argument string }

// Dir is the folder that relative paths count from.
func (w *Workload) Dir() string { return filepath.Dir(w.file) }

// SinkKey is the key of the nth of Sinks, for Errorf.
func SinkKey(n int) string { return fmt.Sprintf("sinks[%d]", n) }

// Errorf is an error about a key of the workload, with its place.
func (w *Workload) Errorf(key, format string, args ...any) error {
	at, ok := w.lines[key]
	if !ok {
		at = w.lines["name"]
	}
	return at.errorf(w.file, format, args...)
}

// Read reads and checks a file. Relative paths in it count from its folder.
func Read(file string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w: nothing is changed; check the path", err)
	}
	return Parse(file, text)
}

// Parse is Read for a text.
func Parse(file string, text []byte) (*Config, error) {
	d := decoderOf(file)
	n, err := d.document(text)
	if err != nil {
		return nil, err
	}
	c, err := d.config(n)
	if err == nil {
		err = c.readApart()
	}
	if err == nil {
		err = c.complete()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *decoder) config(n *yaml.Node) (*Config, error) {
	c := &Config{File: d.file, Socket: dial.DefaultSocket, Limits: Limits{defaultMemory, defaultTables, defaultEvents}, Asks: Asks{defaultDeadline}, Disarm: tripwire.DefaultDisarm}
	return c, d.mapping(n, "the configuration", fields{
		"socket":  func(v *yaml.Node) error { return d.path(v, &c.Socket) },
		"log":     func(v *yaml.Node) error { return d.log(v, &c.Log) },
		"limits":  func(v *yaml.Node) error { return d.limits(v, &c.Limits) },
		"asks":    func(v *yaml.Node) error { return d.asks(v, &c.Asks) },
		"strict":  func(v *yaml.Node) error { return d.yes(v, &c.Strict) },
		"metrics": func(v *yaml.Node) error { return d.metrics(v, &c.Metrics) },
		"responses": func(v *yaml.Node) error {
			return d.mapping(v, "responses", fields{"disarm": func(v *yaml.Node) error { return d.rate(v, &c.Disarm) }}, nil)
		},
		"workloads": func(v *yaml.Node) error {
			return d.list(v, "workloads", func(item *yaml.Node) error {
				w, err := d.workload(item)
				c.Workloads = append(c.Workloads, w)
				return err
			})
		},
		"containers": func(v *yaml.Node) error {
			return d.list(v, "containers", func(item *yaml.Node) error {
				t, err := d.template(item)
				c.Containers = append(c.Containers, t)
				return err
			})
		},
		"containers_from": func(v *yaml.Node) error { return d.path(v, &c.ContainersFrom) },
	}, nil)
}

// complete checks workloads against each other, and gives them what all have.
func (c *Config) complete() error {
	seen := map[string]bool{}
	for _, w := range c.All() {
		if seen[w.Name] {
			return w.Errorf("name", "name %q: two workloads have it: nothing is changed; choose another", w.Name)
		}
		seen[w.Name] = true
		if _, own := w.lines["log"]; !own {
			w.Log = c.Log
		}
		if err := w.checkSinks(); err != nil {
			return err
		}
	}
	return nil
}

// All are the workloads, and what templates make of containers, but for broken ones.
func (c *Config) All() (list []*Workload) {
	for i := range c.Workloads {
		list = append(list, &c.Workloads[i])
	}
	for i := range c.Containers {
		if c.Containers[i].Broken != nil {
			continue
		}
		list = append(list, &c.Containers[i].Workload)
	}
	return list
}

func (d *decoder) limits(n *yaml.Node, l *Limits) error {
	return d.mapping(n, "limits", fields{
		"memory": func(v *yaml.Node) error { return d.size(v, &l.Memory, 32<<20, 1<<40) },
		"tables": func(v *yaml.Node) error { return d.size(v, &l.Tables, 64<<10, 1<<30) },
		"events": func(v *yaml.Node) error {
			if err := d.size(v, &l.Events, 4<<10, 1<<30); err != nil {
				return err
			}
			if l.Events&(l.Events-1) != 0 {
				return d.at(v).errorf(d.file, "%s %q: no power of two: nothing is changed; choose one, for example 4MiB", d.key, v.Value)
			}
			return nil
		},
	}, nil)
}

func (d *decoder) asks(n *yaml.Node, a *Asks) error {
	return d.mapping(n, "asks", fields{
		"deadline": func(v *yaml.Node) error { return d.duration(v, &a.Deadline, 50*time.Millisecond, time.Minute) },
	}, nil)
}

func (d *decoder) log(n *yaml.Node, l *Log) error {
	return d.mapping(n, "log", fields{
		"file": func(v *yaml.Node) error { return d.path(v, &l.File) },
		"format": func(v *yaml.Node) error {
			var format string
			err := d.choice(v, &format, "text", "json")
			l.JSON = format == "json"
			return err
		},
	}, nil)
}

func (d *decoder) workload(n *yaml.Node) (Workload, error) {
	w := Workload{Baseline: "runtime", file: d.file, lines: map[string]place{}}
	keys := d.plan(&w)
	keys["match"] = func(v *yaml.Node) error { return d.match(v, &w) }
	keys["root"] = func(v *yaml.Node) error { return d.root(v, &w.Root) }
	if err := d.mapping(n, "a workload", keys, w.lines); err != nil {
		return w, err
	}
	w.Handled |= abi.DefaultActions
	return w, d.complete(n, &w, "match", "policies", "principal")
}

// complete says which key is missing.
func (d *decoder) complete(n *yaml.Node, w *Workload, keys ...string) error {
	for _, key := range append([]string{"name"}, keys...) {
		if _, ok := w.lines[key]; !ok {
			return d.at(n).errorf(d.file, "workload %q: %s is missing: nothing is changed; add it", w.Name, key)
		}
	}
	return nil
}

// plan has the keys that say how a workload is held, whatever it is.
func (d *decoder) plan(w *Workload) fields {
	return fields{
		"name":      func(v *yaml.Node) error { return d.text(v, &w.Name) },
		"policies":  func(v *yaml.Node) error { return d.paths(v, &w.Policies) },
		"entities":  func(v *yaml.Node) error { return d.path(v, &w.Entities) },
		"principal": func(v *yaml.Node) error { return d.text(v, &w.Principal) },
		"labels":    func(v *yaml.Node) error { return d.labels(v, &w.Labels) },
		"responses": func(v *yaml.Node) error { return d.budget(v, &w.Budget) },
		"baseline":  func(v *yaml.Node) error { return d.choice(v, &w.Baseline, "runtime", "none") },
		"handle":    func(v *yaml.Node) error { return d.actions(v, &w.Handled) },
		"mode":      func(v *yaml.Node) error { return d.mode(v, &w.Mode) },
		"strict":    func(v *yaml.Node) error { return d.yes(v, &w.Strict) },
		"caps":      func(v *yaml.Node) error { return d.caps(v, &w.Grants.Caps) },
		"sockets":   func(v *yaml.Node) error { return d.sockets(v, &w.Grants.Sockets) },
		"log":       func(v *yaml.Node) error { return d.log(v, &w.Log) },
		"sinks":     func(v *yaml.Node) error { return d.sinks(v, w) },
	}
}

func (d *decoder) labels(n *yaml.Node, to *label.Set) error {
	*to = label.Set{}
	return d.pairs(n, to.Add)
}

// pairs reads a mapping of texts to texts.
func (d *decoder) pairs(n *yaml.Node, add func(key, value string) error) error {
	if n.Kind != yaml.MappingNode {
		return d.at(n).errorf(d.file, "%s: not a mapping: nothing is changed; write KEY: VALUE", d.key)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
			return d.at(value).errorf(d.file, "%s: not a text: nothing is changed; write KEY: VALUE", d.key)
		}
		if err := add(key.Value, value.Value); err != nil {
			return d.at(key).errorf(d.file, "%w: nothing is changed", err)
		}
	}
	return nil
}

func (d *decoder) match(n *yaml.Node, w *Workload) error {
	err := d.mapping(n, "match", fields{
		"cgroup": func(v *yaml.Node) error { return d.globs(v, &w.Cgroups) },
		"unit":   func(v *yaml.Node) error { return d.units(v, &w.Units) },
	}, nil)
	if err == nil && len(w.Cgroups)+len(w.Units) == 0 {
		err = d.at(n).errorf(d.file, "match: empty: nothing is changed; name a cgroup or a unit")
	}
	return err
}

// globs takes paths relative to the mount of cgroup2.
func (d *decoder) globs(n *yaml.Node, to *[]string) error {
	return d.texts(n, to, func(v *yaml.Node, text string) (string, error) {
		clean := strings.TrimPrefix(path.Clean("/"+text), "/")
		if _, err := path.Match(clean, ""); err != nil {
			return "", d.at(v).errorf(d.file, "cgroup %q: not a pattern: nothing is changed; * and ? and [a-z] match within one component", text)
		}
		if clean == "" || strings.Contains("/"+text+"/", "/../") {
			return "", d.at(v).errorf(d.file, "cgroup %q: not beneath the root of cgroup2: nothing is changed; the root holds the agent and the whole system: name a group in it", text)
		}
		if strings.HasPrefix(text, "/sys/fs/cgroup") {
			return "", d.at(v).errorf(d.file, "cgroup %q: written with the mount point: nothing is changed; paths count from there: leave it out", text)
		}
		return clean, nil
	})
}

func (d *decoder) units(n *yaml.Node, to *[]string) error {
	return d.texts(n, to, func(v *yaml.Node, text string) (string, error) {
		suffix := path.Ext(text)
		if strings.ContainsAny(text, "/*?[ ") || suffix != ".service" && suffix != ".scope" && suffix != ".slice" {
			return "", d.at(v).errorf(d.file, "unit %q: not the whole name of a service, scope or slice: nothing is changed; for example ci-runner.service", text)
		}
		return text, nil
	})
}

func (d *decoder) root(n *yaml.Node, to *string) error {
	if err := d.text(n, to); err != nil || strings.Trim(*to, "0123456789") == "" {
		return err
	}
	*to = d.absolute(*to)
	return nil
}

func (d *decoder) actions(n *yaml.Node, to *abi.ActionMask) error {
	var names []string
	return d.texts(n, &names, func(v *yaml.Node, text string) (string, error) {
		a, ok := abi.ParseEnforced(text)
		if !ok {
			return "", d.at(v).errorf(d.file, "handle %q: no action that can be enforced: nothing is changed; use one of %s", text, abi.EnforcedActions)
		}
		*to |= abi.MaskOf(a)
		return text, nil
	})
}

func (d *decoder) sockets(n *yaml.Node, to *uint64) error {
	var names []string
	return d.texts(n, &names, func(v *yaml.Node, text string) (string, error) {
		s, ok := abi.ParseSocket(text)
		if !ok {
			return "", d.at(v).errorf(d.file, "sockets %q: no kind of sockets that can be granted: nothing is changed; use one of %s", text, strings.Join(abi.SocketNames(), ", "))
		}
		*to |= s.Mask()
		return text, nil
	})
}

func (d *decoder) mode(n *yaml.Node, to *abi.Mode) error {
	var text string
	if err := d.choice(n, &text, "enforce", "audit"); err != nil {
		return err
	}
	if text == "audit" {
		*to = abi.Audit
	}
	return nil
}

func (d *decoder) caps(n *yaml.Node, to *uint64) error {
	var names []string
	return d.texts(n, &names, func(v *yaml.Node, text string) (string, error) {
		bit, err := abi.ParseCapability(text)
		if err != nil {
			return "", d.at(v).errorf(d.file, "caps %q: %w: nothing is changed; use some of %s", text, err, strings.Join(abi.CapabilityNames(), ", "))
		}
		if bit == abi.SysTime { // whatever the policies say now, others may come
			return "", d.at(v).errorf(d.file, "caps %q: without effect under an agent, whose policies may read the clock: nothing is changed; leave it out", text)
		}
		*to |= bit
		return text, nil
	})
}
