package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestStrict makes executable memory, and uses a standard input that the policy
// denies: strict refuses both, and lets the rest run.
func TestStrict(t *testing.T) {
	inVM(t)
	const code = `python3 -BIS -c 'import mmap; mmap.mmap(-1, 4096, prot=7)' 2>/dev/null && echo executable; echo done`
	if r := confined(t, "", code); r.stdout != "executable\ndone\n" {
		t.Errorf("not strict:\n%s%s", r.stdout, r.stderr)
	}
	r := confined(t, "", code, "--strict")
	if r.stdout != "done\n" {
		t.Errorf("strict:\n%s%s", r.stdout, r.stderr)
	}
	r.want(t, 0, "denied map")
	for _, strict := range []bool{false, true} {
		key, err := os.Open("/srv/key")
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"run", ownSet, fmt.Sprintf("--strict=%v", strict), "--policy", "/policy/rest.cedar", "--", "cat"}
		cmd := exec.Command(program, args...)
		var out, notes bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = key, &out, &notes
		cmd.Run()
		key.Close()
		if got := out.String() == "secret\n"; got == strict {
			t.Errorf("strict %v: read %v:\n%s", strict, got, notes.String())
		}
		if denied := strings.Contains(notes.String(), "denied read /srv/key"); denied != strict {
			t.Errorf("strict %v: denied %v:\n%s", strict, denied, notes.String())
		}
	}
	nothingLeft(t)
}
