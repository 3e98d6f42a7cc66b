package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// TestStrict makes executable memory, and uses a standard input that the policy
// denies: strict refuses both, and lets the rest run. The strict run has a set of its
// own.
func TestStrict(t *testing.T) {
	byAgent(t)
	const code = `python3 -BIS -c 'import mmap; mmap.mmap(-1, 4096, prot=7)' 2>/dev/null </dev/null && echo executable; echo done; exec cat`
	for _, c := range []struct {
		strict bool
		by     string
		prints string
		code   int
		denied []string
	}{
		{false, agentSet, "executable\ndone\nsecret\n", 0, nil},
		{true, ownSet, "done\n", 1, []string{"denied read /srv/key by /usr/bin/bash[", "denied map by /usr/bin/python3", "denied read /srv/key by /usr/bin/cat["}},
	} {
		key, err := os.Open("/srv/key")
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "run", c.by, fmt.Sprintf("--strict=%v", c.strict), "--policy", "/policy/rest.cedar", "--", "bash", "-c", code)
		var out, notes bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = key, &out, &notes
		cmd.Run()
		key.Close()
		if out.String() != c.prints {
			t.Errorf("strict %v: %q, want %q:\n%s", c.strict, &out, c.prints, &notes)
		}
		r := result{cmd.ProcessState.ExitCode(), out.String(), notes.String(), 0}
		r.want(t, c.code, c.denied...)
	}
	nothingLeft(t)
}
