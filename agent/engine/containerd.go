package engine

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// The CRI plugin's table, by version of the configuration.
const (
	criTwo   = "io.containerd.grpc.v1.cri"
	criThree = "io.containerd.cri.v1.runtime"
	dropIns  = "/etc/containerd/conf.d/*.toml"
	dropIn   = "stockade.toml"
)

// annotations is which of a pod's and a container's reach the runtime.
const annotations = "stockade.dev/*"

// daemonFile is containerd's main file, and what it imports.
type daemonFile struct {
	text     []byte // nil if there is none
	doc      document
	version  int64
	cri      string     // the table's name
	imports  []imported // in the order in which they count
	patterns []string   // of its imports
}

type imported struct {
	path string
	text []byte
	doc  document
}

// readContainerd reads all of containerd's configuration that matters here.
func (w *work) readContainerd() (*daemonFile, error) {
	f := &daemonFile{}
	var err error
	if f.text, err = w.read(w.Config); err != nil {
		return nil, err
	}
	if f.doc, err = parseTOML(w.Config, f.text); err != nil {
		return nil, err
	}
	if f.text == nil {
		f.version = 3
		if major, known := w.major(); known && major < 2 {
			f.version = 2
		}
	} else if version, ok := f.doc.get("version").(int64); ok {
		f.version = version
	} else if f.doc.get("plugins", criThree) != nil {
		f.version = 3 // a file that another one imports may leave it out
	} else if f.doc.get("plugins", criTwo) != nil {
		f.version = 2
	}
	f.cri = criThree
	if f.version == 2 {
		f.cri = criTwo
	}
	for _, pattern := range f.doc.list("imports") {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(w.Config), pattern)
		}
		f.patterns = append(f.patterns, pattern)
		found, err := filepath.Glob(w.at(pattern))
		if err != nil {
			return nil, fmt.Errorf("%s: imports %q: %w: %s; mend it there", w.Config, pattern, err, unchanged)
		}
		sort.Strings(found)
		for _, file := range found {
			path := filepath.Join("/", strings.TrimPrefix(file, w.at("/")))
			text, err := w.read(path)
			if err != nil {
				return nil, err
			}
			doc, err := parseTOML(path, text)
			if err != nil {
				return nil, err
			}
			f.imports = append(f.imports, imported{path, text, doc})
		}
	}
	return f, nil
}

var majorVersion = regexp.MustCompile(`\bv?([0-9]+)\.[0-9]+\.[0-9]`)

// major is the first number of the version of containerd that is installed.
func (w *work) major() (int, bool) {
	if w.Version == nil {
		return 0, false
	}
	text, err := w.Version()
	if err != nil {
		return 0, false
	}
	m := majorVersion.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.Atoi(m[1])
	return n, err == nil
}

// runtime is a runtime's entry as it is in force: its own keys and its options, of the last
// file that has any.
func (f *daemonFile) runtime(name string) document {
	entry := document{}
	for _, doc := range f.all() {
		for key, value := range doc.table("plugins", f.cri, "containerd", "runtimes", name) {
			entry[key] = value
		}
	}
	return entry
}

func (f *daemonFile) all() []document {
	list := []document{f.doc}
	for _, i := range f.imports {
		list = append(list, i.doc)
	}
	return list
}

// usual is the name of the runtime that containers get which name none.
func (f *daemonFile) usual(own string) string {
	usual := "runc"
	for _, doc := range f.all() {
		if name := doc.text("plugins", f.cri, "containerd", "default_runtime_name"); name != "" && name != own {
			usual = name
		}
	}
	if len(f.runtime(usual)) == 0 { // a name that something else puts in: microk8s
		return "runc"
	}
	return usual
}

// usable refuses what cannot be edited.
func (w *work) usable(f *daemonFile) error {
	for _, name := range f.doc.list("disabled_plugins") {
		if slices.Contains([]string{"cri", criTwo, criThree}, name) {
			return fmt.Errorf("%s: disabled_plugins has %q: no Kubernetes uses this containerd, and nothing else reads its list of runtimes: %s; for nerdctl or ctr use --engine nerdctl, or take it out there", w.Config, name, unchanged)
		}
	}
	if f.version < 2 {
		return fmt.Errorf("%s: of version 1: %s; `containerd config migrate` prints one of a newer version", w.Config, unchanged)
	}
	return nil
}

func installContainerd(w *work) error {
	f, err := w.readContainerd()
	if err != nil {
		return err
	}
	if err := w.usable(f); err != nil {
		return err
	}
	usual := f.runtime(f.usual(w.Name))
	if err := w.wrapperConfig(usual.text("options", "BinaryName")); err != nil {
		return err
	}
	w.reload("restart", "containerd", " (containers go on running)")
	use := fmt.Sprintf("then a RuntimeClass with `handler: %s`, named by a pod's `runtimeClassName`; nerdctl and ctr do not read this list: see --engine nerdctl", w.Name)
	entry := w.entry(usual)
	if w.registered(f.runtime(w.Name), entry) {
		w.note("%s: has the runtime %s already", w.Config, w.Name)
		w.todo("%s", use)
		return nil
	}
	w.todo("%s", use)
	if f.version > 2 {
		return w.installDropIn(f, entry)
	}
	return w.installTable(f, entry)
}

