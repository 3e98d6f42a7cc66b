package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	name, draft := filepath.Join(dir, "a"), filepath.Join(dir, "a.new")
	reads := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(name); err != nil || string(text) != want {
			t.Errorf("%q, %v; want %q", text, err, want)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
			t.Errorf("left: %v, %v", list, err)
		}
	}
	if err := Replace(name, draft, []byte("one"), nil); err != nil {
		t.Fatal(err)
	}
	reads("one")
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	failed := errors.New("failed")
	err := Replace(name, draft, []byte("two"), func(*os.File) error { return failed })
	if !errors.Is(err, failed) {
		t.Error(err)
	}
	reads("one")
	elsewhere := filepath.Join(t.TempDir(), "x") // a killed one's draft, or worse
	if err := errors.Join(os.WriteFile(elsewhere, []byte("x"), 0o600), os.Symlink(elsewhere, draft)); err != nil {
		t.Fatal(err)
	}
	if err := Replace(name, draft, []byte("three"), func(f *os.File) error { return f.Chmod(0o644) }); err != nil {
		t.Fatal(err)
	}
	reads("three")
	if text, _ := os.ReadFile(elsewhere); string(text) != "x" {
		t.Errorf("written through a link: %q", text)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}
