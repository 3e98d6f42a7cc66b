package reach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/cgroup"
)

// fakeDeputy has some workloads, of which some are known.
type fakeDeputy struct {
	list   []api.Workload
	asked  chan string
	closed int
}

func (f *fakeDeputy) Workloads() ([]api.Workload, error) { return f.list, nil }
func (f *fakeDeputy) Close() error                       { f.closed++; return nil }

func (f *fakeDeputy) Inspect(_ context.Context, name string) (api.Inspection, error) {
	return api.Inspection{Workload: api.Workload{Name: name, Mode: "deputy"}}, nil
}

func (f *fakeDeputy) Respond(_ lock.Actor, name string, ask api.Respond) (api.Response, error) {
	if ask.Verb == api.VerbUnlock {
		return api.Response{}, errors.New("no")
	}
	f.asked <- ask.Verb + " " + name
	r := api.NewResponse(name, ask.Verb)
	r.Verified, r.Unattended = true, true
	return *r, nil
}

func (f *fakeDeputy) were(t *testing.T, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for range len(f.asked) {
		got[<-f.asked] = true
	}
	for _, w := range want {
		if !got[w] {
			t.Errorf("it was not asked to %s: %v", w, got)
		}
	}
	if len(got) != len(want) {
		t.Errorf("it was asked to %v, want %q", got, want)
	}
}

// silence is a socket behind which nobody answers.
func silence(t *testing.T, name string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), name)
	listener, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return socket
}

// orphaned is a host of which neither the agent nor one run answers; another run does.
func orphaned(t *testing.T) (*Host, *fakeDeputy, *fakeRun) {
	t.Helper()
	wasRun, wasAgent, wasHasty := answerLimit, agentLimit, hasty
	t.Cleanup(func() { answerLimit, agentLimit, hasty = wasRun, wasAgent, wasHasty })
	answerLimit, agentLimit, hasty = 200*time.Millisecond, 200*time.Millisecond, time.Hour
	a := runNamed("a", "", blue.Labels)
	h := newHost(t, a)
	sockets := append(h.Runs(), silence(t, "@mute.sock"))
	h.Runs = func() []string { return sockets }
	d := &fakeDeputy{asked: make(chan string, 100), list: []api.Workload{{Name: "new", Origin: api.OriginUnknown}, {Name: "red"}, {Name: "web", Labels: blue.Labels}}}
	h.Deputy = func() (Deputy, error) { return d, nil }
	h.RunDeputy = func(string) (Deputy, error) { return h.Deputy() }
	return h, d, a
}

func outcomes(all api.Responses) string {
	var list []string
	for _, r := range all.Responses {
		list = append(list, fmt.Sprint(r.Workload, " ", r.Verified))
	}
	return strings.Join(list, ", ")
}

func TestWhatDoesNotAnswerIsStoppedByADeputy(t *testing.T) {
	h, d, a := orphaned(t)
	ctx := t.Context()
	all, err := h.RespondMany(ctx, blue, api.Respond{Verb: api.VerbFreeze})
	if got := outcomes(all); got != "a true, mute false, new false, web true" || err != nil || asked(a) != "freeze" {
		t.Errorf("%s, %v; %s", got, err, asked(a))
	}
	d.were(t, "freeze web")
	all, err = h.RespondMany(ctx, label.Selection{All: true}, api.Respond{Verb: api.VerbKill})
	if got := outcomes(all); got != "a true, mute true, new true, red true, web true" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	d.were(t, "kill web", "kill red", "kill new", "kill mute")
	for _, name := range []string{"web", "new", "mute"} {
		if all, err := h.Respond(ctx, name, api.Respond{Verb: api.VerbKill}); err != nil || outcomes(all) != name+" true" || !all.Responses[0].Unattended {
			t.Errorf("%+v, %v", all, err)
		}
		d.were(t, "kill "+name)
		if i, err := h.Inspect(ctx, name); err != nil || i.Workload.Mode != "deputy" {
			t.Errorf("%+v, %v", i, err)
		}
	}
	if _, err := h.Respond(ctx, "none", api.Respond{Verb: api.VerbKill}); err == nil {
		t.Error("what there is not was stopped")
	}
	s, err := h.Status(ctx)
	if len(s.Workloads) != 5 || !errors.Is(err, api.ErrNoAgent) || !strings.Contains(s.Workloads[4].Error, "no agent answers") {
		t.Errorf("%+v, %v", s.Workloads, err)
	}
	if d.closed == 0 {
		t.Error("it was never closed")
	}
}