// entry is what is to be registered: the node's usual runtime, but with the wrapper as its
// program, and with our annotations.
func (w *work) entry(usual document) document {
	entry := document{}
	for key, value := range usual {
		switch key {
		case "options", "runtime_type", "runtime_path", "runtime_engine", "runtime_root":
		default:
			if text, ok := literal(value); ok && text != "" {
				entry[key] = value
			}
		}
	}
	entry["runtime_type"] = "io.containerd.runc.v2"
	for _, key := range []string{"pod_annotations", "container_annotations"} {
		list, _ := usual[key].([]any)
		if !slices.Contains(list, any(annotations)) {
			list = append(slices.Clone(list), annotations)
		}
		entry[key] = list
	}
	options := map[string]any{"BinaryName": w.Wrapper}
	if systemd, ok := usual.get("options", "SystemdCgroup").(bool); ok {
		options["SystemdCgroup"] = systemd
	}
	entry["options"] = options
	return entry
}

// registered says whether an entry does what ours would do. More may be in it.
func (w *work) registered(is, want document) bool {
	for _, key := range []string{"pod_annotations", "container_annotations"} {
		if !slices.Contains(is.list(key), annotations) {
			return false
		}
	}
	systemd, _ := is.get("options", "SystemdCgroup").(bool)
	wanted, _ := want.get("options", "SystemdCgroup").(bool)
	return is.text("runtime_type") == want.text("runtime_type") && is.text("options", "BinaryName") == w.Wrapper && systemd == wanted
}

// render writes a runtime's table.
func render(cri, name string, entry document, comment string) string {
	header := fmt.Sprintf("plugins.'%s'.containerd.runtimes.%s", cri, name)
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n[%s]\n", marker, comment, header)
	keys := func(d document) {
		var names []string
		for key := range d {
			names = append(names, key)
		}
		sort.Strings(names)
		for _, key := range names {
			if systemd, ok := d[key].(bool); ok && !systemd {
				fmt.Fprintf(&b, "%s = false\n", key)
			} else if text, ok := literal(d[key]); ok {
				fmt.Fprintf(&b, "%s = %s\n", key, text)
			}
		}
	}
	keys(entry)
	if options := entry.table("options"); len(options) > 0 {
		fmt.Fprintf(&b, "\n[%s.options]\n", header)
		keys(options)
	}
	return b.String()
}

// bareRuntime is what containerd 1 has by itself, until a file names any runtime.
func bareRuntime() document {
	return document{"runtime_type": "io.containerd.runc.v2"}
}

// installTable writes the entry into the main file. containerd 1 does not merge: a drop-in's
// table of a plugin takes the place of the main file's, with all that is in it.
func (w *work) installTable(f *daemonFile, entry document) error {
	for _, i := range f.imports {
		if i.doc.get("plugins", f.cri) == nil {
			continue
		}
		if major, known := w.major(); known && major > 1 {
			continue
		}
		return fmt.Errorf("%s: its table of %s takes the place of that of %s in containerd 1: %s; name that file with --config %s", i.path, f.cri, w.Config, unchanged, i.path)
	}
	text := f.text
	if text == nil {
		text = []byte(marker + "there was no file\nversion = 2\n")
	}
	if f.doc.get("plugins", f.cri, "containerd", "runtimes", w.Name) != nil {
		text = drop(text, []string{"plugins", f.cri, "containerd", "runtimes", w.Name})
	}
	want, err := parseTOML(w.Config, text)
	if err != nil {
		return err
	}
	if want.get("plugins", f.cri, "containerd", "runtimes", "runc") == nil && f.usual(w.Name) == "runc" {
		text = add(text, render(f.cri, "runc", bareRuntime(), "containerd's own, which it lacks once another one is named"))
		want.put(map[string]any(bareRuntime()), "plugins", f.cri, "containerd", "runtimes", "runc")
	}
	text = add(text, render(f.cri, w.Name, entry, "the runtime"))
	want.put(map[string]any(entry), "plugins", f.cri, "containerd", "runtimes", w.Name)
	if err := edited(w.Config, text, want); err != nil {
		return err
	}
	w.change(w.Config, f.text, text, true, "has the runtime "+w.Name+", "+w.Wrapper)
	return nil
}

// put sets what lies at a path.
func (d document) put(value any, path ...string) {
	table := map[string]any(d)
	for _, key := range path[:len(path)-1] {
		next, ok := table[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			table[key] = next
		}
		table = next
	}
	table[path[len(path)-1]] = value
}

