package evidence

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// disk mounts one of so many KiB.
func disk(t *testing.T, size int) (folder string) {
	t.Helper()
	folder = t.TempDir()
	err := unix.Mount("evidence-test", folder, "tmpfs", 0, fmt.Sprintf("size=%dk", size))
	if errors.Is(err, unix.EPERM) && os.Getenv("STOCKADE_STRICT") == "" {
		t.Skip("a mount needs root")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// fill leaves no byte of a disk.
func fill(t *testing.T, folder string) (file string) {
	t.Helper()
	file = folder + "/filler"
	err := os.WriteFile(file, make([]byte, 1<<20), 0o600)
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	return file
}

func TestPartThatTheDiskHasNoRoomForIsMissing(t *testing.T) {
	folder := disk(t, 64)
	b, err := Create(folder+"/evidence.tar", options())
	if err != nil {
		t.Fatal(err)
	}
	add(t, b, "a", strings.Repeat("a", 20<<10))
	add(t, b, "b", strings.Repeat("b", 100<<10))
	if info, err := b.file.Stat(); err != nil || info.Size() != b.size {
		t.Errorf("%v, %v: what was written of it is still there", info.Size(), err)
	}
	add(t, b, "c", strings.Repeat("c", 20<<10))
	s, r := finish(t, b)
	if got := fmt.Sprint(s.Parts, s.Missing); got != "[a c] [b]" || !strings.Contains(r.Missing[0].Why, "no space left on device") {
		t.Errorf("%s, %+v", got, r.Missing)
	}
}

func TestLastPartGivesWayToTheManifest(t *testing.T) {
	folder := disk(t, 256)
	b, err := Create(folder+"/evidence.tar", options())
	if err != nil {
		t.Fatal(err)
	}
	add(t, b, "a", strings.Repeat("a", 20<<10))
	add(t, b, "b", strings.Repeat("b", 20<<10))
	fill(t, folder)
	s, r := finish(t, b)
	if got := fmt.Sprint(s.Parts, s.Missing); got != "[a] [b]" || !strings.Contains(r.Missing[0].Why, "dropped to have room for the manifest") {
		t.Errorf("%s, %+v", got, r.Missing)
	}
}

func TestDiskWithoutRoomForTheManifestLeavesNoFile(t *testing.T) {
	folder := disk(t, 64)
	b, err := Create(folder+"/evidence.tar", options())
	if err != nil {
		t.Fatal(err)
	}
	fill(t, folder)
	add(t, b, "a", "x")
	s, err := b.Close()
	if !errors.Is(err, unix.ENOSPC) || s.Path != "" {
		t.Errorf("%+v, %v", s, err)
	}
	if left := files(t, folder+"/evidence.tar"); len(left) != 1 || left[0] != "filler" {
		t.Errorf("left: %v", left)
	}
}
