package engine

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
)

// podmanDropIn is read after the files that distributions and people write.
const podmanDropIn = "50-stockade.conf"

// podmanLists are those of runtimes that can do something, by name, with what podman has
// where no file says otherwise. A file's list takes the place of the one before it, so ours
// repeats that.
var podmanLists = []struct {
	key  string
	have []string
}{
	{"runtime_supports_json", []string{"crun", "runc", "kata", "runsc", "youki", "krun"}},
	{"runtime_supports_nocgroups", []string{"crun", "krun"}},
}

// layer is a file of a configuration that is read in order, the later on top.
type layer struct {
	path string
	text []byte
	doc  document
}

// layers reads files that there are, and those of directories, in order.
func (w *work) layers(patterns ...string) ([]layer, error) {
	var list []layer
	for _, pattern := range patterns {
		found, err := filepath.Glob(w.at(pattern))
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %s; use another --config", pattern, err, unchanged)
		}
		sort.Strings(found)
		for _, file := range found {
			if info, err := os.Stat(file); strings.HasSuffix(file, suffix) || err == nil && info.IsDir() {
				continue
			}
			path := filepath.Join("/", strings.TrimPrefix(file, w.at("/")))
			text, err := w.read(path)
			if err != nil {
				return nil, err
			}
			doc, err := parseTOML(path, text)
			if err != nil {
				return nil, err
			}
			list = append(list, layer{path, text, doc})
		}
	}
	return list, nil
}

// ownFile plans that a drop-in of ours is as wanted. Another's is not touched, nor is a
// runtime of that name in another file, nor what a person wrote into ours.
func (w *work) ownFile(path string, list []layer, after []byte, ours ...[]string) error {
	var before []byte
	entry := ours[0]
	for _, l := range list {
		switch {
		case l.path == path && !bytes.HasPrefix(l.text, []byte(marker)):
			return fmt.Errorf("%s: not written by this program: %s; move it", path, unchanged)
		case l.path == path:
			before = l.text
			if len(expressions(drop(l.text, ours...))) == 0 {
				continue
			}
			if named(l.doc, entry) != w.Wrapper {
				return fmt.Errorf("%s: somebody else wrote into it, too: %s; use --remove first", path, unchanged)
			}
			after = before
		case l.doc.get(entry...) != nil:
			return fmt.Errorf("%s: has a runtime %s that is not ours: %s; choose another --name, or take it out there", l.path, w.Name, unchanged)
		}
	}
	if _, err := parseTOML(path, after); err != nil {
		return err
	}
	if before != nil && bytes.Equal(before, after) {
		w.note("%s: has the runtime %s already", path, w.Name)
		return nil
	}
	w.change(path, before, after, false, "has the runtime "+w.Name+", "+w.Wrapper)
	return nil
}

func (w *work) readPodman() ([]layer, string, error) {
	list, err := w.layers("/usr/share/containers/containers.conf", w.Config, w.Config+".d/*.conf")
	return list, filepath.Join(w.Config+".d", podmanDropIn), err
}

func installPodman(w *work) error {
	list, path, err := w.readPodman()
	if err != nil {
		return err
	}
	own, paths := "", map[string][]string{}
	lists := map[string][]string{}
	for _, l := range list {
		if l.path == path {
			continue
		}
		if name := l.doc.text("engine", "runtime"); name != "" && name != w.Name {
			own = name
		}
		for name := range l.doc.table("engine", "runtimes") {
			paths[name] = l.doc.list("engine", "runtimes", name)
		}
		for _, known := range podmanLists {
			if l.doc.get("engine", known.key) != nil {
				lists[known.key] = l.doc.list("engine", known.key)
			}
		}
	}
	if found := w.find(paths[own]...); found != "" {
		own = found
	}
	if err := w.wrapperConfig(own); err != nil {
		return err
	}
	real, err := w.realNow()
	if err != nil {
		return err
	}
	after, header := marker+"its drop-in\n", "[engine]\n"
	for _, known := range podmanLists {
		can, said := lists[known.key]
		if !said {
			can = known.have
		}
		// The wrapper can do what the real runtime can.
		if slices.Contains(can, filepath.Base(real)) {
			after += fmt.Sprintf("%s%s = [%s]\n", header, known.key, quoted(append(slices.Clone(can), w.Name)))
			header = ""
		}
	}
	if header == "" {
		after += "\n"
	}
	after += fmt.Sprintf("[engine.runtimes]\n%s = [%s]\n", w.Name, quote(w.Wrapper))
	if err := w.ownFile(path, list, []byte(after), w.podmanOwn()...); err != nil {
		return err
	}
	w.todo("nothing to restart: `podman --runtime %s run …`", w.Name)
	return nil
}

// podmanOwn is what of our drop-in is ours: the entry first.
func (w *work) podmanOwn() [][]string {
	own := [][]string{{"engine", "runtimes", w.Name}}
	for _, known := range podmanLists {
		own = append(own, []string{"engine", known.key})
	}
	return own
}

func quoted(list []string) string {
	var parts []string
	for _, text := range list {
		parts = append(parts, quote(text))
	}
	return strings.Join(parts, ", ")
}

func removePodman(w *work) error {
	list, path, err := w.readPodman()
	if err != nil {
		return err
	}
	for _, l := range list {
		if l.doc.text("engine", "runtime") == w.Name {
			return fmt.Errorf("%s: %s is the runtime of all containers: %s; name another one there first", l.path, w.Name, unchanged)
		}
	}
	w.todo("containers that were made with the runtime need it until they are removed: `podman ps -a`")
	return w.removeOwn(path, list, w.podmanOwn()...)
}

// removeOwn plans that our drop-in goes, or what is ours in it.
func (w *work) removeOwn(path string, list []layer, ours ...[]string) error {
	i := slices.IndexFunc(list, func(l layer) bool { return l.path == path && l.doc.get(ours[0]...) != nil })
	if i < 0 {
		w.note("%s: has no runtime %s", path, w.Name)
		return nil
	}
	l := list[i]
	after, err := without(path, l.text, ours...)
	if err != nil {
		return err
	}
	if len(expressions(after)) == 0 {
		after = nil
	}
	w.change(path, l.text, after, false, "no longer has the runtime "+w.Name)
	w.Wrapper = cmp.Or(named(l.doc, ours[0]), w.Wrapper)
	return nil
}

// named is the program that an entry names, podman's or CRI-O's.
func named(doc document, entry []string) string {
	if list := doc.list(entry...); len(list) > 0 {
		return list[0]
	}
	return doc.table(entry...).text("runtime_path")
}
