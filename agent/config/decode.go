package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// place is where something stands in the file.
type place struct{ line, column int }

func (p place) errorf(file, format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %w", file, p.line, p.column, fmt.Errorf(format, args...))
}

// decoder reads the nodes of one file.
type decoder struct {
	file, dir string
	key       string // whose value is being read
}

func decoderOf(file string) *decoder { return &decoder{file: file, dir: filepath.Dir(file)} }

// document parses a file, which has one document that is not empty.
func (d *decoder) document(text []byte) (*yaml.Node, error) {
	var doc, more yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(text))
	if err := documents.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, syntaxError(d.file, err)
	}
	switch err := documents.Decode(&more); {
	case err == nil:
		return nil, place{more.Line, more.Column}.errorf(d.file, "configuration: a second document: nothing is changed; put all into one, without ---")
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(d.file, err)
	}
	if len(doc.Content) == 0 {
		return nil, place{1, 1}.errorf(d.file, "configuration: empty: nothing is changed; declare workloads")
	}
	return doc.Content[0], nil
}

func (d *decoder) at(n *yaml.Node) place { return place{n.Line, n.Column} }

// fields says what to do with each key of a mapping.
type fields map[string]func(*yaml.Node) error

// mapping reads a mapping, in which no key may be unknown or twice. It notes
// where the keys stand if lines is not nil.
func (d *decoder) mapping(n *yaml.Node, what string, known fields, lines map[string]place) error {
	if n.Kind != yaml.MappingNode {
		return d.at(n).errorf(d.file, "%s: not a mapping: nothing is changed; write KEY: VALUE", what)
	}
	defer func(outer string) { d.key = outer }(d.key)
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := known[key.Value]
		if !ok || key.Kind != yaml.ScalarNode {
			return d.at(key).errorf(d.file, "%q: no key of %s: nothing is changed; use one of %s", key.Value, what,
				strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if seen[key.Value] {
			return d.at(key).errorf(d.file, "%q: twice in %s: nothing is changed; leave one out", key.Value, what)
		}
		seen[key.Value] = true
		if lines != nil {
			lines[key.Value] = d.at(value)
		}
		d.key = key.Value
		if err := read(value); err != nil {
			return err
		}
	}
	return nil
}

// list reads a sequence that has at least one item.
func (d *decoder) list(n *yaml.Node, what string, read func(*yaml.Node) error) error {
	if n.Kind != yaml.SequenceNode {
		return d.at(n).errorf(d.file, "%s: not a list: nothing is changed; write one item a line, each after a dash", what)
	}
	for _, item := range n.Content {
		if err := read(item); err != nil {
			return err
		}
	}
	return nil
}

// text reads a scalar that is not empty.
func (d *decoder) text(n *yaml.Node, to *string) error {
	if n.Kind != yaml.ScalarNode || n.Value == "" || n.Tag == "!!null" {
		return d.at(n).errorf(d.file, "%s: no text: nothing is changed; write one value", d.key)
	}
	if strings.ContainsRune(n.Value, 0) {
		return d.at(n).errorf(d.file, "%s: text with a NUL byte: nothing is changed; take it out", d.key)
	}
	*to = n.Value
	return nil
}

// texts reads one text or a list of them, each through check.
func (d *decoder) texts(n *yaml.Node, to *[]string, check func(*yaml.Node, string) (string, error)) error {
	one := func(item *yaml.Node) error {
		var text string
		if err := d.text(item, &text); err != nil {
			return err
		}
		text, err := check(item, text)
		*to = append(*to, text)
		return err
	}
	if n.Kind != yaml.SequenceNode {
		return one(n)
	}
	if len(n.Content) == 0 {
		return d.at(n).errorf(d.file, "%s: an empty list: nothing is changed; write at least one item, or leave it out", d.key)
	}
	return d.list(n, "", one)
}

func (d *decoder) choice(n *yaml.Node, to *string, words ...string) error {
	if err := d.text(n, to); err != nil {
		return err
	}
	if !slices.Contains(words, *to) {
		return d.at(n).errorf(d.file, "%s %q: unknown: nothing is changed; use %s", d.key, *to, strings.Join(words, " or "))
	}
	return nil
}

func (d *decoder) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(d.dir, path)
}

func (d *decoder) path(n *yaml.Node, to *string) error {
	if err := d.text(n, to); err != nil {
		return err
	}
	*to = d.absolute(*to)
	return nil
}

func (d *decoder) paths(n *yaml.Node, to *[]string) error {
	return d.texts(n, to, func(_ *yaml.Node, text string) (string, error) { return d.absolute(text), nil })
}

var sizeText = regexp.MustCompile(`^([0-9]{1,12}) ?(KiB|MiB|GiB|)$`)

// size reads a number of bytes.
func (d *decoder) size(n *yaml.Node, to *int64, least, most int64) error {
	var text string
	if err := d.text(n, &text); err != nil {
		return err
	}
	m := sizeText.FindStringSubmatch(text)
	if m == nil {
		return d.at(n).errorf(d.file, "%s %q: not a size: nothing is changed; write for example 64MiB", d.key, text)
	}
	value, err := strconv.ParseInt(m[1], 10, 64)
	unit := map[string]int64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
	if err != nil || value > most/unit || value*unit < least {
		return d.at(n).errorf(d.file, "%s %q: not from %d KiB to %d MiB: nothing is changed; choose another size", d.key, text, least>>10, most>>20)
	}
	*to = value * unit
	return nil
}

// duration reads a time like 5s.
func (d *decoder) duration(n *yaml.Node, to *time.Duration, least, most time.Duration) error {
	var text string
	if err := d.text(n, &text); err != nil {
		return err
	}
	value, err := time.ParseDuration(text)
	if err != nil || value < least || value > most {
		return d.at(n).errorf(d.file, "%s %q: not a time from %v to %v: nothing is changed; write for example 5s", d.key, text, least, most)
	}
	*to = value
	return nil
}

var yamlLine = regexp.MustCompile(`line (\d+): (.*)`)

// syntaxError gives an error of the YAML parser its place.
func syntaxError(file string, err error) error {
	text, line := strings.TrimPrefix(err.Error(), "yaml: "), 1
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = m[2]
	}
	return place{line, 1}.errorf(file, "YAML: %w: nothing is changed; correct it", errors.New(text))
}
