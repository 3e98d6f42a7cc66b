package main

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/lock"
)

// shows is what is printed of a response.
func shows(t *testing.T, r *agent.Response) string {
	t.Helper()
	var out strings.Builder
	if err := showResponse(&out, r, nil); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// done is a response of which these steps were done, the last of them with an error if
// there is one.
func done(verb string, err error, steps ...string) *agent.Response {
	r := api.NewResponse("one", verb)
	for _, name := range steps {
		r.Steps = append(r.Steps, api.Step{Name: name, At: time.Now()})
	}
	if err != nil {
		r.Steps[len(steps)-1].Error = err.Error()
	}
	return r
}

// Only what was locked down is said to stay so.
func TestStaysLockedDownIsSaidOfWhatIs(t *testing.T) {
	const stays = "it stays locked down until `stockade unlock one`"
	no := errors.New("no")
	for _, c := range []struct {
		r    *agent.Response
		want bool
	}{
		{done(agent.VerbKill, nil, "lockdown", "kill"), true},
		{done(agent.VerbFreeze, nil, "lockdown", "freeze"), true},
		{done(agent.VerbKill, no, "lockdown"), false},
		{done(agent.VerbKill, no, "lockdown", "kill", "keep the lockdown"), false},
		{done(agent.VerbKill, no, "lockdown", "kill"), true},
		{api.FailedResponse("one", agent.VerbKill, no), false},
		{api.FailedResponse("one", agent.VerbFreeze, no), false},
		{done(agent.VerbThaw, nil, "thaw"), false},
	} {
		if text := shows(t, c.r); strings.Contains(text, stays) != c.want {
			t.Errorf("%+v: says so: %v\n%s", c.r.Steps, !c.want, text)
		}
	}
}

// What unlocks it is told: nothing a run that is over, its locks what they hold.
func TestWhatUnlocksIsTold(t *testing.T) {
	team, ci := agent.Lock{Selection: agent.Selection{Labels: agent.Labels{"team": "a"}}}, agent.Lock{Selection: agent.Selection{Principal: `User::"ci"`}}
	for _, c := range []struct {
		verb          string
		run, verified bool
		locks         []agent.Lock
		by            *agent.Lock
		want          string
	}{
		{agent.VerbKill, false, true, nil, nil, "it stays locked down until `stockade unlock one`\n"},
		{agent.VerbKill, true, true, nil, nil, "its run is over, and needs no unlock\n"},
		{agent.VerbKill, true, false, nil, nil, "it stays locked down until `stockade unlock one`\n"},
		{agent.VerbKill, true, true, []agent.Lock{team}, nil, "its run is over; nothing like it starts until `stockade unlock --label team=a`\n"},
		{agent.VerbFreeze, false, true, []agent.Lock{team, ci}, nil, "it stays locked down until `stockade unlock --label team=a` and `stockade unlock --principal 'User::\"ci\"'`\n"},
		{agent.VerbLockdown, true, true, []agent.Lock{team}, &team, "it stays locked down until `stockade unlock --label team=a`\n"},
		{agent.VerbLockdown, true, true, nil, &ci, "it stays locked down until `stockade unlock --principal 'User::\"ci\"'`\n"},
	} {
		r := done(c.verb, nil, "lockdown", "kill")
		r.Run, r.Verified, r.Locks = c.run, c.verified, c.locks
		var out strings.Builder
		if err := showResponse(&out, r, c.by); err != nil || !strings.HasSuffix(out.String(), "\n  "+c.want) {
			t.Errorf("%+v: %v, %s", c, err, out.String())
		}
	}
}

// The lines of an error are told once, beneath their step, as they are.
func TestErrorsOfStepsAreTold(t *testing.T) {
	r := done(agent.VerbKill, errors.New("b \"q\" \\\nc\x1b"), "lockdown", "list", "cut", "verify")
	r.Steps[1].Error, r.Steps[2].Error = "a a\nb \"q\" \\", "a a"
	text := shows(t, r)
	for _, want := range []string{"  list, with an error:\n      a a\n      b \"q\" \\\n", "  cut, with an error that is told above\n", "  verify, with an error:\n      \"c\\x1b\"\n      and what is told above\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if about := r.About(); strings.Count(about, "a a") != 1 {
		t.Error(about)
	}
}

// What was so before is told, with who did it.
func TestWhatWasSoBeforeIsTold(t *testing.T) {
	past := api.Past{Verb: agent.VerbFreeze, By: lock.Actor{Login: -1, Name: "ada"}, At: time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)}
	for verb, want := range map[string]string{agent.VerbFreeze: "frozen", agent.VerbLockdown: "locked down"} {
		r := done(verb, nil, "lockdown")
		r.Already = &past
		if text := shows(t, r); !strings.Contains(text, "\n  it was "+want+" before: freeze by ada on 2026-11-27T06:00:00Z: that stays\n") {
			t.Errorf("%s: %s", verb, text)
		}
	}
}