// An agent that was stopped, as by a signal, is none: its socket still takes what is said.
func TestAnAgentThatHangsIsNone(t *testing.T) {
	h, d, _ := orphaned(t)
	h.Socket = silence(t, "agent.sock")
	if all, err := h.Respond(t.Context(), "web", api.Respond{Verb: api.VerbLockdown}); err != nil || outcomes(all) != "web true" {
		t.Errorf("%+v, %v", all, err)
	}
	d.were(t, "lockdown web")
	if all, err := h.Lock(t.Context(), blue, "INC-1"); err != nil || all.Lock == nil {
		t.Errorf("%+v, %v", all, err)
	}
	if list, err := h.Locks(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%+v, %v", list, err)
	}
	if all, err := h.Unlock(t.Context(), blue); err != nil || len(all.Ended) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

// Where it is not known whether one is meant, the answer is about what was asked for.
func TestWhatWasNotDoneIsWhatWasAskedFor(t *testing.T) {
	h, _, _ := orphaned(t)
	for verb, want := range map[string]string{
		api.VerbKill: "it was NOT stopped; kill it by its name", api.VerbFreeze: "it was NOT frozen; freeze it by its name",
		api.VerbLockdown: "it was NOT locked down; lock it down by its name", api.VerbThaw: "it does NOT go on; thaw it by its name",
		api.VerbUnlock: "it was NOT unlocked; unlock it by its name once ",
	} {
		all, err := h.RespondMany(t.Context(), blue, api.Respond{Verb: verb})
		told := 0
		for _, r := range all.Responses {
			if len(r.Steps) == 1 && strings.Contains(r.Steps[0].Error, want) {
				told++
			}
		}
		if err != nil || told != 2 { // mute and new
			t.Errorf("%s: %d, %+v, %v", verb, told, all, err)
		}
	}
}

// An agent that hangs, one that there is not, and who may not see either are told apart.
func TestWhyNobodyAnswersIsTold(t *testing.T) {
	h, d, _ := orphaned(t)
	want := func(what string, err error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("%s: no %q in %v", what, text, err)
			}
		}
	}
	kill := func() error {
		_, err := h.Respond(t.Context(), "none", api.Respond{Verb: api.VerbKill})
		return err
	}
	ps := func() error {
		_, err := h.Status(t.Context())
		return err
	}
	want("dead", kill(), "workload none: no agent listens at ", ": nothing was done")
	want("dead", ps(), "no agent listens at ", "what one held is enforced as before; start it")
	dead := h.Socket
	h.Socket = silence(t, "agent.sock")
	want("hung", kill(), "workload none: no agent answers at "+h.Socket+" in 200ms, and nothing that is enforced has that name: nothing was done")
	want("hung", ps(), "no agent answers at "+h.Socket, "is enforced as before; look at it")
	h.Socket = dead
	was := euid
	t.Cleanup(func() { euid = was })
	euid = func() int { return 65534 }
	if err := ps(); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("who may see what there is: %v", err)
	}
	h.Deputy = func() (Deputy, error) { return nil, fmt.Errorf("pins: %w", fs.ErrPermission) }
	_, many := h.RespondMany(t.Context(), blue, api.Respond{Verb: api.VerbKill})
	_, lock := h.Lock(t.Context(), blue, "")
	for what, err := range map[string]error{"kill": kill(), "ps": ps(), "kill --label": many, "lock": lock} {
		want("not root: "+what, err, "this needs root: permission denied to uid 65534: nothing was done; run as root, for example with sudo")
	}
	if s, _ := h.Status(t.Context()); len(s.Workloads) != 0 {
		t.Errorf("%+v", s)
	}
	euid = was
	if err := kill(); err == nil || errors.Is(err, errRoot) {
		t.Errorf("root: %v", err)
	}
	d.were(t)
}

