package deputy

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/memory"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// set has two workloads and no cgroups.
type set struct {
	locked []string
	fails  error
	reused bool
	ending bool
	over   bool // nothing lives
	mode   abi.Mode
}

func (s *set) Roll() ([]bpf.Marked, error) {
	return []bpf.Marked{{Workload: 2, PID: 1 << 30, TGID: 1 << 30}}, nil
}
func (s *set) SetEnding(_ uint32, on bool) error {
	s.ending = on
	return nil
}
func (s *set) Close() error                  { return nil }
func (s *set) Mode(uint32) (abi.Mode, error) { return s.mode, nil }
func (s *set) Tasks() (map[uint32]int, error) {
	if s.over {
		return nil, nil
	}
	return map[uint32]int{1: 4, 2: 7}, nil
}
func (s *set) Groups() (map[uint64]uint32, error) {
	return map[uint64]uint32{1 << 60: 2, 2 << 60: 3}, nil
}
func (s *set) LockDown(_ uint32, name string) error {
	if s.locked = append(s.locked, name); s.fails == nil {
		s.mode = abi.Lockdown
	}
	return s.fails
}
func (s *set) Workload(id uint32) (bpf.Workload, error) {
	all, err := s.Workloads()
	for _, w := range all {
		if w.ID == id {
			return w, err
		}
	}
	return bpf.Workload{ID: id, Mode: abi.Enforce}, nil
}
func (s *set) Workloads() ([]bpf.Workload, error) {
	if s.reused {
		return []bpf.Workload{{ID: 2, Name: "other"}}, nil
	}
	return []bpf.Workload{{ID: 2, Name: "web", Mode: abi.Enforce, Generation: 3, Counters: abi.Counters{Denied: 5}}, {ID: 3, Name: "new", Mode: abi.Audit}}, nil
}

func newTest(t *testing.T, s *set) *Deputy {
	t.Helper()
	dir := t.TempDir()
	m := memory.Memory{Origin: "config", BaseMode: abi.Audit, Labels: label.Set{"team": "blue"}, Input: compiler.Input{Principal: `User::"ci"`, Sources: []compiler.Source{{Name: "a", Text: []byte("permit (principal, action, resource);")}}}}
	if err := m.Keep(dir, "web"); err != nil {
		t.Fatal(err)
	}
	d := newDeputy(s, dir, "", memory.Book(dir+"/"))
	d.desk.Custody.Folder = filepath.Join(dir, "evidence")
	return d
}

