//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

type member struct {
	name, data string
	mode       uint64
}

// readArchive is a reader of its own, after the kernel's description
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func readArchive(t *testing.T, archive []byte) []member {
	t.Helper()
	var members []member
	at := 0
	align := func() {
		for at%4 != 0 {
			if archive[at] != 0 {
				t.Fatalf("offset %d: padding is not zero", at)
			}
			at++
		}
	}
	for {
		if string(archive[at:at+6]) != "070701" {
			t.Fatalf("offset %d: no magic", at)
		}
		field := func(i int) uint64 {
			n, err := strconv.ParseUint(string(archive[at+6+8*i:at+14+8*i]), 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		mode, size, nameSize := field(1), int(field(6)), int(field(11))
		if field(2) != 0 || field(3) != 0 {
			t.Errorf("offset %d: owner is not root", at)
		}
		at += 110
		name := string(archive[at : at+nameSize-1])
		at += nameSize
		align()
		data := string(archive[at : at+size])
		at += size
		align()
		if name == "TRAILER!!!" {
			if at != len(archive) {
				t.Errorf("%d bytes follow the trailer", len(archive)-at)
			}
			return members
		}
		members = append(members, member{name, data, mode})
	}
}

func show(members []member) string {
	var text strings.Builder
	for _, m := range members {
		fmt.Fprintf(&text, "%o %s %q\n", m.mode, m.name, m.data)
	}
	return text.String()
}

func TestArchiveHoldsParentsFirstAndOnce(t *testing.T) {
	var buffer bytes.Buffer
	a := NewArchive(&buffer)
	a.File("/a/b/one", 0o644, []byte("1"))
	a.File("a/b/../b/two", 0o4755|fs.ModeSetuid, []byte("22"))
	a.Link("/a/link", "b/one")
	a.Folder("/tmp", 0o777|fs.ModeSticky)
	a.Folder("/tmp", 0o700)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	want := `40755 a ""
40755 a/b ""
100644 a/b/one "1"
104755 a/b/two "22"
120777 a/link "b/one"
41777 tmp ""
`
	if got := show(readArchive(t, buffer.Bytes())); got != want {
		t.Errorf("archive is\n%swant\n%s", got, want)
	}
}

func TestArchiveTakesTreeOfHost(t *testing.T) {
	// tree/  exec (0755)  sub/data (0600)  link -> sub/data
	tree := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(tree, 0o755))
	must(os.Mkdir(filepath.Join(tree, "sub"), 0o750))
	must(os.WriteFile(filepath.Join(tree, "sub", "data"), []byte("x\x00y"), 0o600))
	must(os.WriteFile(filepath.Join(tree, "exec"), nil, 0o755))
	must(os.Symlink("sub/data", filepath.Join(tree, "link")))
	var buffer bytes.Buffer
	a := NewArchive(&buffer)
	a.HostTree("/in", tree)
	a.HostTree("/alone", filepath.Join(tree, "link"))
	must(a.Close())
	want := `40755 in ""
100755 in/exec ""
120777 in/link "sub/data"
40750 in/sub ""
100600 in/sub/data "x\x00y"
100600 alone "x\x00y"
`
	if got := show(readArchive(t, buffer.Bytes())); got != want {
		t.Errorf("archive is\n%swant\n%s", got, want)
	}
}

func TestArchiveKeepsTheFirstError(t *testing.T) {
	a := NewArchive(new(bytes.Buffer))
	a.HostFile("/x", "/nonexistent/file")
	a.File("/y", 0o644, nil)
	if err := a.Close(); !os.IsNotExist(err) {
		t.Errorf("error is %v, want that the file does not exist", err)
	}
}
