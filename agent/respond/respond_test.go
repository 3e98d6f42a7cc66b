package respond

import (
	"archive/tar"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestMain lets the test binary be who looks at processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "look" {
		if inspect.Helper(os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// empty is a kernel of which no task bears a mark.
type empty struct{}

func (empty) Roll() ([]bpf.Marked, error)    { return nil, nil }
func (empty) Tasks() (map[uint32]int, error) { return nil, nil }
func (empty) SetEnding(uint32, bool) error   { return nil }

// office is a desk, and the one workload that is there, which has no cgroup.
type office struct {
	Desk
	empty
	t    *testing.T
	dir  string
	lock error // of locking it down
	held error // of unlocking it
	mode abi.Mode
	// undone: a lockdown is by another at once.
	undone bool
	past   []api.Past
	known  string // its mode but for a lockdown
	papers []Paper
	// looked is called when what lives is counted.
	looked func()
}

func (o *office) Past(string) []api.Past { return o.past }
func (o *office) Remember(_ string, p api.Past) error {
	if n := len(o.past); n > 0 && o.past[n-1].Unfinished {
		o.past = o.past[:n-1]
	}
	o.past = append(o.past, p)
	return nil
}

func (o *office) Tasks() (map[uint32]int, error) {
	if o.looked != nil {
		o.looked()
		o.looked = nil
	}
	return nil, nil
}

func (o *office) Mode(uint32) (abi.Mode, error) { return o.mode, nil }

var alice, bob = lock.Actor{UID: 0, Login: 1000, Name: "alice"}, lock.Actor{UID: 0, Login: 1001, Name: "bob"}

func newOffice(t *testing.T) *office {
	dir := t.TempDir()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{t: t, dir: dir, Desk: Desk{Custody: NewCustody(filepath.Join(dir, "evidence"), func() (ed25519.PrivateKey, error) { return key, nil })}}
	o.Book = o
	return o
}

func (o *office) ask(by lock.Actor, ask api.Respond) (api.Response, error) {
	t := Target{Name: "one", Run: true, Unlocked: o.known, Keep: func() error { return nil }, Papers: func() []Paper { return o.papers },
		Lock: func() error {
			if o.lock == nil && !o.undone {
				o.mode = abi.Lockdown
			}
			return o.lock
		},
		Unlock: func() error {
			if o.held == nil {
				o.mode = abi.Enforce
				o.past = nil
			}
			return o.held
		}}
	return o.Respond(o, by, t.Name, ask, func() (Target, func(), error) { return t, func() {}, nil })
}

// must is ask for what is done.
func (o *office) must(by lock.Actor, ask api.Respond) api.Response {
	o.t.Helper()
	r, err := o.ask(by, ask)
	if err != nil || len(r.Steps) == 0 {
		o.t.Fatalf("%s: %+v, %v", ask.Verb, r, err)
	}
	return r
}

// part is one of a bundle.
func part(t *testing.T, bundle, name string) []byte {
	t.Helper()
	file, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.Name == name {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
}

// The evidence says who typed it, and what stopped the workload first.
func TestEvidenceSaysWhoAndWhatBefore(t *testing.T) {
	o := newOffice(t)
	file := filepath.Join(o.dir, "one.tar")
	o.must(lock.Actor{Login: -1, Name: "policy keys"}, api.Respond{Verb: api.VerbFreeze})
	o.must(bob, api.Respond{Verb: api.VerbThaw})
	o.must(alice, api.Respond{Verb: api.VerbKill, Evidence: file})
	if strings.Contains(string(part(t, file, "response.json")), "standing") {
		t.Error("it has what is for who asked alone")
	}
	var r api.Response
	if err := json.Unmarshal(part(t, file, "response.json"), &r); err != nil {
		t.Fatal(err)
	}
	if r.By == nil || *r.By != alice {
		t.Errorf("by %+v", r.By)
	}
	if len(r.Before) != 1 || !strings.HasPrefix(r.Before[0].String(), "freeze by policy keys on 20") || !r.Before[0].Verified {
		t.Errorf("before it: %+v", r.Before)
	}
}

// The evidence says in which mode it was before it was locked down; of what was locked down
// already, what its keeper knows, and nothing if that knows nothing.
func TestEvidenceSaysTheModeBefore(t *testing.T) {
	for i, c := range []struct {
		mode        abi.Mode
		known, want string
	}{{abi.Audit, "enforce", "audit"}, {abi.Enforce, "", "enforce"}, {abi.Lockdown, "audit", "audit"}, {abi.Lockdown, "", ""}} {
		o := newOffice(t)
		o.mode, o.known = c.mode, c.known
		file := filepath.Join(o.dir, "one.tar")
		if r := o.must(alice, api.Respond{Verb: api.VerbKill, Evidence: file}); r.ModeBefore != c.want {
			t.Errorf("%d: answered %q", i, r.ModeBefore)
		}
		var r map[string]any
		if err := json.Unmarshal(part(t, file, "response.json"), &r); err != nil {
			t.Fatal(err)
		}
		if mode, there := r["mode_before"]; there != (c.want != "") || there && mode != c.want {
			t.Errorf("%d: %v in the evidence", i, mode)
		}
		if r := o.must(alice, api.Respond{Verb: api.VerbUnlock}); r.ModeBefore != "" {
			t.Errorf("%d: an unlock: %q", i, r.ModeBefore)
		}
	}
}

// Notes, and what is remembered, say of evidence that parts of it are missing.
func TestEvidenceThatIsIncompleteIsToldSo(t *testing.T) {
	o := newOffice(t)
	if r := o.must(alice, api.Respond{Verb: api.VerbKill}); strings.Contains(r.Note(), "INCOMPLETE") || strings.Contains(o.past[0].String(), "INCOMPLETE") {
		t.Errorf("whole evidence: %q, %q", r.Note(), o.past[0].String())
	}
	o = newOffice(t)
	o.papers = []Paper{{Name: PoliciesName, Missing: "nobody has them"}}
	r := o.must(alice, api.Respond{Verb: api.VerbKill})
	if !r.Verified || !strings.Contains(r.Note(), "; evidence INCOMPLETE (missing: policies.json) "+r.Evidence.Path+", SHA-256 ") {
		t.Errorf("%q", r.Note())
	}
	if past := o.past[0]; !past.Incomplete || !strings.HasSuffix(past.String(), ", evidence INCOMPLETE in "+r.Evidence.Path) {
		t.Errorf("%q", past.String())
	}
}

// Sockets are told in the form of the other parts, where there are none, too.
func TestSocketsAreAVersionedPart(t *testing.T) {
	o := newOffice(t)
	file := filepath.Join(o.dir, "one.tar")
	o.must(alice, api.Respond{Verb: api.VerbKill, Evidence: file})
	const want = "{\n \"type\": \"sockets\",\n \"version\": 1,\n \"sockets\": []\n}\n"
	if got := string(part(t, file, "sockets.json")); got != want {
		t.Errorf("got %s", got)
	}
}

// What is remembered ends with an unlock, and what failed is not in it.
func TestWhatWasDoneIsRemembered(t *testing.T) {
	o := newOffice(t)
	o.must(alice, api.Respond{Verb: api.VerbLockdown})
	o.must(bob, api.Respond{Verb: api.VerbFreeze})
	o.must(bob, api.Respond{Verb: api.VerbThaw})
	if past := o.past; len(past) != 2 || past[0].By != alice || past[1].By != bob || past[1].Verb != api.VerbFreeze {
		t.Errorf("%+v", past)
	}
	o.must(bob, api.Respond{Verb: api.VerbUnlock})
	if _, err := o.ask(bob, api.Respond{Verb: api.VerbKill, Evidence: filepath.Join(o.dir, "no", "such.tar")}); err == nil || !strings.HasPrefix(err.Error(), "workload one: it was NOT stopped, nothing was done: evidence: ") {
		t.Errorf("evidence in a folder that there is not: %v", err)
	}
	if past := o.past; len(past) != 0 {
		t.Errorf("after its unlock: %+v", past)
	}
}

// What is locked down already is told with who did it, and remembered once; what another
// undid meanwhile, or the same command did, is none.
func TestWhatIsSoAlreadyIsTold(t *testing.T) {
	o := newOffice(t)
	lockdown := api.Respond{Verb: api.VerbLockdown}
	if r := o.must(alice, lockdown); r.Already != nil {
		t.Errorf("the first: %+v", r.Already)
	}
	if r := o.must(alice, lockdown); r.Already != nil {
		t.Errorf("the same command: %+v", r.Already)
	}
	o.past = o.past[:1]
	for range 2 {
		if r := o.must(bob, lockdown); r.Already == nil || r.Already.By != alice || len(o.past) != 1 || !r.Verified {
			t.Errorf("the second: %+v, %+v", r, o.past)
		}
	}
	if r := o.must(bob, api.Respond{Verb: api.VerbFreeze}); r.Already != nil || len(o.past) != 2 {
		t.Errorf("it was not frozen: %+v, %+v", r.Already, o.past)
	}
	o.mode = abi.Enforce
	if r := o.must(bob, lockdown); r.Already != nil || len(o.past) != 3 {
		t.Errorf("undone otherwise: %+v, %+v", r.Already, o.past)
	}
}

// A kill that names a file for evidence is done where that cannot be signed.
func TestAKillIsDoneWhereNothingCanBeSigned(t *testing.T) {
	o := newOffice(t)
	o.Custody.Key = func() (ed25519.PrivateKey, error) { return nil, errors.New("the disk is full") }
	file := filepath.Join(o.dir, "one.tar")
	r := o.must(alice, api.Respond{Verb: api.VerbKill, Evidence: file})
	told := slices.ContainsFunc(r.Steps, func(s api.Step) bool {
		return s.Name == "evidence" && strings.HasSuffix(s.Error, "it cannot be signed, and is not taken: the disk is full")
	})
	if !r.Verified || r.Evidence != nil || !told || !strings.HasSuffix(r.Note(), "; NO EVIDENCE was kept") {
		t.Errorf("%+v", r)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Who began a response is known from the lockdown on, whether or not it ends.
func TestWhoBeganItIsKnown(t *testing.T) {
	o := newOffice(t)
	var began []api.Past
	o.looked = func() { began = append(began[:0], o.past...) }
	o.must(alice, api.Respond{Verb: api.VerbKill, NoEvidence: true})
	if len(began) != 1 || !began[0].Unfinished || began[0].By != alice || !strings.HasSuffix(began[0].String(), ", begun and not ended") {
		t.Errorf("while it went on: %+v", began)
	}
	if len(o.past) != 1 || o.past[0].Unfinished || !o.past[0].Verified {
		t.Errorf("%+v", o.past)
	}
}

// A workload is said to stay locked down only where it is.
func TestLockedDownIsOnlySaidOfWhatIs(t *testing.T) {
	o := newOffice(t)
	ask := api.Respond{Verb: api.VerbKill, NoEvidence: true}
	if r := o.must(alice, ask); !r.LockedDown() {
		t.Errorf("%+v", r.Steps)
	}
	o.undone, o.mode = true, abi.Enforce
	if r := o.must(alice, ask); r.LockedDown() || !strings.Contains(r.Steps[len(r.Steps)-1].Error, "unlocked meanwhile") {
		t.Errorf("unlocked meanwhile: %+v", r.Steps)
	}
	o.undone, o.lock = false, errors.New("no")
	if r := o.must(alice, ask); r.LockedDown() {
		t.Errorf("%+v", r.Steps)
	}
	if r := api.FailedResponse("one", api.VerbKill, o.lock); r.LockedDown() {
		t.Errorf("one that was not reached: %+v", r.Steps)
	}
	if r := o.must(alice, api.Respond{Verb: api.VerbThaw}); r.LockedDown() {
		t.Errorf("thaw: %+v", r.Steps)
	}
}

// What could not be locked down, or is held by a lock, is told in one way: it was tried,
// and is not verified.
func TestWhatFailsIsNotVerified(t *testing.T) {
	o := newOffice(t)
	o.lock = errors.New("the kernel refuses")
	for verb, want := range map[string]string{api.VerbLockdown: "NOT LOCKED DOWN", api.VerbFreeze: "NOT VERIFIED"} {
		if r := o.must(alice, api.Respond{Verb: verb}); r.Verified || r.Outcome() != want || !strings.Contains(r.About(), "lockdown: the kernel refuses") {
			t.Errorf("%s: %+v", verb, r)
		}
	}
	o.held, o.mode = errors.New("a lock holds it"), abi.Lockdown
	if r := o.must(alice, api.Respond{Verb: api.VerbUnlock}); r.Verified || len(r.Steps) != 1 || r.About() != "NOT UNLOCKED; unlock: a lock holds it" {
		t.Errorf("%+v", r)
	}
}

// Who undoes what was not done is told so.
func TestUndoingNothingIsTold(t *testing.T) {
	o := newOffice(t)
	for _, c := range []struct{ before, verb, want string }{
		{"", api.VerbUnlock, "verified: it was neither locked down nor frozen"},
		{"", api.VerbThaw, "verified: it was not frozen"},
		{api.VerbLockdown, api.VerbThaw, "verified: it was not frozen"},
		{api.VerbLockdown, api.VerbUnlock, "verified: it is under its policies again, and nothing of it stands still"},
	} {
		if c.before != "" {
			o.must(alice, api.Respond{Verb: c.before})
		}
		if r := o.must(alice, api.Respond{Verb: c.verb}); !r.Verified || r.Outcome() != c.want {
			t.Errorf("%s after %q: %s", c.verb, c.before, r.Outcome())
		}
	}
}
