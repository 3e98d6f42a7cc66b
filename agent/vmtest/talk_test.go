package vmtest

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// talk is what a test and the entry of a container of an engine say to each other, by a
// folder that is /vol in there.
//
//	DIR
//	├── in      a pipe: the entry does what it is told there
//	└── out     what the entry says
type talk struct {
	t         *testing.T
	name, dir string
	in        *os.File
	read      int // so much of out is read
	patience  time.Duration
}

// talking is such an entry.
var talking = []string{"/bin/sh", "-c", "exec </vol/in >>/vol/out 2>&1; " + entry[2]}

func newTalk(t *testing.T, name, dir string) *talk {
	t.Helper()
	b := &talk{t: t, name: name, dir: dir, patience: 30 * time.Second}
	must(os.RemoveAll(dir))
	must(os.MkdirAll(dir, 0o755))
	must(syscall.Mkfifo(dir+"/in", 0o644))
	put(dir+"/out", "")
	var err error
	b.in, err = os.OpenFile(dir+"/in", os.O_RDWR, 0)
	must(err)
	t.Cleanup(func() { b.in.Close() })
	return b
}

func (b *talk) ready() {
	b.t.Helper()
	if line := b.line(); line != "ready" {
		b.t.Fatalf("%s says %q", b.name, line)
	}
}

// line is the next that the entry says.
func (b *talk) line() string {
	b.t.Helper()
	for end := time.Now().Add(b.patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(b.dir + "/out")
		must(err)
		if line, _, whole := strings.Cut(string(text[b.read:]), "\n"); whole {
			b.read += len(line) + 1
			return line
		}
	}
	b.t.Fatalf("%s says nothing", b.name)
	return ""
}

func (b *talk) ask(how, what string) string {
	b.t.Helper()
	_, err := fmt.Fprintln(b.in, how, what)
	must(err)
	return b.line()
}

// confined demands that its entry may read what it may, and nothing else.
func (b *talk) confined() {
	b.t.Helper()
	if got := b.ask("read", "/data/ok"); got != "done: ok" {
		b.t.Errorf("%s: what it may read: %q", b.name, got)
	}
	if got := b.ask("read", "/data/secret"); !strings.HasPrefix(got, "failed: ") || !strings.Contains(got, "ermission denied") {
		b.t.Errorf("%s: what it may not read: %q", b.name, got)
	}
}

// goOn takes up a talk after a boot, past what was said.
func goOn(t *testing.T, name, dir string) *talk {
	t.Helper()
	b := &talk{t: t, name: name, dir: dir, patience: 2 * time.Minute}
	said, err := os.ReadFile(dir + "/out")
	must(err)
	b.read = len(said)
	b.in, err = os.OpenFile(dir+"/in", os.O_RDWR, 0)
	must(err)
	t.Cleanup(func() { b.in.Close() })
	return b
}
