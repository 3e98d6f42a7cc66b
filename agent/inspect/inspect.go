// Package inspect reads what /proc and cgroupfs tell of a hostile workload. The workload
// chooses names, command lines and numbers of everything, and can have the reading of its
// memory or of its files take for ever. So a helper process reads, which can be killed;
// each amount has a bound, and a result says where one cut it; nothing that the workload
// names is followed.
package inspect

import (
	"fmt"
	"slices"
	"strings"
)

// Names of collectors.
const (
	Processes    = "processes"
	Descriptors  = "descriptors"
	Executables  = "executables"
	Namespaces   = "namespaces"
	Credentials  = "credentials"
	Environment  = "environment"
	ControlGroup = "cgroups"
)

// collectors says how each reads one process; ControlGroup reads groups instead. A process
// whose Unread is set has let a helper wait: of it, only what never hangs is read.
var collectors = map[string]func(*look, *process) any{
	Processes:    readProcess,
	Descriptors:  readDescriptors,
	Executables:  readExecutables,
	Namespaces:   readNamespaces,
	Credentials:  readCredentials,
	Environment:  readEnvironment,
	ControlGroup: nil,
}

// Collectors lists the names, sorted.
func Collectors() []string {
	var names []string
	for name := range collectors {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Request says what is to be read: by one collector, of some processes or groups.
type Request struct {
	Collector string    `json:"collector"`
	Processes []Process `json:"processes,omitempty"`
	// Groups are absolute paths of directories of cgroup2, for ControlGroup: they are read
	// with all beneath.
	Groups []string `json:"groups,omitempty"`
	// Values has Environment tell values, too: they often are secrets.
	Values bool `json:"values,omitempty"`
	// Spent is what helpers before this one used up.
	Spent Spent `json:"spent"`
}

// Process names one process of this boot.
type Process struct {
	PID int `json:"pid"`
	// Start is field 22 of its stat: in ticks, of which a second has 100, after boot. A
	// process of that number that started at another time is another one.
	Start uint64 `json:"start"`
	// Unread says why not all of it is to be read; Run sets it.
	Unread string `json:"unread,omitempty"`
}

// Spent counts against the bounds that hold for all processes together.
type Spent struct {
	Descriptors int   `json:"descriptors,omitempty"`
	Repeated    int   `json:"repeated,omitempty"`
	Mappings    int   `json:"mappings,omitempty"`
	Hashed      int64 `json:"hashed,omitempty"` // bytes
	// Files are those that have been hashed, by identity.
	Files map[string]Content `json:"files,omitempty"`
}

// add merges what a helper has spent since it was last told.
func (s *Spent) add(more Spent) {
	s.Descriptors, s.Repeated, s.Mappings, s.Hashed = more.Descriptors, more.Repeated, more.Mappings, more.Hashed
	for id, c := range more.Files {
		if s.Files == nil {
			s.Files = map[string]Content{}
		}
		s.Files[id] = c
	}
}

// check refuses what cannot be read.
func (r *Request) check() error {
	if _, ok := collectors[r.Collector]; !ok {
		return fmt.Errorf("inspect: no collector %q: nothing was read; use one of %s", r.Collector, strings.Join(Collectors(), ", "))
	}
	for _, p := range r.Processes {
		if p.PID <= 0 {
			return fmt.Errorf("inspect: process %d: that is no number of one: nothing was read; numbers begin at 1", p.PID)
		}
	}
	for _, dir := range r.Groups {
		if !strings.HasPrefix(dir, "/") {
			return fmt.Errorf("inspect: group %q: no absolute path: nothing was read; begin it with the mount of cgroup2", dir)
		}
	}
	return nil
}
