package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/bpf/abi"
)

var (
	one  = label.Selection{Principal: `User::"one"`}
	blue = label.Selection{Labels: label.Set{"team": "blue"}}
)

const labelled = yardConfig + `    labels: {team: blue, tier: test}
`

// mode is that of a workload, in the kernel.
func (y *yard) mode(d *Daemon, name string) abi.Mode { return y.set.now(d.all.named(name).id).Mode }

// refuses checks an error.
func refuses(t *testing.T, what string, err error, says ...string) {
	t.Helper()
	for _, text := range says {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v, want %q", what, err, text)
		}
	}
}

// locked checks that a workload is locked down, and that nothing but the end of its lock
// changes that.
func (y *yard) locked(d *Daemon, name, by string) {
	y.t.Helper()
	if m := y.mode(d, name); m != abi.Lockdown {
		y.t.Errorf("%s: mode %v", name, m)
	}
	_, err := d.SetMode(name, "enforce")
	refuses(y.t, "mode", err, "locked by root on 2", by, "its mode stays")
	r, err := d.Respond(root, name, api.Respond{Verb: api.VerbUnlock})
	if err != nil || r.Verified || r.Outcome() != "NOT UNLOCKED" || !strings.Contains(r.About(), by) {
		y.t.Errorf("unlock: %+v, %v", r, err)
	}
	s, err := d.Status()
	if err != nil {
		y.t.Fatal(err)
	}
	for _, w := range s.Workloads {
		if w.Name == name && (w.Locked == nil || w.Mode != "lockdown" || w.Locked.String() == "") {
			y.t.Errorf("status: %+v", w)
		}
	}
}

// A lock holds through reloads and new agents, until it is ended.
func TestLockHoldsUntilItIsEnded(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	all, err := d.Lock(root, api.LockRequest{Selection: label.Selection{Principal: ` User :: "one" `}, Reason: "it reads keys"})
	if err != nil || len(all.Responses) != 1 || !all.Responses[0].Verified || all.Responses[0].Workload != "one" || all.Responses[0].Verb != api.VerbLockdown {
		t.Fatalf("%+v, %v", all, err)
	}
	if r := all.Responses[0]; r.Run || len(r.Locks) != 1 || r.Locks[0].Reason != "it reads keys" {
		t.Errorf("what holds it: %+v", r.Standing)
	}
	y.locked(d, "one", `end it with `+"`stockade unlock --principal 'User::\"one\"'`")
	y.write("one.cedar", permitB)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	y.locked(d, "one", `"it reads keys"`)
	kill()
	d, kill = y.up()
	defer func() { kill() }()
	y.locked(d, "one", `"it reads keys"`)
	y.set.change(func() { y.set.list, y.set.loaded = nil, 0 }) // a reboot
	if err := os.RemoveAll(filepath.Join(y.dir, "state")); err != nil {
		t.Fatal(err)
	}
	kill()
	d, kill = y.up()
	y.locked(d, "one", `"it reads keys"`)
	all, err = d.Unlock(root, one)
	if err != nil || len(all.Responses) != 1 || !all.Responses[0].Verified || y.mode(d, "one") != abi.Enforce {
		t.Errorf("unlock: %+v, %v, mode %v", all, err, y.mode(d, "one"))
	}
	if locks, err := d.Locks(); err != nil || len(locks.Locks) != 0 {
		t.Errorf("%+v, %v", locks, err)
	}
	for _, says := range []string{"locked: --principal 'User::\"one\"', by root: 1 workload locked down", "unlocked: --principal"} {
		if !strings.Contains(y.said.String(), says) {
			t.Errorf("it says nothing of %q: %s", says, y.said.String())
		}
	}
}

// A second lock of the same is answered by the first, which stays.
func TestASecondLockLeavesTheFirst(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	for i, reason := range []string{"INC-1", "INC-2"} {
		all, err := d.Lock(root, api.LockRequest{Selection: blue, Reason: reason})
		if err != nil || all.Lock == nil || all.Lock.Reason != "INC-1" || all.LockedBefore != (i > 0) {
			t.Errorf("%s: %+v, %v", reason, all, err)
		}
	}
}

