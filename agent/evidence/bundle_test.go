package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/host"
)

func TestBundleHoldsWhatWasTaken(t *testing.T) {
	b := begin(t, options())
	add(t, b, "processes.json", "[]")
	add(t, b, "empty", "")
	if err := b.Add(t.Context(), Part{Name: "half", Take: writes("some", errors.New("it went away"))}); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), Part{Name: "none", Method: "ask", Take: writes("", errors.New("nobody answers"))}); err != nil {
		t.Fatal(err)
	}
	if err := b.Add(t.Context(), Part{Name: "panics", Take: func(context.Context, io.Writer) error { panic("odd") }}); err != nil {
		t.Fatal(err)
	}
	if err := b.Missing("memory.bin", "read", "it is locked"); err != nil {
		t.Fatal(err)
	}
	s, r := finish(t, b)

	at := time.Date(2026, 3, 1, 10, 0, 1, 237654321+250000000, time.UTC)
	want := Manifest{
		Version: 1, Workload: "agent-7", Host: options().Host, Began: at.Add(-time.Second / 4), Ended: at.Add(time.Second * 5 / 4),
		Parts: []Record{
			{Name: "processes.json", Size: 2, SHA256: digest([]byte("[]")), Method: "read", Began: at, Boot: 5400250000000, Seconds: 0.25, Limit: DefaultPartLimit},
			{Name: "empty", SHA256: digest(nil), Method: "read", Began: at.Add(time.Second / 4), Boot: 5400750000000, Seconds: 0.25, Limit: DefaultPartLimit},
			{Name: "half", Size: 4, SHA256: digest([]byte("some")), Began: at.Add(time.Second / 2), Boot: 5401250000000, Seconds: 0.25, Limit: DefaultPartLimit, Error: "it went away"},
		},
		Missing: []Absent{
			{Name: "none", Method: "ask", Why: "nobody answers"},
			{Name: "panics", Why: "panic: odd"},
			{Name: "memory.bin", Method: "read", Why: "it is locked"},
		},
	}
	if got, want := text(t, r.Manifest), text(t, want); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if !r.Checked || r.KeyID != KeyID(public(hosts)) {
		t.Errorf("key %s, checked: %t", r.KeyID, r.Checked)
	}
	content, err := os.ReadFile(s.Path)
	if err != nil {
		t.Fatal(err)
	}
	if s.SHA256 != digest(content) || s.Size != int64(len(content)) || r.SHA256 != s.SHA256 || r.Size != s.Size || s.KeyID != r.KeyID {
		t.Errorf("summary %+v of a file of %d bytes, %s; report %+v", s, len(content), digest(content), r)
	}
	if got := fmt.Sprint(s.Parts, s.Missing); got != "[processes.json empty half] [none panics memory.bin]" {
		t.Errorf("summary: %s", got)
	}
	var names []string
	for _, m := range unpack(t, content) { // any tar reads it
		names = append(names, m.name)
	}
	if got := fmt.Sprint(names); got != "[processes.json empty half manifest.json manifest.dsse.json]" {
		t.Errorf("entries %s", got)
	}
	if info, err := os.Stat(s.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left := files(t, s.Path); len(left) != 1 {
		t.Errorf("beside it: %v", left)
	}
}

