package cgroup

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// chain makes directories in each other, deeper than a path can be long, and returns how
// to remove them.
func chain(t *testing.T, root string, n int) {
	t.Helper()
	name := strings.Repeat("x", 200)
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for i := 0; i < n && err == nil; i++ {
		if err = unix.Mkdirat(fd, name, 0o755); err == nil {
			below := 0
			below, err = unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			unix.Close(fd)
			fd = below
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestGroupsAreFoundHoweverDeep(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"/a/b", "/z"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(root+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	chain(t, root+"/a", 100) // 20,000 bytes of path
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	ids := map[uint64]bool{}
	if err := walk(dir, func(rel string, _ int, id uint64) error { found[rel], ids[id] = true, true; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(found) != 104 || len(ids) != 104 || !found["."] || !found["a/b"] || !found["z"] || found["file"] {
		t.Errorf("%d found, %d ids", len(found), len(ids))
	}
}