// What is like a locked workload does not start: a run is refused, and what a reload
// declares starts locked down.
func TestNothingNewStartsLikeWhatIsLocked(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	if all, err := d.Lock(root, api.LockRequest{Selection: blue}); err != nil || len(all.Responses) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	r, peer := runRequest(t)
	r.Labels = label.Set{"team": "blue"}
	_, err := d.StartRun(peer, r)
	refuses(t, "a run", err, "locked by root", "--label team=blue", "nothing was started")
	if d.all.named(r.Name) != nil {
		t.Error("it is there")
	}
	y.write("agent.yaml", labelled)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	y.locked(d, "one", "--label team=blue")
	if all, err := d.Unlock(root, blue); err != nil || len(all.Responses) != 1 || y.mode(d, "one") != abi.Enforce {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := d.StartRun(peer, r); err != nil {
		t.Errorf("after its end: %v", err)
	}
	if principal, labels := d.all.named(r.Name).traits(); principal != `User::"test"` || labels["team"] != "blue" {
		t.Errorf("%s, %v", principal, labels)
	}
}

// Of two locks on one workload the other one goes on holding it.
func TestAnotherLockGoesOn(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", labelled)
	d, kill := y.up()
	defer kill()
	for _, s := range []label.Selection{one, blue} {
		if _, err := d.Lock(root, api.LockRequest{Selection: s}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := d.Unlock(root, one)
	if err != nil || len(all.Responses) != 1 || all.Responses[0].Verified || !strings.Contains(all.Responses[0].Steps[0].Error, "--label team=blue") {
		t.Errorf("%+v, %v", all, err)
	}
	y.locked(d, "one", "--label team=blue")
	_, err = d.Unlock(root, label.Selection{Labels: label.Set{"team": "red"}})
	refuses(t, "a lock that there is not", err, "no lock is on that: nothing is unlocked")
	if _, err := d.Unlock(root, label.Selection{All: true}); err != nil || y.mode(d, "one") != abi.Enforce {
		t.Errorf("%v, mode %v", err, y.mode(d, "one"))
	}
}

// What locks say cannot be known if their book cannot be read: nothing opens.
func TestABrokenBookOfLocksOpensNothing(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	if _, err := d.Respond(root, "one", api.Respond{Verb: api.VerbLockdown}); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(y.machine.Lasting, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(string(d.locks()), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.SetMode("one", "enforce")
	refuses(t, "mode", err, "what is locked is not known")
	r, peer := runRequest(t)
	_, err = d.StartRun(peer, r)
	refuses(t, "a run", err, "what is locked is not known", "nothing was started")
	refuses(t, "reload", d.Reload(), "agent.yaml:5", "what is locked is not known")
	if m := y.mode(d, "one"); m != abi.Lockdown {
		t.Errorf("mode %v", m)
	}
	if s, err := d.Status(); err != nil || !strings.Contains(strings.Join(s.Notes, "\n"), "what is locked is not known") {
		t.Errorf("%+v, %v", s, err)
	}
}

// One thing is done to all that are selected, and to no other.
func TestSeveralAreRespondedTo(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", labelled+`  - name: two
    match: {cgroup: stockade-test-two}
    principal: User::"two"
    policies: one.cedar
    labels: {team: blue}
`)
	d, kill := y.up()
	defer kill()
	for _, c := range []struct {
		s    label.Selection
		want string
	}{
		{label.Selection{All: true}, "one two"},
		{blue, "one two"},
		{one, "one"},
		{label.Selection{Labels: label.Set{"team": "blue", "tier": "test"}}, "one"},
		{label.Selection{Principal: `User::"two"`, Labels: label.Set{"team": "blue"}}, "two"},
	} {
		all, err := d.RespondMany(root, api.RespondMany{Selection: c.s, Respond: api.Respond{Verb: api.VerbLockdown}})
		var names []string
		for _, r := range all.Responses {
			if names = append(names, r.Workload); !r.Verified || y.mode(d, r.Workload) != abi.Lockdown {
				t.Errorf("%+v", r)
			}
		}
		if got := strings.Join(names, " "); got != c.want || err != nil {
			t.Errorf("%s: %s, %v", c.s, got, err)
		}
		if _, err := d.Unlock(root, label.Selection{All: true}); err != nil || y.mode(d, "one") != abi.Enforce {
			t.Errorf("%v", err)
		}
	}
	for want, s := range map[string]label.Selection{
		"no such workload": {Principal: `User::"nobody"`}, "names none": {}, "leave one out": {All: true, Principal: "x"}, "principal": {Principal: "x"},
	} {
		_, err := d.RespondMany(root, api.RespondMany{Selection: s, Respond: api.Respond{Verb: api.VerbKill}})
		refuses(t, want, err, "nothing was done")
	}
}

// What runs is locked down, whether or not it can be noted that nothing like it may start.
func TestALockThatCannotBeNotedStopsWhatRuns(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	book := string(d.locks())
	if err := os.RemoveAll(book); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(book, 0o700); err != nil {
		t.Fatal(err)
	}
	all, err := d.Lock(root, api.LockRequest{Selection: one})
	if err != nil || len(all.Responses) != 2 || all.Lock != nil || y.mode(d, "one") != abi.Lockdown {
		t.Fatalf("%+v, %v, mode %v", all, err, y.mode(d, "one"))
	}
	if r := all.Responses[1]; r.Verified || r.Verb != api.VerbLock || !strings.Contains(r.About(), "NOT LOCKED") {
		t.Errorf("%s", r.About())
	}
	if _, err := d.Lock(root, api.LockRequest{Selection: one, Reason: strings.Repeat("x", 1<<20)}); err == nil {
		t.Error("a reason without end")
	}
}
