package run

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/agent/host"
)

func TestLookupUser(t *testing.T) {
	for text, want := range map[string][2]uint32{"root": {0, 0}, "0": {0, 0}, "root:7": {0, 7}, "4000000:7": {4000000, 7}, "0:root": {0, 0}} {
		a, err := lookupUser(text)
		if err != nil || a.credential.Uid != want[0] || a.credential.Gid != want[1] {
			t.Errorf("%q: %+v, %v; want %v", text, a, err, want)
		}
	}
	const mend = ": nothing was started; use NAME or UID, optionally with :GROUP or :GID"
	for text, what := range map[string]string{"": "not in the user database", ":": "not in the user database", "no-such-user": "not in the user database",
		"no-such-user:0": "not in the user database", "4000000": "not in the user database, and no group given",
		"root:no-such-group": `group "no-such-group": not in the group database`, "-1:0": "not in the user database", "99999999999:0": "not in the user database"} {
		if a, err := lookupUser(text); err == nil || err.Error() != fmt.Sprintf("user %q: ", text)+what+mend {
			t.Errorf("%q: %+v, %v", text, a, err)
		}
	}
}

func TestEnvironReplacesTheUser(t *testing.T) {
	a := &account{home: "/home/a", name: "a"}
	got := a.environ([]string{"HOME=/root", "PATH=/bin", "USER=root", "HOMEX=1", "LOGNAME=root"})
	if want := []string{"PATH=/bin", "HOMEX=1", "HOME=/home/a", "USER=a", "LOGNAME=a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRootsThatCannotBeAreToldApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	if err := os.WriteFile(file, []byte("none\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for of, want := range map[string]string{
		"4194304":  "root of process 4194304: no such process: nothing is changed; name a process that runs",
		file:       fmt.Sprintf("root %q: holds no number of a process: nothing is changed; name a file that does", file),
		"/no/file": "root: open /no/file: no such file or directory: nothing is changed; name a file that holds the number of a process",
	} {
		if _, err := host.RootProcess(of); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", of, err, want)
		}
	}
	err := host.RootError("1", &fs.PathError{Op: "open", Path: "/proc/1/root", Err: syscall.EACCES})
	if want := "root of process 1: permission denied: nothing is changed; name a process that runs"; err.Error() != want || !errors.Is(err, syscall.EACCES) {
		t.Errorf("%v, want %s", err, want)
	}
}
