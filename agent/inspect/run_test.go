package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAHelperThatMisbehavesEndsAndTheDocumentSaysSo(t *testing.T) {
	for verb, want := range map[string]string{
		"mute":    "it did not begin in 200ms",
		"early":   `exit status 3`,
		"flood":   "it is longer than 10000 bytes",
		"endless": "token too long",
		"garble":  "it answers what it was not asked",
		"torn":    "it answers what it was not asked",
	} {
		t.Run(verb, func(t *testing.T) {
			var text strings.Builder
			r := newRun([]string{"/proc/self/exe", "do", verb}, Request{Collector: ControlGroup}, &text)
			r.doc.limit = 10_000
			if verb == "mute" {
				r.start = 200 * time.Millisecond
			}
			err := r.all(t.Context())
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if verb == "early" && !strings.Contains(err.Error(), `it said "no \x1bmore\n"`) {
				t.Errorf("error %v", err)
			}
			doc := decode[GroupRecord](t, text.String())
			if len(text.String()) > 10_000+len(err.Error())+100 || doc.Incomplete != err.Error() {
				t.Errorf("%d bytes, incomplete: %q", text.Len(), doc.Incomplete)
			}
			noHelper(t)
		})
	}
}

func TestAnswersForProcessesNobodyAskedForAreRefused(t *testing.T) {
	var text strings.Builder
	r := newRun([]string{"/proc/self/exe", "do", "flood"}, Request{Collector: Processes, Processes: []Process{{PID: 1}, {PID: 2}}}, &text)
	if err := r.all(t.Context()); !errors.Is(err, errGarbled) {
		t.Errorf("error %v", err)
	}
	if doc := decode[ProcessRecord](t, text.String()); len(doc.Processes) != 2 {
		t.Errorf("%d told", len(doc.Processes))
	}
	noHelper(t)
}

func TestAHelperThatCannotStartIsAnError(t *testing.T) {
	var text strings.Builder
	err := Run(t.Context(), []string{"/nowhere"}, Request{Collector: Processes}, &text)
	if !errors.Is(err, os.ErrNotExist) || decode[ProcessRecord](t, text.String()).Incomplete != err.Error() {
		t.Errorf("error %v, %s", err, text.String())
	}
}

// full takes some bytes, and then none.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("full")
	}
	return len(p), nil
}

func TestAWriterThatFailsEndsAll(t *testing.T) {
	for left := range 3 {
		err := Run(t.Context(), helperArgs, Request{Collector: Processes, Processes: []Process{named(t, os.Getpid())}}, &full{left * 60})
		if err == nil || err.Error() != "inspect: write: full: the document is torn; mend what it is written to" {
			t.Errorf("error %v", err)
		}
		noHelper(t)
	}
}

func TestRequestsThatCannotBeReadAreRefused(t *testing.T) {
	for want, r := range map[string]Request{
		`no collector "x"`:         {Collector: "x"},
		"process 0":                {Collector: Processes, Processes: []Process{{}}},
		`group "rel": no absolute`: {Collector: ControlGroup, Groups: []string{"rel"}},
	} {
		var text strings.Builder
		if err := Run(t.Context(), helperArgs, r, &text); err == nil || !strings.Contains(err.Error(), want) || text.Len() != 0 {
			t.Errorf("%+v: %v, %s", r, err, text.String())
		}
	}
}

// A helper that hangs shows what it has.
func TestAHelperHasLittle(t *testing.T) {
	bad, _ := hung(t, "reads")
	t.Setenv("SECRET", "of who started it")
	leaky, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer leaky.Close()
	if _, err := unix.FcntlInt(leaky.Fd(), unix.F_SETFD, 0); err != nil {
		t.Fatal(err)
	}
	leak, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", leaky.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	r := newRun(helperArgs, Request{Collector: Executables, Processes: []Process{bad}}, &text)
	r.patience = time.Second
	done := make(chan error)
	go func() { done <- r.all(t.Context()) }()
	var list []int
	for end := time.Now().Add(time.Second); len(list) == 0 && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		list = helpers(t)
	}
	if len(list) != 1 {
		t.Fatalf("helpers %v", list)
	}
	time.Sleep(200 * time.Millisecond) // it hangs by now
	dir := fmt.Sprintf("/proc/%d/", list[0])
	if env, err := os.ReadFile(dir + "environ"); err != nil || string(env) != "GOMAXPROCS=1\x00" {
		t.Errorf("environment %q, %v", env, err)
	}
	if score, err := os.ReadFile(dir + "oom_score_adj"); err != nil || string(score) != "0\n" {
		t.Errorf("oom_score_adj %q, %v", score, err)
	}
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, _ := os.Readlink(dir + "fd/" + fd.Name()); target == leak {
			t.Errorf("descriptor %s is %s, which it inherited", fd.Name(), target)
		}
	}
	if len(fds) < 4 {
		t.Errorf("%d descriptors", len(fds))
	}
	if hangs, rest := Hangs(<-done); len(hangs) != 1 || rest != nil {
		t.Errorf("%v, %v", hangs, rest)
	}
}

func TestAHelperStartedByHandReadsNothing(t *testing.T) {
	out, err := do(t, "look").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "descriptor 3 is no pipe") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTextOfAnyKindSurvivesJSON(t *testing.T) {
	for _, text := range []string{"", "plain", "a\x00\n\x1b", "\x7f\u0085\u202e\u200b\U000e0001", "<&>", "\xff", "\ufffd"} {
		line := marshal(map[string]any{"text": text, "raw": raw(text)})
		if strings.ContainsFunc(string(line), func(r rune) bool { return r < ' ' || odd(r) }) {
			t.Errorf("%q: %q", text, line)
		}
		var back struct {
			Text string
			Raw  []byte
		}
		if err := json.Unmarshal(line, &back); err != nil {
			t.Fatal(err)
		}
		if back.Raw != nil {
			back.Text = string(back.Raw)
		}
		if back.Text != text {
			t.Errorf("%q: %q", text, back.Text)
		}
	}
}

func TestStatOfAnyNameIsParsed(t *testing.T) {
	fields := strings.Repeat(" 7", 48)
	for _, name := range []string{"", ") R 1 (", "(((", "\xff\n"} {
		if s, err := parseStat([]byte("1 (" + name + ") S" + fields + "\n")); err != nil || s.comm != name || s.state != "S" || s.parent != 7 || s.start != 7 || s.envTo != 7 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	}
	for _, text := range []string{"", "1 )(", "1 (x) S 1", "1 (x) S" + strings.Repeat(" x", 48)} {
		if s, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
}