// What is to be stopped is locked down before it is certain that an agent hangs.
func TestALockdownDoesNotWaitForAnAgent(t *testing.T) {
	h, d, _ := orphaned(t)
	h.Socket = silence(t, "agent.sock")
	hasty, agentLimit = time.Millisecond, time.Minute
	notices := make(chan string, 10)
	h.Notice = func(text string) { notices <- text }
	ctx, cancel := context.WithCancel(t.Context())
	for _, c := range []struct {
		do   func()
		want []string
	}{
		{func() { _, _ = h.Respond(ctx, "web", api.Respond{Verb: api.VerbKill}) }, []string{"lockdown web"}},
		{func() { _, _ = h.RespondMany(ctx, blue, api.Respond{Verb: api.VerbFreeze}) }, []string{"lockdown web"}},
		{func() {
			_, _ = h.RespondMany(ctx, label.Selection{All: true}, api.Respond{Verb: api.VerbLockdown})
		}, []string{"lockdown new", "lockdown red", "lockdown web"}},
	} {
		done := make(chan struct{})
		go func() { defer close(done); c.do() }()
		for len(d.asked) < len(c.want) {
			time.Sleep(time.Millisecond)
		}
		d.were(t, c.want...)
		if text := <-notices; !strings.Contains(text, "is locked down") {
			t.Errorf("who waits is told %q", text)
		}
		cancel()
		<-done
		ctx, cancel = context.WithCancel(t.Context())
		for range len(d.asked) { // what it does without the agent, after that
			<-d.asked
		}
	}
	cancel()
	agentLimit = 100 * time.Millisecond
	if _, err := h.Respond(t.Context(), "web", api.Respond{Verb: api.VerbThaw}); err != nil {
		t.Error(err)
	}
	d.were(t, "thaw web")
}

// One name may be that of a workload of the agent and of a run: both are meant.
func TestANameOfTwoStopsBoth(t *testing.T) {
	h, d, a := orphaned(t)
	d.list = append(d.list, api.Workload{Name: "a"})
	all, err := h.Respond(t.Context(), "a", api.Respond{Verb: api.VerbKill})
	if got := outcomes(all); got != "a true, a true" || err != nil || asked(a) != "kill" {
		t.Errorf("%s, %v; %s", got, err, asked(a))
	}
	d.were(t, "kill a")
}

func TestALockStopsOrphansThatItSelects(t *testing.T) {
	h, d, _ := orphaned(t)
	all, err := h.Lock(t.Context(), blue, "")
	if got := outcomes(all); got != "new false, web true, a true, mute false" && got != "a true, mute false, new false, web true" || err != nil || all.Lock == nil {
		t.Errorf("%s, %v", got, err)
	}
	d.were(t, "lockdown web")
	if again, err := h.Lock(t.Context(), blue, "INC-2"); err != nil || all.LockedBefore || !again.LockedBefore || again.Lock.Reason != "" {
		t.Errorf("%+v, %v", again, err)
	}
	d.were(t, "lockdown web")
	all, err = h.Unlock(t.Context(), blue)
	if got := outcomes(all); !strings.Contains(got, "web false") || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	d.were(t)
}

