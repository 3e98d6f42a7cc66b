// Package label has what workloads are selected by beside their names: labels, and whom
// they act for.
package label

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler"
)

// MaxLabels bounds the labels of one workload.
const MaxLabels = 64

// Set holds labels, by their keys.
type Set map[string]string

// Of Kubernetes: a name of letters, digits, - _ . with perhaps a domain before it, and a
// value of the same that may be empty.
var (
	validKey   = regexp.MustCompile(`^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`)
	validValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
)

// Add adds one label. Its error names what is wrong, and not what follows from it.
func (s Set) Add(key, value string) error {
	_, twice := s[key]
	switch {
	case !validKey.MatchString(key):
		return fmt.Errorf("label %q: not a key of a label: use up to 63 letters, digits, - _ and . between them, perhaps after a domain and a slash", key)
	case !validValue.MatchString(value):
		return fmt.Errorf("label %s: value %q: not that of a label: use up to 63 letters, digits, - _ and . between them", key, value)
	case twice:
		return fmt.Errorf("label %s: twice: leave one out", key)
	case len(s) == MaxLabels:
		return fmt.Errorf("label %s: one more than %d: leave some out", key, MaxLabels)
	}
	s[key] = value
	return nil
}

// Parse reads labels that are each written as KEY=VALUE.
func Parse(list []string) (Set, error) {
	set := Set{}
	for _, text := range list {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("label %q: not written as KEY=VALUE: for example team=payments", text)
		}
		if err := set.Add(key, value); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// Check is for labels that came in another way than by Add.
func (s Set) Check() error {
	checked := Set{}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if err := checked.Add(key, s[key]); err != nil {
			return err
		}
	}
	return nil
}

// Has reports whether all of some labels are there.
func (s Set) Has(some Set) bool {
	for key, value := range some {
		if has, ok := s[key]; !ok || has != value {
			return false
		}
	}
	return true
}

// String lists labels as KEY=VALUE, sorted, with commas between them.
func (s Set) String() string {
	var list []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		list = append(list, key+"="+s[key])
	}
	return strings.Join(list, ",")
}

// Selection says which workloads are meant: all, or those that have all of some labels
// and act for a principal.
type Selection struct {
	All    bool `json:"all,omitempty"`
	Labels Set  `json:"labels,omitempty"`
	// Principal is Cedar text in its usual form, for example User::"ci".
	Principal string `json:"principal,omitempty"`
}

// Check refuses a selection that means nothing, or two things.
func (s Selection) Check() error {
	narrow := len(s.Labels) > 0 || s.Principal != ""
	switch {
	case s.All && narrow:
		return errors.New("selection: all, and some: leave one out")
	case !s.All && !narrow:
		return errors.New("selection: none: name labels, a principal, or all")
	}
	return s.Labels.Check()
}

// Canonical returns a selection with its principal in its usual form, checked.
func (s Selection) Canonical() (Selection, error) {
	if s.Principal != "" {
		uid, err := compiler.ParsePrincipal(s.Principal)
		if err != nil {
			return s, err
		}
		s.Principal = uid.String()
	}
	return s, s.Check()
}

// Selects reports whether a workload is meant.
func (s Selection) Selects(principal string, labels Set) bool {
	return s.All || (s.Principal == "" || s.Principal == principal) && labels.Has(s.Labels)
}

// Same reports whether two selections mean the same.
func (s Selection) Same(t Selection) bool {
	return s.All == t.All && s.Principal == t.Principal && maps.Equal(s.Labels, t.Labels)
}

// String is a selection as it is written on a command line.
func (s Selection) String() string {
	if s.All {
		return "--all"
	}
	var words []string
	if s.Principal != "" {
		words = append(words, "--principal '"+s.Principal+"'")
	}
	for _, key := range slices.Sorted(maps.Keys(s.Labels)) {
		words = append(words, "--label "+key+"="+s.Labels[key])
	}
	return strings.Join(words, " ")
}
