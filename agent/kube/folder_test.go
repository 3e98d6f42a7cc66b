package kube

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/kube/plan"
)

// names lists the files of a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestFolderHoldsWhatIsPlanned(t *testing.T) {
	f := folder{dir: filepath.Join(t.TempDir(), "made")}
	for i, c := range []struct {
		files   map[string]string
		changed bool
		want    string
	}{
		{map[string]string{plan.File: "1", "policies/a": "a"}, true, "containers.yaml policies/a"},
		{map[string]string{plan.File: "1", "policies/a": "a"}, false, "containers.yaml policies/a"},
		// The agent may be reading what the plan before names: that stays once more.
		{map[string]string{plan.File: "2", "policies/b": "b"}, true, "containers.yaml policies/a policies/b"},
		{map[string]string{plan.File: "2", "policies/b": "b"}, false, "containers.yaml policies/a policies/b"},
		{map[string]string{plan.File: "3", "policies/b": "b"}, true, "containers.yaml policies/b"},
	} {
		files := map[string][]byte{}
		for name, text := range c.files {
			files[name] = []byte(text)
		}
		changed, err := f.write(files)
		if is := names(t, f.dir); err != nil || changed != c.changed || is != c.want {
			t.Errorf("%d: %v, %v, %s, want %v, %s", i, changed, err, is, c.changed, c.want)
		}
		for name, text := range c.files {
			if is, err := os.ReadFile(filepath.Join(f.dir, name)); err != nil || string(is) != text {
				t.Errorf("%d: %s: %q, %v", i, name, is, err)
			}
		}
	}
}

// TestFolderOfAnEarlierOne: what it left may be what the agent reads, but for drafts.
func TestFolderOfAnEarlierOne(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{plan.File, "old.cedar", temporary + "1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := folder{dir: dir}
	if _, err := f.write(map[string][]byte{plan.File: []byte("1")}); err != nil || names(t, dir) != "containers.yaml old.cedar" {
		t.Errorf("%v, %s", err, names(t, dir))
	}
	if _, err := f.write(map[string][]byte{plan.File: []byte("2")}); err != nil || names(t, dir) != "containers.yaml" {
		t.Errorf("%v, %s", err, names(t, dir))
	}
}

func TestFolderThatCannotBeWrittenKeepsItsTemplates(t *testing.T) {
	dir := t.TempDir()
	f := folder{dir: dir}
	if _, err := f.write(map[string][]byte{plan.File: []byte("1")}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "policies"), nil, 0o600); err != nil { // no folder can be there
		t.Fatal(err)
	}
	_, err := f.write(map[string][]byte{plan.File: []byte("2"), "policies/a": []byte("a")})
	is, failed := os.ReadFile(filepath.Join(dir, plan.File))
	if err == nil || !strings.Contains(err.Error(), "the agent keeps what it has") || string(is) != "1" {
		t.Errorf("%v: %s, %v", err, is, errors.Join(failed))
	}
}
