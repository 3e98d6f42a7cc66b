package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
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
	// Apart: it is of the file that Config.ContainersFrom names. What is wrong with it
	// concerns its own containers alone.
	Apart bool
	// Broken is what is wrong with the text of one that is apart: then it selects none.
	Broken error
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

// readApart adds the templates of the file that c.ContainersFrom names. None is none.
func (c *Config) readApart() error {
	text, err := os.ReadFile(c.ContainersFrom)
	if c.ContainersFrom == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("containers_from: %w: nothing is changed; check the path", err)
	}
	d := decoderOf(c.ContainersFrom)
	n, err := d.document(text)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, w := range c.All() {
		taken[w.Name] = true
	}
	return d.mapping(n, "containers_from", fields{"containers": func(v *yaml.Node) error {
		return d.list(v, "containers", func(item *yaml.Node) error {
			t, err := d.template(item)
			if err == nil && taken[t.Name] {
				err = t.Errorf("name", "name %q: two workloads have it: it is left out; choose another", t.Name)
			}
			if t.Apart = true; err != nil {
				t = Template{Apart: true, Broken: err}
			}
			taken[t.Name] = true
			c.Containers = append(c.Containers, t)
			return nil
		})
	}}, nil)
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
		"pod":        texts(&to.Pods),
		"sandbox":    func(v *yaml.Node) error { return d.yes(v, &to.Sandbox) },
	}, nil)
	if err == nil && to.Empty() {
		err = d.at(n).errorf(d.file, "match: empty: nothing is changed; name an annotation, a label, a name, an image, a pod or sandbox")
	}
	return err
}
