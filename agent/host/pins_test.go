package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPinsBelowAnotherFileSystemAreNotGone(t *testing.T) {
	if PinsHidden(filepath.Join(t.TempDir(), "stockade", "agent")) == nil {
		t.Error("below a folder for temporary files: none are pinned")
	}
	if _, err := os.Stat("/sys/fs/bpf"); err != nil {
		t.Skip(err)
	}
	if err := PinsHidden("/sys/fs/bpf/is-not-there/agent"); err != nil {
		t.Error(err)
	}
}
