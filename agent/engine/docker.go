package engine

import (
	"encoding/json"
	"fmt"
)

// daemon is what we read of Docker's configuration.
type daemon struct {
	Default  string `json:"default-runtime"`
	Runtimes map[string]struct {
		Path string `json:"path"`
	} `json:"runtimes"`
}

// readDocker reads daemon.json. text is nil if there is no file; doc is never empty.
func (w *work) readDocker() (text, doc []byte, tree *object, d daemon, err error) {
	if text, err = w.read(w.Config); err != nil {
		return
	}
	if doc = text; len(blank(text)) == 0 {
		doc = []byte("{}\n")
	}
	if tree, err = parseJSON(w.Config, doc); err != nil {
		return
	}
	if _, m := tree.get("runtimes"); m != nil && m.value == nil {
		line, column := position(doc, m.start)
		err = fmt.Errorf("%s:%d:%d: runtimes: not an object: %s; mend it there", w.Config, line, column, unchanged)
	} else if err = json.Unmarshal(doc, &d); err != nil {
		err = fmt.Errorf("%s: %w: %s; mend it there", w.Config, err, unchanged)
	}
	return
}

func installDocker(w *work) error {
	text, doc, tree, d, err := w.readDocker()
	if err != nil {
		return err
	}
	own := ""
	if d.Default != "" && d.Default != "runc" && d.Default != w.Name {
		own = d.Runtimes[d.Default].Path
	}
	if err := w.wrapperConfig(own); err != nil {
		return err
	}
	if d.Runtimes[w.Name].Path == w.Wrapper {
		w.note("%s: has the runtime %s already", w.Config, w.Name)
	} else {
		w.change(w.Config, text, tree.set(doc, quote(w.Wrapper), "runtimes", w.Name, "path"), true, "has the runtime "+w.Name+", "+w.Wrapper)
	}
	w.reload("reload", "docker", ", or restart it where it is not running")
	w.todo("then `docker run --runtime %s …`", w.Name)
	return nil
}

func removeDocker(w *work) error {
	text, doc, tree, d, err := w.readDocker()
	if err != nil {
		return err
	}
	entry, has := d.Runtimes[w.Name]
	if !has {
		w.note("%s: has no runtime %s", w.Config, w.Name)
		return nil
	}
	if d.Default == w.Name {
		return fmt.Errorf("%s: %s is the default-runtime: %s; name another one there first", w.Config, w.Name, unchanged)
	}
	if entry.Path != "" {
		w.Wrapper = entry.Path
	}
	kept, err := w.read(w.Config + suffix)
	if err != nil {
		return err
	}
	after := tree.drop(doc, "runtimes", w.Name)
	if tree, err = parseJSON(w.Config, after); err != nil {
		return err
	}
	if _, m := tree.get("runtimes"); m != nil && len(m.value.members) == 0 && !hasRuntimes(kept) {
		after = tree.drop(after, "runtimes")
	}
	switch {
	case string(blank(after)) != "{}":
	case kept == nil: // there was no file
		after = nil
	case len(blank(kept)) == 0:
		after = kept
	}
	w.reload("reload", "docker", "; containers that run keep the runtime that they have")
	return w.removed(w.Config, text, after, "no longer has the runtime "+w.Name)
}

// hasRuntimes says whether a copy has a list of runtimes, an empty one maybe.
func hasRuntimes(text []byte) bool {
	var has map[string]json.RawMessage
	return json.Unmarshal(text, &has) == nil && has["runtimes"] != nil
}

// blank is a text without the white space of JSON.
func blank(text []byte) []byte {
	var out []byte
	for _, b := range text {
		if b != ' ' && b != '\t' && b != '\n' && b != '\r' {
			out = append(out, b)
		}
	}
	return out
}