// Whose denials wait for what is told.
func TestWhatDenialsWaitForIsTold(t *testing.T) {
	for own, want := range map[bool]string{true: "once its run goes on: kill -CONT", false: "start the agent"} {
		r := done(agent.VerbKill, nil, "lockdown")
		r.Unattended, r.OwnSet = true, own
		if text := shows(t, r); !strings.Contains(text, want) {
			t.Errorf("%v: %s", own, text)
		}
	}
}

// One thing is told as one.
func TestOneIsToldAsOne(t *testing.T) {
	r := done(agent.VerbKill, nil, "lockdown", "kill")
	for n, want := range map[int]string{0: "(there were no processes)", 1: "(1 process, 1 connection cut)", 2: "(2 processes, 2 connections cut)"} {
		r.Processes, r.Destroyed = n, n
		if text := shows(t, r); !strings.Contains(text, want) {
			t.Errorf("%d: no %q in %s", n, want, text)
		}
	}
}

// Where there was nothing to unlock, that is said.
func TestNothingToUnlockIsTold(t *testing.T) {
	var out strings.Builder
	if err := showResponses(&out, &agent.Responses{}, 0); err != nil || !strings.Contains(out.String(), "nothing was locked, and there is no workload") {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	if err := showResponses(&out, &agent.Responses{Ended: []agent.Lock{{Reason: "INC-1"}}}, 0); err != nil || !strings.HasPrefix(out.String(), "unlocked: ") || strings.Contains(out.String(), "nothing") {
		t.Errorf("%q, %v", out.String(), err)
	}
}

// Who locks what is locked is told whose lock stays, and why.
func TestALockThatWasThereIsTold(t *testing.T) {
	l := lock.Lock{By: lock.Actor{Login: 1000, Name: "ada"}, At: time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC), Reason: "INC-1"}
	for _, before := range []bool{true, false} {
		var out strings.Builder
		err := showResponses(&out, &agent.Responses{Lock: &l, LockedBefore: before}, 0)
		const want = "\n  it was locked before, by ada (as uid 0) at 2026-11-27T06:00:00Z, with the reason \"INC-1\": that stays\n"
		if err != nil || strings.Contains(out.String(), want) != before {
			t.Errorf("%v: %v, %s", before, err, out.String())
		}
	}
	l.Reason = ""
	if got := l.Before(); !strings.HasSuffix(got, "Z, without a reason: that stays") {
		t.Error(got)
	}
}

// What the signature was checked with is told: this host's own key says less.
func TestTheKeyOfEvidenceIsTold(t *testing.T) {
	for file, want := range map[string]string{"": "signed with key SHA256:x, of this host: who has the host can sign anew; give by --key FILE", "host.pub": "signed with key SHA256:x, from host.pub\n"} {
		var out strings.Builder
		if err := showEvidence(&out, &agent.EvidenceReport{KeyID: "SHA256:x"}, file); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q: no %q in %s, %v", file, want, out.String(), err)
		}
	}
}