// Where what is pinned cannot be opened, nothing is said to be stopped.
func TestWithoutADeputyNothingIsSaidToBeStopped(t *testing.T) {
	h, _, _ := orphaned(t)
	h.Deputy = func() (Deputy, error) { return nil, errors.New("pinned by another build") }
	h.RunDeputy = func(string) (Deputy, error) { return h.Deputy() }
	all, err := h.RespondMany(t.Context(), label.Selection{All: true}, api.Respond{Verb: api.VerbKill})
	if got := outcomes(all); got != "? false, a true, mute false" || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	for _, name := range []string{"web", "mute"} {
		all, err := h.Respond(t.Context(), name, api.Respond{Verb: api.VerbKill})
		if err == nil || !strings.Contains(err.Error(), "NOT stopped") || !strings.Contains(err.Error(), "another build") {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
	}
	h.Deputy = func() (Deputy, error) { return nil, fs.ErrNotExist }
	if _, err := h.Respond(t.Context(), "web", api.Respond{Verb: api.VerbKill}); !errors.Is(err, api.ErrNoAgent) && !strings.Contains(fmt.Sprint(err), "no agent") {
		t.Errorf("%v", err)
	}
}

// stuck is an agent that hangs in the midst of what it was asked.
type stuck struct {
	*fakeRun
	hung atomic.Bool
	end  chan struct{}
}

func (s *stuck) Status() (api.Status, error) {
	if s.hung.Load() {
		<-s.end
	}
	return s.fakeRun.Status()
}

func (s *stuck) Respond(api.Peer, string, api.Respond) (api.Response, error) {
	s.hung.Store(true)
	<-s.end
	return api.Response{}, errors.New("too late")
}

func TestAnAgentThatHangsMeanwhileIsNone(t *testing.T) {
	h, d, _ := orphaned(t)
	defer func(was time.Duration) { ping = was }(ping)
	ping = 10 * time.Millisecond
	s := &stuck{fakeRun: runNamed("web", "", nil), end: make(chan struct{})}
	h.Socket = filepath.Join(t.TempDir(), "agent.sock")
	listener, err := api.Listen(h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewResponder(s, func(api.Peer) error { return nil })
	go server.Serve(listener)
	t.Cleanup(func() { close(s.end); server.Close() })
	if all, err := h.Respond(t.Context(), "web", api.Respond{Verb: api.VerbKill}); err != nil || outcomes(all) != "web true" || !all.Responses[0].Unattended {
		t.Errorf("%+v, %v", all, err)
	}
	d.were(t, "kill web")
}

// killed is an agent that is killed in the midst of what it was asked.
type killed struct {
	*fakeRun
	kill func()
}

func (k *killed) Respond(api.Peer, string, api.Respond) (api.Response, error) {
	k.kill()
	return api.Response{}, errors.New("nobody hears this")
}

func TestAnAgentThatIsKilledMeanwhileIsNone(t *testing.T) {
	h, d, _ := orphaned(t)
	k := &killed{fakeRun: runNamed("web", "", nil)}
	h.Socket = filepath.Join(t.TempDir(), "agent.sock")
	listener, err := api.Listen(h.Socket)
	if err != nil {
		t.Fatal(err)
	}
	server := api.NewResponder(k, func(api.Peer) error { return nil })
	k.kill = func() { // for a while it takes connections, and answers none
		os.Remove(h.Socket)
		dying, err := net.Listen("unix", h.Socket)
		if err != nil {
			t.Error(err)
			return
		}
		time.AfterFunc(5*again, func() { dying.Close() })
		go func() {
			for c, err := dying.Accept(); err == nil; c, err = dying.Accept() {
				c.Close()
			}
		}()
		server.Close()
	}
	go server.Serve(listener)
	agentLimit = time.Minute
	if all, err := h.Respond(t.Context(), "web", api.Respond{Verb: api.VerbKill}); err != nil || outcomes(all) != "web true" || !all.Responses[0].Unattended {
		t.Errorf("%+v, %v", all, err)
	}
	d.were(t, "kill web")
}

// A run that is killed in the midst of it is stopped by what is pinned, or over.
func TestARunThatIsKilledMeanwhileIsStoppedOrOver(t *testing.T) {
	h, d, _ := orphaned(t)
	for _, pinned := range []bool{true, false} {
		k := &killed{fakeRun: runNamed("own", "", nil)}
		socket := filepath.Join(t.TempDir(), "@own.sock")
		listener, err := api.Listen(socket)
		if err != nil {
			t.Fatal(err)
		}
		server := api.NewResponder(k, func(api.Peer) error { return nil })
		k.kill = func() { server.Close() }
		go server.Serve(listener)
		h.Runs = func() []string { return []string{socket} }
		d.list = append(d.list[:0], api.Workload{Name: "own2"})
		h.RunDeputy = func(string) (Deputy, error) {
			if pinned {
				return d, nil
			}
			return nil, fs.ErrNotExist
		}
		all, err := h.Respond(t.Context(), "own", api.Respond{Verb: api.VerbKill})
		if pinned {
			if err != nil || outcomes(all) != "own true" {
				t.Errorf("%+v, %v", all, err)
			}
			d.were(t, "kill own")
		} else if err == nil || !strings.Contains(err.Error(), "it is over") {
			t.Errorf("%+v, %v", all, err)
		}
	}
}

// What nothing is pinned for, as it seems, is over only if its cgroup is.
func TestARunIsNotOverAsLongAsItsCgroupHasProcesses(t *testing.T) {
	name := fmt.Sprintf("test-over-%d", os.Getpid())
	group, err := cgroup.Create(name)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		_, err := group.Kill(10 * time.Second)
		if err = errors.Join(err, group.Remove()); err != nil {
			t.Error(err)
		}
	})
	dir, err := group.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	h := &Host{RunDeputy: func(string) (Deputy, error) { return nil, fs.ErrNotExist }}
	ask := api.Respond{Verb: api.VerbKill}
	if _, err := h.respondRun(name, ask); err == nil || strings.Contains(err.Error(), "it is over") || !strings.Contains(err.Error(), "its cgroup holds processes: NOT stopped") {
		t.Errorf("it lives: %v", err)
	}
	if _, err := group.Kill(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := h.respondRun(name, ask); err == nil || !strings.Contains(err.Error(), "it is over") {
		t.Errorf("it is empty: %v", err)
	}
}
