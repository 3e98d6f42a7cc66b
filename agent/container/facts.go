// Package container says what is known of a container before it starts, which template of
// a configuration it matches, and how the wrapper of a runtime asks the agent about it.
package container

import (
	"fmt"
	"regexp"
	"strings"
)

// Facts are what is known of a container.
type Facts struct {
	// ID is its runtime's, Root the folder in which that keeps its state: one id may be
	// known in several. Bundle is the folder of its config.json.
	ID     string `json:"id"`
	Root   string `json:"root,omitempty"`
	Bundle string `json:"bundle,omitempty"`
	// Name and Image are its engine's, as far as that tells; "" is not known.
	Name  string `json:"name,omitempty"`
	Image string `json:"image,omitempty"`
	// Pod is the pod of Kubernetes that it is in, NAMESPACE/NAME/UID; Sandbox says that it is
	// the one that holds the pod's namespaces (pause).
	Pod     string `json:"pod,omitempty"`
	Sandbox bool   `json:"sandbox,omitempty"`
	// Annotations are those of its bundle, Labels its engine's.
	Annotations map[string]string `json:"annotations,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
}

var validID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,127}$`)

// Check says what is wrong with facts.
func (f *Facts) Check() error {
	if !validID.MatchString(f.ID) {
		return fmt.Errorf("container %q: not an id: nothing was started; use 1 to 128 of a-z A-Z 0-9 _ . + -", f.ID)
	}
	return nil
}

// String names a container for people.
func (f *Facts) String() string {
	text := "container " + f.Short()
	if f.Name != "" && f.Name != f.ID {
		text += " (" + f.Name + ")"
	}
	return text
}

var longHex = regexp.MustCompile(`^[0-9a-f]{32,}$`)

// shortID is how much of a long hexadecimal id engines show.
const shortID = 12

// Short is the id as engines show it.
func (f *Facts) Short() string {
	if longHex.MatchString(f.ID) {
		return f.ID[:shortID]
	}
	return f.ID
}

// PolicyAnnotation names a template: a container that bears it and matches none by that
// name does not start.
const PolicyAnnotation = "stockade.dev/policy"

// Selector says which containers a template is for: those that have all of what it names,
// of lists one. A * in names, images and pods stands for any text.
type Selector struct {
	Annotations, Labels map[string]string
	Names, Images, Pods []string
	Sandbox             bool
}

// Empty: it names nothing, and selects nothing.
func (s *Selector) Empty() bool {
	return len(s.Annotations)+len(s.Labels)+len(s.Names)+len(s.Images)+len(s.Pods) == 0 && !s.Sandbox
}

// Selects reports whether a container is one of them.
func (s *Selector) Selects(f *Facts) bool {
	return !s.Empty() && holds(f.Annotations, s.Annotations) && holds(f.Labels, s.Labels) &&
		anyOf(s.Names, f.Name) && anyOf(s.Images, f.Image) && anyOf(s.Pods, f.Pod) && (f.Sandbox || !s.Sandbox)
}

func holds(has, wanted map[string]string) bool {
	for key, value := range wanted {
		if got, ok := has[key]; !ok || !glob(value, got) {
			return false
		}
	}
	return true
}

func anyOf(patterns []string, text string) bool {
	for _, p := range patterns {
		if text != "" && glob(p, text) {
			return true
		}
	}
	return len(patterns) == 0
}

// glob matches a pattern in which * stands for any text.
func glob(pattern, text string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == text
	}
	text, ok := strings.CutPrefix(text, first)
	for ok {
		var part string
		if part, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(text, part)
		}
		_, text, ok = strings.Cut(text, part)
	}
	return false
}

// Process tells a process from every other one of its boot.
type Process struct {
	PID int `json:"pid"`
	// Start is when it started, in clock ticks since boot: field 22 of /proc/PID/stat.
	Start string `json:"start"`
}

// Start asks for what a container needs to start: for a look whether it may, or, with the
// process that its runtime prepared, for its confinement.
type Start struct {
	Facts
	Process *Process `json:"process,omitempty"`
	// Cgroup is where the runtime puts what it will execute in the container, a path as it
	// has it: with the mountpoint, or relative to that.
	Cgroup string `json:"cgroup,omitempty"`
}

// Started is the answer.
type Started struct {
	// Template is which one it matches, Workload the name that it has, or will have if that
	// is free.
	Template string `json:"template"`
	Workload string `json:"workload,omitempty"`
	// Unconfined: the template says that it is not to be confined.
	Unconfined bool `json:"unconfined,omitempty"`
}