// A bundle that nobody finished is told as such, with or without a key, as one that is not
// good.
func TestUnfinishedEvidenceIsTold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "one.tar.partial-ABCDEFG2")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	key, _ := agent.PublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)))
	if err := os.WriteFile(file+".pub", key, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{{"--key", file + ".pub"}, {"--json"}, nil} {
		code, out, errs := call("", append(append([]string{"evidence", "verify"}, more...), file)...)
		if code != 1 || out != "" || !strings.Contains(errs, "evidence: "+file+": it is unfinished") || strings.Contains(errs, "--key") {
			t.Errorf("%q: exit %d, %s%s", more, code, out, errs)
		}
	}
}

// Of a process that left the cgroups it is shown where it is now, and of no other.
func TestWhereAProcessIsNowIsShown(t *testing.T) {
	i := agent.Inspection{Processes: []byte(`{"processes": [{"pid": 7, "comm": "sh", "args": ["sh"]}, {"pid": 8, "ppid": 7, "comm": "nap", "args": ["nap", "9"]}]}`),
		Outside: []agent.Outside{{PID: 8, Cgroup: "/user.slice/a b\x1b"}}}
	var out strings.Builder
	const want = "  7 ?  [sh] sh\n    8 ?  [nap] nap 9  (left its cgroup, and is in \"/user.slice/a b\\x1b\")\n"
	if err := showInspection(&out, &i); err != nil || !strings.Contains(out.String(), want) {
		t.Errorf("%v, %s", err, out.String())
	}
	out.Reset()
	if err := plainJSON(&out).Encode(i); err != nil || !strings.Contains(out.String(), `"outside":[{"pid":8,"cgroup":"/user.slice/a b`) {
		t.Errorf("%v, %s", err, out.String())
	}
}

// What is locked down or frozen is shown with who did it, in a list and by itself.
func TestWhoStoppedItIsShown(t *testing.T) {
	at := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	x := agent.WorkloadStatus{Name: "one", Responses: []api.Past{
		{Verb: agent.VerbFreeze, By: lock.Actor{Login: -1, Name: "policy keys"}, At: at},
		{Verb: agent.VerbFreeze, By: lock.Actor{Login: -1, Name: "budget (more than 9 denials in 1s)"}, At: at},
		{Verb: agent.VerbKill, By: lock.Actor{Login: 1000, Name: "ada"}, At: at.Add(time.Minute)},
	}}
	const want = "freeze by policy keys on 2026-11-27T06:00:00Z; freeze by budget (more than 9 denials in 1s) on 2026-11-27T06:00:00Z; kill by ada (as uid 0) on 2026-11-27T06:01:00Z\n"
	for mode, says := range map[string]bool{"lockdown": true, "enforce": false} {
		x.Mode = mode
		var list, one strings.Builder
		if err := errors.Join(showStatus(&list, agent.Status{Workloads: []agent.WorkloadStatus{x}}),
			showInspection(&one, &agent.Inspection{Workload: x, Processes: []byte("{}")})); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(list.String(), "one: "+want) != says || strings.Contains(one.String(), "  "+want) != says {
			t.Errorf("%s: %s%s", mode, list.String(), one.String())
		}
	}
}

// Responses that are disarmed are told beneath the table.
func TestDisarmedResponsesAreShown(t *testing.T) {
	at := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	for _, since := range []*time.Time{nil, &at} {
		var out, object strings.Builder
		s := agent.Status{Disarmed: since}
		if err := errors.Join(showStatus(&out, s), plainJSON(&object).Encode(s)); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), "\nALARM: responses are disarmed since 2026-11-27T06:00:00Z: ") != (since != nil) || strings.Contains(object.String(), `"disarmed":"2026-11-27T06:00:00Z"`) != (since != nil) {
			t.Errorf("%v: %s%s", since, out.String(), object.String())
		}
	}
}

// Who left its cgroup and was brought back is told with whence.
func TestWhatWasBroughtBackIsTold(t *testing.T) {
	r := &agent.Response{Workload: "one", Verb: agent.VerbKill, Verified: true, Returned: []api.Returned{{Process: api.Process{PID: 7, TID: 7, Command: "a\nb"}, Cgroup: "/else"}}}
	if text := shows(t, r); !strings.Contains(text, "\n  brought back from cgroup /else: \"a\\nb\"[7]\n") {
		t.Error(text)
	}
}