// installDropIn writes the entry into a file of its own, which the main file imports: of the
// versions that have configurations of version 3 all merge.
func (w *work) installDropIn(f *daemonFile, entry document) error {
	if f.doc.get("plugins", f.cri, "containerd", "runtimes", w.Name) != nil {
		return fmt.Errorf("%s: has a runtime %s that is not ours: %s; choose another --name, or take it out there", w.Config, w.Name, unchanged)
	}
	pattern, covered := f.dropIns()
	path := filepath.Join(filepath.Dir(pattern), dropIn)
	before, err := w.read(path)
	if err != nil {
		return err
	}
	after := []byte(marker + "its drop-in\nversion = 3\n")
	if before != nil {
		if !bytes.HasPrefix(before, []byte(marker)) {
			return fmt.Errorf("%s: not written by this program: %s; move it", path, unchanged)
		}
		after = drop(before, []string{"plugins", f.cri, "containerd", "runtimes", w.Name})
	}
	after = add(after, render(f.cri, w.Name, entry, "the runtime"))
	if _, err := parseTOML(path, after); err != nil {
		return err
	}
	w.change(path, before, after, false, "has the runtime "+w.Name+", "+w.Wrapper)
	if covered {
		return nil
	}
	if f.text == nil {
		w.change(w.Config, nil, addImport([]byte(marker+"there was no file\nversion = 3\n"), pattern), false, "imports "+pattern)
		return nil
	}
	want, err := parseTOML(w.Config, f.text)
	if err != nil {
		return err
	}
	list, _ := want["imports"].([]any)
	want["imports"] = append([]any{pattern}, list...)
	text := addImport(f.text, pattern)
	if err := edited(w.Config, text, want); err != nil {
		return err
	}
	w.change(w.Config, f.text, text, true, "imports "+pattern)
	return nil
}

// dropIns is the pattern whose directory takes our file, and whether the main file imports it
// already: the usual one, or (k3s) another that is there.
func (f *daemonFile) dropIns() (string, bool) {
	for _, p := range append([]string{dropIns}, f.patterns...) {
		if filepath.Base(p) == "*.toml" && !strings.ContainsAny(filepath.Dir(p), "*?[") && slices.Contains(f.patterns, p) {
			return p, true
		}
	}
	return dropIns, false
}

func removeContainerd(w *work) error {
	f, err := w.readContainerd()
	if err != nil {
		return err
	}
	entry := []string{"plugins", f.cri, "containerd", "runtimes", w.Name}
	if f.runtime(w.Name).text("options", "BinaryName") != "" {
		w.Wrapper = f.runtime(w.Name).text("options", "BinaryName")
	}
	if len(f.runtime(w.Name)) == 0 {
		w.note("%s: has no runtime %s", w.Config, w.Name)
		return nil
	}
	for _, doc := range f.all() {
		if doc.text("plugins", f.cri, "containerd", "default_runtime_name") == w.Name {
			return fmt.Errorf("%s: %s is the default_runtime_name: %s; name another one there first", w.Config, w.Name, unchanged)
		}
	}
	w.reload("restart", "containerd", ", once no container uses the runtime")
	others := false // in the directory of our drop-in
	pattern, _ := f.dropIns()
	for _, i := range f.imports {
		ours := i.path == filepath.Join(filepath.Dir(pattern), dropIn)
		if !ours && filepath.Dir(i.path) == filepath.Dir(pattern) {
			others = true
		}
		if i.doc.get(entry...) == nil {
			continue
		}
		if !ours {
			return fmt.Errorf("%s: has the runtime %s, and is not ours: %s; name it with --config", i.path, w.Name, unchanged)
		}
		after, err := without(i.path, i.text, entry)
		if err != nil {
			return err
		}
		if rest, err := parseTOML(i.path, after); err != nil {
			return err
		} else if delete(rest, "version"); len(rest) == 0 {
			after = nil
		} else {
			others = true
		}
		w.change(i.path, i.text, after, false, "no longer has the runtime "+w.Name)
	}
	return w.removeFromMain(f, pattern, entry, others)
}

// removeFromMain takes out of the main file what an installation put there.
func (w *work) removeFromMain(f *daemonFile, pattern string, entry []string, others bool) error {
	text, err := without(w.Config, f.text, entry)
	if err != nil {
		return err
	}
	if f.version == 2 {
		// Ours as long as it is as we wrote it.
		ours := render(f.cri, "runc", bareRuntime(), "containerd's own, which it lacks once another one is named")
		if is := f.doc.table("plugins", f.cri, "containerd", "runtimes"); bytes.Contains(f.text, []byte(ours)) && document(is).table("runc").same(bareRuntime()) && len(is) == 2 {
			text = drop(f.text, entry, []string{"plugins", f.cri, "containerd", "runtimes", "runc"})
		}
	} else if !others {
		kept, err := w.read(w.Config + suffix)
		if err != nil {
			return err
		}
		had, err := parseTOML(w.Config+suffix, kept)
		if err == nil && (kept != nil || bytes.HasPrefix(text, []byte(marker))) && !slices.Contains(had.list("imports"), pattern) {
			text = dropImport(text, pattern)
		}
	}
	rest, err := parseTOML(w.Config, text)
	if err != nil {
		return err
	}
	if delete(rest, "version"); len(rest) == 0 && bytes.HasPrefix(f.text, []byte(marker+"there was no file\n")) {
		text = nil
	}
	says := "no longer has the runtime " + w.Name
	if f.doc.get(entry...) == nil {
		says = "no longer imports " + pattern
	}
	return w.removed(w.Config, f.text, text, says)
}
