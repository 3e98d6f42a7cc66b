package config

import (
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Template says how containers are held: each that Match selects becomes a workload of its
// own, under what the template says but for the name, which begins with the template's.
type Template struct {
	Workload
	Match container.Selector
	// Unconfined containers start, and are not held.
	Unconfined bool
}

// maxTemplateName leaves room for what tells its containers apart.
const maxTemplateName = 40

func (d *decoder) template(n *yaml.Node) (Template, error) {
	t := Template{Workload: Workload{Baseline: "runtime", file: d.file, lines: map[string]place{}}}
	keys := d.plan(&t.Workload)
	keys["match"] = func(v *yaml.Node) error { return d.selector(v, &t.Match) }
	keys["unconfined"] = func(v *yaml.Node) error { return d.yes(v, &t.Unconfined) }
	if err := d.mapping(n, "a template for containers", keys, t.lines); err != nil {
		return t, err
	}
	t.Handled |= abi.DefaultActions
	if len(t.Name) > maxTemplateName {
		return t, t.Errorf("name", "name %q: longer than %d: nothing is changed; its containers' names begin with it: shorten it", t.Name, maxTemplateName)
	}
	if !t.Unconfined {
		return t, d.complete(n, &t.Workload, "match", "policies", "principal")
	}
	for _, key := range slices.Sorted(maps.Keys(t.lines)) {
		if key != "name" && key != "match" && key != "unconfined" {
			return t, t.Errorf(key, "%s: without effect on containers that are not confined: nothing is changed; leave out one of the two", key)
		}
	}
	return t, d.complete(n, &t.Workload, "match")
}

// selector reads which containers a template is for. One text is a list of one.
func (d *decoder) selector(n *yaml.Node, to *container.Selector) error {
	texts := func(to *[]string) func(*yaml.Node) error {
		return func(v *yaml.Node) error {
			return d.texts(v, to, func(_ *yaml.Node, text string) (string, error) { return text, nil })
		}
	}
	pairs := func(to *map[string]string) func(*yaml.Node) error {
		return func(v *yaml.Node) error {
			*to = map[string]string{}
			return d.pairs(v, func(key, value string) error {
				if _, twice := (*to)[key]; twice || key == "" {
					return fmt.Errorf("%q: twice, or empty", key)
				}
				(*to)[key] = value
				return nil
			})
		}
	}
	err := d.mapping(n, "match", fields{
		"annotation": pairs(&to.Annotations),
		"label":      pairs(&to.Labels),
		"name":       texts(&to.Names),
		"image":      texts(&to.Images),
	}, nil)
	if err == nil && to.Empty() {
		err = d.at(n).errorf(d.file, "match: empty: nothing is changed; name an annotation, a label, a name or an image")
	}
	return err
}
