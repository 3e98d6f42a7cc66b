package host

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "0", "run-1", "a.b_c-d", strings.Repeat("x", 63)} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "-a", "_a", ".a", "A", "a/b", "a b", "a\n", "é", "a,b", strings.Repeat("x", 64)} {
		if CheckName(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}

func TestDefaultNameIsValid(t *testing.T) {
	for program, want := range map[string]string{
		"cat": "cat-", "/usr/bin/Python3.11": "python3-11-", "../-x": "x-", "": "run-", "...": "run-", "/a/é": "run-",
		strings.Repeat("y", 100): strings.Repeat("y", 40) + "-",
	} {
		name := DefaultName(program)
		if err := CheckName(name); err != nil || !strings.HasPrefix(name, want) {
			t.Errorf("%q: %q, %v; want %s…", program, name, err, want)
		}
		if name == DefaultName(program) {
			t.Errorf("%q: the same name twice", program)
		}
	}
}

func TestPinDirHasNoDot(t *testing.T) {
	if got := PinDir("a.b"); got != "/sys/fs/bpf/stockade/a,b" {
		t.Error(got)
	}
}
