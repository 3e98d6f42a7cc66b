package inspect

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes the tests' program a helper, too, and each of the processes that are
// looked at.
func TestMain(m *testing.M) {
	if len(os.Args) < 3 || os.Args[1] != "do" {
		os.Exit(m.Run())
	}
	verbs := map[string]func(args []string){
		"look":      func([]string) { must(Helper(os.Stdin, os.Stdout)) },
		"odd":       beOdd,
		"map":       beMapped,
		"hang":      beHung,
		"headless":  beHeadless,
		"tables":    beTables,
		"apart":     lookApart,
		"torn-args": beTorn,
		"mute":      func([]string) { time.Sleep(time.Minute) },
		"early":     func([]string) { fmt.Fprintln(os.Stderr, "no \x1bmore"); os.Exit(3) },
		"flood":     func([]string) { sayForever("r{}\n") },
		"endless":   func([]string) { sayForever(strings.Repeat("r{}", 10_000)) },
		"garble":    func([]string) { sayForever("x\n") },
		"torn":      func([]string) { os.Stdout.WriteString(`r{"pid":`) },
	}
	verbs[os.Args[2]](os.Args[3:])
	os.Exit(0)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sayForever(text string) {
	for {
		if _, err := os.Stdout.WriteString(text); err != nil {
			return
		}
	}
}

// ready tells the test that all is as it shall be seen, and stays for as long as the test.
func ready() {
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// look is the argv of a helper.
var helperArgs = []string{"/proc/self/exe", "do", "look"}

// start starts a process that says a line when it is as wanted, and is killed at the
// latest when the test ends.
func start(t *testing.T, cmd *exec.Cmd) Process {
	t.Helper()
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var plaint strings.Builder
	cmd.Stderr = &plaint
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("%q did not begin: %v: %s", cmd.Args[2:], err, plaint.String())
	}
	return named(t, cmd.Process.Pid)
}

// do is the tests' own program as a process of some kind.
func do(t *testing.T, kind string, args ...string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(program, append([]string{"do", kind}, args...)...)
}

// named names a process as a request does.
func named(t *testing.T, pid int) Process {
	t.Helper()
	began, err := Start(pid)
	if err != nil {
		t.Fatal(err)
	}
	return Process{PID: pid, Start: began}
}

// ask has a real helper read, and decodes its document.
func ask[T any](t *testing.T, r Request) (Document[T], error) {
	t.Helper()
	var text strings.Builder
	err := Run(t.Context(), helperArgs, r, &text)
	return decode[T](t, text.String()), err
}

// one is ask for one process, of which all must be read.
func one[T any](t *testing.T, collector string, p Process) T {
	t.Helper()
	doc, err := ask[T](t, Request{Collector: collector, Processes: []Process{p}})
	if err != nil || len(doc.Processes) != 1 || doc.Incomplete != "" || doc.Type != collector {
		t.Fatalf("%s: %v, %+v", collector, err, doc)
	}
	return doc.Processes[0]
}

// Document is a document with its records.
type Document[T any] struct {
	Type       string
	Version    int
	Processes  []T
	Cgroups    []T
	Cut        Cuts
	Incomplete string
}

// decode decodes a document that has no field that is not known, and no character that a
// terminal acts on.
func decode[T any](t *testing.T, text string) (doc Document[T]) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("document: %v\n%.2000q", err, text)
	}
	if rest, _ := io.ReadAll(d.Buffered()); strings.TrimSpace(string(rest)) != "" {
		t.Errorf("after the document: %q", rest)
	}
	for _, r := range text {
		if r != '\n' && (r < ' ' || odd(r)) {
			t.Fatalf("document holds %U", r)
		}
	}
	if doc.Version != Version {
		t.Errorf("version %d", doc.Version)
	}
	return doc
}

// helpers lists the processes that were started by this one to help.
func helpers(t *testing.T) (list []int) {
	t.Helper()
	dirs, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		pid, err := strconv.Atoi(d.Name())
		if err != nil {
			continue
		}
		text, _, err := readAt(unix.AT_FDCWD, fmt.Sprintf("/proc/%d/stat", pid), maxSmall)
		if err != nil {
			continue
		}
		// No other child has a session of its own. Its command line may hang.
		if s, err := parseStat(text); err == nil && s.parent == os.Getpid() && s.session == pid {
			list = append(list, pid)
		}
	}
	return list
}

// noHelper asserts that none is left.
func noHelper(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(3 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		list := helpers(t)
		if len(list) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("helpers left: %v", list)
		}
	}
}

// lacking skips a test where the machine lacks something; STOCKADE_STRICT=1 turns that into
// a failure.
func lacking(t *testing.T, what string, err error) {
	t.Helper()
	if os.Getenv("STOCKADE_STRICT") == "1" {
		t.Fatalf("%s: %v", what, err)
	}
	t.Skipf("%s: %v", what, err)
}