func text(t *testing.T, what any) string {
	t.Helper()
	s, err := json.MarshalIndent(what, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// The clocks are the machine's where none are given: a part began after boot, before now.
func TestTimesAreThoseOfTheMachine(t *testing.T) {
	o := options()
	o.Now, o.Boot = nil, nil
	before := time.Now()
	b := begin(t, o)
	up := boot()
	add(t, b, "a", "x")
	_, r := finish(t, b)
	p := r.Parts[0]
	if p.Began.Before(r.Began) || r.Began.Before(before) || r.Ended.Before(p.Began) || time.Now().Before(r.Ended) {
		t.Errorf("began %v, part %v, ended %v", r.Began, p.Began, r.Ended)
	}
	if up == 0 || p.Boot < up.Nanoseconds() || p.Boot > boot().Nanoseconds() || p.Seconds < 0 {
		t.Errorf("boot %d, %f s", p.Boot, p.Seconds)
	}
}

func TestEqualEvidenceIsEqualBytes(t *testing.T) {
	if one, other := small(t), small(t); !bytes.Equal(one, other) {
		t.Error("two bundles of the same differ")
	}
}

// What was taken with the first version of the format can be checked by all that follow.
func TestBundleOfTheFirstVersionIsGood(t *testing.T) {
	r, err := VerifyFile("testdata/version1.tar", public(hosts))
	if err != nil || len(r.Parts) != 2 || len(r.Missing) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPartThatIsTooLongIsTruncated(t *testing.T) {
	for _, c := range []struct {
		text, want string
		cut        bool
		err        string
		take       func(context.Context, io.Writer) error
	}{
		{want: "1234", take: writes("1234", nil)},
		{want: "1234", cut: true, take: writes("12345", nil)},
		{want: "1234", cut: true, err: "gone", take: func(_ context.Context, w io.Writer) error { // it does not care
			_, _ = io.WriteString(w, "123")
			_, _ = io.WriteString(w, "456")
			_, _ = io.WriteString(w, "7")
			return errors.New("gone")
		}},
	} {
		b := begin(t, options())
		if err := b.Add(t.Context(), Part{Name: "a", Limit: 4, Take: c.take}); err != nil {
			t.Fatal(err)
		}
		s, r := finish(t, b)
		p := r.Parts[0]
		if p.Truncated != c.cut || p.Limit != 4 || p.Error != c.err {
			t.Errorf("%+v, want truncated: %t, error %q", p, c.cut, c.err)
		}
		content, _ := os.ReadFile(s.Path)
		if got := unpack(t, content)[0].text; got != c.want {
			t.Errorf("got %q", got)
		}
	}
}

func TestBundleThatIsFullSaysSo(t *testing.T) {
	o := options()
	o.Limit = 5 * block
	b := begin(t, o)
	add(t, b, "a", strings.Repeat("a", block+1)) // three blocks
	add(t, b, "b", strings.Repeat("b", block+1)) // there is room for a header and a block
	add(t, b, "c", "c")
	s, r := finish(t, b)
	if p := r.Parts[1]; len(r.Parts) != 2 || p.Size != block || !p.Truncated || p.Limit != block {
		t.Errorf("%+v", r.Parts)
	}
	if len(r.Missing) != 1 || !strings.Contains(r.Missing[0].Why, "the bundle is full: its parts have 2560 bytes, with their headers, of at most 2560") {
		t.Errorf("%+v", r.Missing)
	}
	if len(s.Missing) != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTakeThatHangsIsGivenUp(t *testing.T) {
	for _, c := range []struct{ begins, want string }{
		{"half", "[half next] [after]"},
		{"", "[next] [half after]"},
	} {
		b := begin(t, options())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		release, late := make(chan bool), make(chan error, 2)
		hang := func(_ context.Context, w io.Writer) error {
			_, _ = io.WriteString(w, c.begins)
			<-release
			for range cap(late) { // two at once
				go func() {
					_, err := io.WriteString(w, "late")
					late <- err
				}()
			}
			return nil
		}
		if err := b.Add(ctx, Part{Name: "half", Take: hang}); err != nil {
			t.Fatal(err)
		}
		if err := b.Add(ctx, Part{Name: "after", Take: hang}); err != nil {
			t.Fatal(err)
		}
		close(release) // while the next is taken, and the file is written
		add(t, b, "next", "next")
		s, r := finish(t, b)
		for range cap(late) {
			if err := <-late; !errors.Is(err, errLate) {
				t.Errorf("a late write: %v", err)
			}
		}
		if got := fmt.Sprint(s.Parts, s.Missing); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		why := r.Missing[0].Why
		if c.begins != "" {
			why = r.Parts[0].Error
		}
		if why != "given up: context deadline exceeded" || r.Missing[len(r.Missing)-1].Why != "not begun: context deadline exceeded" {
			t.Errorf("%q, %+v", why, r.Missing)
		}
		if _, err := VerifyFile(s.Path, public(hosts)); err != nil {
			t.Error(err)
		}
	}
}

func TestNameThatIsNoneIsRefused(t *testing.T) {
	b := begin(t, options())
	add(t, b, "net/tcp", "")
	for _, name := range []string{
		"", ".", "..", "/a", "a/", "a//b", "a/../b", "./a", "A", "a b", "a\n", "ä", "a\\b", "a\x00", strings.Repeat("a", 101),
		"manifest.json", "manifest.dsse.json", "net/tcp", "net", "net/tcp/a",
	} {
		called := false
		err := b.Add(t.Context(), Part{Name: name, Take: func(context.Context, io.Writer) error {
			called = true
			return nil
		}})
		if err == nil || called || b.Missing(name, "", "") == nil {
			t.Errorf("%q: %v, called: %t", name, err, called)
		}
	}
	for _, name := range []string{"a", ".a", "0-a_b.c/d", "network", strings.Repeat("a", 100)} {
		add(t, b, name, "")
	}
	if s, _ := finish(t, b); len(s.Parts) != 6 || len(s.Missing) != 0 {
		t.Errorf("%+v", s)
	}
}

// A text that a workload chose does nothing to who reads it, and is not without end.
func TestTextsAreTidy(t *testing.T) {
	o := options()
	o.Workload = "a\x1b[2J\xff\u202eb\u0085\n"
	b := begin(t, o)
	long := errors.New(strings.Repeat("ä", 1000) + "\x00")
	if err := b.Add(t.Context(), Part{Name: "a", Method: "<&>\u2028", Take: writes("x", long)}); err != nil {
		t.Fatal(err)
	}
	_, r := finish(t, b)
	if want := "a\ufffd[2J\ufffd\ufffdb\ufffd\ufffd"; r.Workload != want {
		t.Errorf("%q", r.Workload)
	}
	if p := r.Parts[0]; p.Method != "<&>\u2028" || p.Error != strings.Repeat("ä", 254)+"…" {
		t.Errorf("%q, %q", p.Method, p.Error)
	}
}

// The most parts, with the longest names and texts, have room in what is read.
func TestMostPartsFit(t *testing.T) {
	for _, r := range []string{`"`, "<", "\u2028", "\x00"} {
		mostParts(t, strings.Repeat(r, 2*maxText))
	}
}

func mostParts(t *testing.T, worst string) {
	b := begin(t, options())
	name := func(i int) string { return strings.Repeat("a", maxName-3) + fmt.Sprintf("%03d", i) }
	for i := range MaxParts {
		if err := b.Add(t.Context(), Part{Name: name(i), Method: worst, Take: writes("x", errors.New(worst))}); err != nil {
			t.Fatal(err)
		}
	}
	says(t, b.Missing("one-more", "", ""), "there are 256 already")
	if s, _ := finish(t, b); len(s.Parts) != MaxParts {
		t.Errorf("%q: %d parts, want %d", worst[:3], len(s.Parts), MaxParts)
	}
}

func TestFileThatIsThereIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "evidence.tar")
	for what, make := range map[string]func() error{
		"a file": func() error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"a link": func() error { return os.Symlink("/nowhere", path) },
	} {
		b, err := Create(path, options())
		if err != nil {
			t.Fatal(err)
		}
		add(t, b, "a", "x")
		if err := make(); err != nil { // meanwhile
			t.Fatal(err)
		}
		if _, err := Create(path, options()); !errors.Is(err, os.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
		s, err := b.Close()
		if !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), s.Path) {
			t.Errorf("%s: %v", what, err)
		}
		// The evidence is not lost: it has the other name.
		if r, err := VerifyFile(s.Path, public(hosts)); err != nil || r.SHA256 != s.SHA256 {
			t.Errorf("%s: %s: %v", what, s.Path, err)
		}
		if text, err := os.ReadFile(path); what == "a file" && (err != nil || string(text) != "mine") {
			t.Errorf("%q, %v", text, err)
		}
		if target, err := os.Readlink(path); what == "a link" && (err != nil || target != "/nowhere") {
			t.Errorf("%q, %v", target, err)
		}
		os.Remove(path)
	}
}

func TestBundleThatIsEndedTakesNoMore(t *testing.T) {
	for what, end := range map[string]func(*Bundle) error{
		"closed": func(b *Bundle) error {
			_, err := b.Close()
			return err
		},
		"abandoned": func(b *Bundle) error {
			b.Abandon()
			return nil
		},
	} {
		b := begin(t, options())
		add(t, b, "a", "x")
		if got := files(t, b.path); len(got) != 1 || !strings.HasPrefix(got[0], "evidence.tar.partial-") {
			t.Errorf("%s: while it is taken: %v", what, got)
		}
		if err := end(b); err != nil {
			t.Fatal(err)
		}
		says(t, b.Add(t.Context(), Part{Name: "b"}), "the bundle is closed")
		says(t, b.Missing("b", "", ""), "the bundle is closed")
		_, err := b.Close()
		says(t, err, "the bundle is closed")
		b.Abandon()
		if got, want := files(t, b.path), map[string][]string{"closed": {"evidence.tar"}, "abandoned": nil}[what]; !slices.Equal(got, want) {
			t.Errorf("%s: left: %v", what, got)
		}
	}
}

func TestBundleThatCannotBeMadeIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		path, want string
		change     func(*Options)
	}{
		{path: dir + "/none/a.tar", want: "no such file"},
		{path: dir + "/", want: "it names no file"},
		{path: "..", want: "it names no file"},
		{path: dir + "/a.tar", want: "the key has 0 bytes", change: func(o *Options) { o.Key = nil }},
		{path: dir + "/a.tar", want: "a limit of -1 bytes", change: func(o *Options) { o.Limit = -1 }},
		{path: dir + "/a.tar", want: "it is too great", change: func(o *Options) { o.Limit = MaxLimit }},
	} {
		o := options()
		if c.change != nil {
			c.change(&o)
		}
		_, err := Create(c.path, o)
		says(t, err, c.want)
		says(t, err, ": nothing is taken; name a new file")
	}
	if got := files(t, dir+"/x"); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// The fingerprint is the one that `stockade key show` prints.
func TestKeyIDIsTheHosts(t *testing.T) {
	if _, want := host.PublicKey(hosts); KeyID(public(hosts)) != want {
		t.Errorf("%s, want %s", KeyID(public(hosts)), want)
	}
}

// ten makes a bundle of ten parts of a MiB each.
func ten(b *testing.B, path string) {
	part := strings.Repeat("0123456789abcdef", 1<<16)
	bundle, err := Create(path, options())
	if err != nil {
		b.Fatal(err)
	}
	for i := range 10 {
		add(b, bundle, fmt.Sprint(i), part)
	}
	if _, err := bundle.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkTake(b *testing.B) {
	dir := b.TempDir()
	b.SetBytes(10 << 20)
	for i := 0; b.Loop(); i++ {
		ten(b, fmt.Sprintf("%s/%d.tar", dir, i))
	}
}

func BenchmarkVerify(b *testing.B) {
	path := b.TempDir() + "/a.tar"
	ten(b, path)
	b.SetBytes(10 << 20)
	for b.Loop() {
		if _, err := VerifyFile(path, public(hosts)); err != nil {
			b.Fatal(err)
		}
	}
}
