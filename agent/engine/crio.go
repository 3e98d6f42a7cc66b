package engine

import (
	"fmt"
	"path/filepath"
	"sort"
)

// crioDropIn is read after the files of distributions. CRI-O reads every file that lies
// there, whatever it is called.
const crioDropIn = "50-stockade.conf"

func (w *work) readCrio() ([]layer, string, error) {
	list, err := w.layers(w.Config, w.Config+".d/*")
	return list, filepath.Join(w.Config+".d", crioDropIn), err
}

// installCrio writes an entry that is that of the node's usual runtime but for the program.
// All of a pod's annotations reach the runtime; allowed_annotations are those of which CRI-O
// itself makes something, and it does not start with others in the list.
func installCrio(w *work) error {
	list, path, err := w.readCrio()
	if err != nil {
		return err
	}
	usual, named := document{}, ""
	for _, l := range list {
		if name := l.doc.text("crio", "runtime", "default_runtime"); name != "" && name != w.Name && l.path != path {
			named = name
		}
	}
	for _, l := range list {
		for key, value := range l.doc.table("crio", "runtime", "runtimes", named) {
			usual[key] = value
		}
	}
	program := usual.text("runtime_path")
	if program == "" {
		program = named
	}
	if err := w.wrapperConfig(program); err != nil {
		return err
	}
	entry := document{"runtime_type": "oci"}
	for key, value := range usual {
		if _, ok := literal(value); ok && key != "runtime_type" {
			entry[key] = value
		}
	}
	entry["runtime_path"] = w.Wrapper
	if entry.text("runtime_root") == "" {
		real, err := w.realNow()
		if err != nil {
			return err
		}
		entry["runtime_root"] = "/run/" + filepath.Base(real)
	}
	var keys []string
	for key := range entry {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	after := fmt.Sprintf("%sits drop-in\n[crio.runtime.runtimes.%s]\n", marker, w.Name)
	for _, key := range keys {
		text, _ := literal(entry[key])
		after += key + " = " + text + "\n"
	}
	if err := w.ownFile(path, list, []byte(after), []string{"crio", "runtime", "runtimes", w.Name}); err != nil {
		return err
	}
	w.reload("restart", "crio", " (containers go on running)")
	w.todo("then a RuntimeClass with `handler: %s`, named by a pod's `runtimeClassName`", w.Name)
	return nil
}

func removeCrio(w *work) error {
	list, path, err := w.readCrio()
	if err != nil {
		return err
	}
	for _, l := range list {
		if l.doc.text("crio", "runtime", "default_runtime") == w.Name {
			return fmt.Errorf("%s: %s is the default_runtime: %s; name another one there first", l.path, w.Name, unchanged)
		}
	}
	w.reload("restart", "crio", ", once no container uses the runtime")
	return w.removeOwn(path, list, []string{"crio", "runtime", "runtimes", w.Name})
}