func TestAWorkloadIsWhatItsKeeperRemembered(t *testing.T) {
	d := newTest(t, &set{})
	list, err := d.Workloads()
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	if w := list[0]; w.Name != "web" || w.Mode != "enforce" || w.Tasks != 7 || w.Denied != 5 || w.Principal != `User::"ci"` || w.Labels["team"] != "blue" || w.Origin != "config" {
		t.Errorf("%+v", w)
	}
	if w := list[1]; w.Name != "new" || w.Origin != api.OriginUnknown || w.Labels != nil || w.Principal != "" {
		t.Errorf("%+v", w)
	}
	if _, err := d.Inspect(t.Context(), "none"); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestLockingDownNeedsNoKeeperAndUnlockingDoes(t *testing.T) {
	s := &set{}
	d := newTest(t, s)
	r, err := d.Respond(lock.Actor{PID: 1}, "web", api.Respond{Verb: api.VerbLockdown})
	if err != nil || !r.Verified || !r.Unattended || r.By.PID != 1 || !slices.Equal(s.locked, []string{"web"}) {
		t.Errorf("%+v, %v; %v", r, err, s.locked)
	}
	if r.ModeBefore != "enforce" {
		t.Errorf("before it was in %q", r.ModeBefore)
	}
	if r, err := d.Respond(lock.Actor{PID: 1}, "web", api.Respond{Verb: api.VerbLockdown}); err != nil || r.ModeBefore != "audit" {
		t.Errorf("what was locked down has the mode that is remembered: %+v, %v", r, err)
	}
	if past := d.book.Past("web"); len(past) != 1 || !past[0].Unattended || !strings.HasSuffix(past[0].String(), ", when nobody answered for it") {
		t.Errorf("remembered: %+v", past)
	}
	if list, err := d.Workloads(); err != nil || len(list[0].Responses) != 1 || len(list[1].Responses) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if r, err := d.Respond(lock.Actor{}, "web", api.Respond{Verb: api.VerbUnlock}); err != nil || r.Verified || !strings.Contains(r.Steps[0].Error, "start the agent") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := d.Respond(lock.Actor{}, "none", api.Respond{Verb: api.VerbLockdown}); !errors.Is(err, api.ErrNotFound) || r.Verified {
		t.Errorf("%+v, %v", r, err)
	}
	s.fails = errors.New("no")
	if r, err := d.Respond(lock.Actor{}, "web", api.Respond{Verb: api.VerbLockdown}); err != nil || r.Verified || !strings.Contains(r.Steps[0].Error, "no") {
		t.Errorf("%+v, %v", r, err)
	}
}

// An agent that comes back gives a number to another workload once nothing is left of the
// first: no task of that is meant.
func TestANumberThatIsAnothersIsLeftAlone(t *testing.T) {
	s := &set{}
	d := newTest(t, s)
	w, err := d.named("web")
	if err != nil {
		t.Fatal(err)
	}
	k := kept{s, w.Workload}
	if k.SetEnding(2, true) != nil || s.ending {
		t.Error("one that is not locked down may make tasks")
	}
	s.mode = abi.Lockdown
	if list, err := k.Roll(); err != nil || len(list) != 1 || k.SetEnding(2, true) != nil || !s.ending {
		t.Errorf("%v, %v, ending %v", list, err, s.ending)
	}
	s.reused, s.ending = true, false
	list, err := k.Roll()
	tasks, err2 := k.Tasks()
	if len(list)+len(tasks) != 0 || err != nil || err2 != nil || k.SetEnding(2, true) == nil || s.ending {
		t.Errorf("%v, %v, %v, %v, ending %v", list, tasks, err, err2, s.ending)
	}
}

// told lists papers, and those that are missing with why; what is written is JSON.
func told(t *testing.T, list []respond.Paper) (there string, missing map[string]string) {
	t.Helper()
	var names []string
	missing = map[string]string{}
	for _, p := range list {
		if p.Missing != "" {
			missing[p.Name] = p.Missing
			continue
		}
		names = append(names, p.Name)
		var text strings.Builder
		if err := p.Write(&text); err != nil || text.Len() == 0 || strings.HasSuffix(p.Name, ".json") && !json.Valid([]byte(text.String())) {
			t.Errorf("%s: %q, %v", p.Name, text.String(), err)
		}
	}
	return strings.Join(names, " "), missing
}

// What is remembered is in the evidence, and what is not there is named, with why.
func TestPapersThatNobodyHasAreNamedWithWhy(t *testing.T) {
	d := newTest(t, &set{})
	r := newDeputy(&set{}, "", "r", memory.Book(t.TempDir()+"/@"))
	for _, c := range []struct {
		of                          *Deputy
		name, there, policies, last string
	}{
		{d, "web", "policies.json policies/0.cedar workload.json", "", "the next one's log has them"},
		{d, "new", "workload.json", "remembered nothing of it: neither its policies", "the next one's log has them"},
		{d, "torn", "workload.json", "its memory cannot be read", "the next one's log"},
		{r, "r", "workload.json", "the run did not answer, and it alone has them: neither its policies", "it prints them if it goes on"},
	} {
		name := c.name
		if name == "torn" {
			if err := os.WriteFile(memory.Path(d.memories, "web"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			name = "web"
		}
		w, err := c.of.named(name)
		if err != nil {
			t.Fatal(err)
		}
		there, missing := told(t, c.of.papers(w))
		if there != c.there || !strings.Contains(missing["denials.jsonl"], c.last) || (c.policies != "") != (missing["policies.json"] != "") || !strings.Contains(missing["policies.json"], c.policies) {
			t.Errorf("%s: %s; missing %q", c.name, there, missing)
		}
	}
}

// The bundle of a run that does not answer names what it lacks.
func TestTheBundleOfAMuteRunSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	d := newDeputy(&set{}, "", "r", memory.Book(dir+"/@"))
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	d.desk.Custody.Folder, d.desk.Custody.Key = dir, func() (ed25519.PrivateKey, error) { return key, nil }
	r, err := d.Respond(lock.Actor{PID: 1}, "r", api.Respond{Verb: api.VerbKill, Within: time.Second})
	if err != nil || r.Evidence == nil {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, name := range []string{"policies.json", "denials.jsonl"} {
		if !slices.Contains(r.Evidence.Missing, name) || slices.Contains(r.Evidence.Parts, name) {
			t.Errorf("%s: %+v", name, r.Evidence)
		}
	}
	if !slices.Contains(r.Evidence.Parts, "workload.json") {
		t.Errorf("%+v", r.Evidence)
	}
}

// A memory that cannot be read is none: labels are not guessed.
func TestAMemoryThatCannotBeReadIsNone(t *testing.T) {
	d := newTest(t, &set{})
	if err := os.WriteFile(memory.Path(d.memories, "web"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := d.Workloads(); err != nil || len(list) != 2 || list[0].Labels != nil || list[0].Error == "" || list[0].Origin != api.OriginUnknown {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestARunIsTheOneWorkloadOfItsSet(t *testing.T) {
	d := newDeputy(&set{}, "", "r", memory.Book(t.TempDir()+"/@"))
	if list, err := d.Workloads(); err != nil || len(list) != 1 || list[0].Name != "r" || strings.Join(list[0].Cgroups, " ") != "stockade/r" || list[0].Tasks != 4 {
		t.Errorf("%+v, %v", list, err)
	}
	r, err := d.Respond(lock.Actor{}, "r", api.Respond{Verb: api.VerbUnlock})
	if err != nil || !r.Run || !r.OwnSet || !strings.Contains(r.Steps[0].Error, "let the run go on") {
		t.Errorf("%+v, %v", r, err)
	}
	d.set.(*set).over = true
	if r, err := d.Respond(lock.Actor{}, "r", api.Respond{Verb: api.VerbUnlock}); err != nil || !strings.Contains(r.Steps[0].Error, "nothing of it lives: nothing is to be unlocked") {
		t.Errorf("nothing is left: %+v, %v", r, err)
	}
}

func TestOutermostGroups(t *testing.T) {
	of := map[uint64]uint32{1: 2, 2: 2, 3: 2, 4: 2, 5: 3, 6: 2, 7: 3}
	paths := map[uint64]string{1: "a", 2: "a/b", 3: "a-b", 4: "s", 5: "s/x", 6: "s/y", 7: "z"}
	if got := strings.Join(outermost(2, of, paths), " "); got != "a a-b s/y" {
		t.Error(got)
	}
	if got := strings.Join(outermost(3, of, paths), " "); got != "s/x z" {
		t.Error(got)
	}
}
