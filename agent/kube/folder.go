package kube

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/agent/file"
	"github.com/stockade-dev/stockade/agent/kube/plan"
)

// folder is what the agent watches.
type folder struct {
	dir string
	// before are the files of the plan before: the agent may still be reading them.
	before map[string]bool
}

// temporary begins the names of files that are being written.
const temporary = ".new-"

// write makes the folder hold what is planned, each file at once, plan.File last, and says
// whether anything changed. What none names since the last change is removed.
func (f *folder) write(files map[string][]byte) (changed bool, err error) {
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(files)), func(name string) bool { return name == plan.File })
	for _, name := range append(names, plan.File) {
		wrote, err := f.put(name, files[name])
		if err != nil {
			return changed, fmt.Errorf("folder %s: %w: the agent keeps what it has; mend it", f.dir, err)
		}
		changed = changed || wrote
	}
	if changed {
		f.sweep(files)
	}
	return changed, nil
}

// put writes one file, if it is another.
func (f *folder) put(name string, text []byte) (bool, error) {
	path := filepath.Join(f.dir, name)
	if was, err := os.ReadFile(path); err == nil && bytes.Equal(was, text) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return false, err
	}
	draft := filepath.Join(filepath.Dir(path), temporary+filepath.Base(path))
	if err := file.Replace(path, draft, text, nil); err != nil {
		return false, err
	}
	return true, nil
}

// sweep removes what neither this plan nor the one before names. What cannot be removed is
// tried again.
func (f *folder) sweep(files map[string][]byte) {
	first := f.before == nil // then nobody knows what the agent reads
	now := map[string]bool{}
	for name := range files {
		now[name] = true
	}
	_ = filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		name, relative := filepath.Rel(f.dir, path)
		if err != nil || relative != nil || d.IsDir() {
			return nil
		}
		if !now[name] && !f.before[name] && (!first || strings.HasPrefix(d.Name(), temporary)) {
			_ = os.Remove(path)
		}
		return nil
	})
	f.before = now
}
