package run

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/host/hosttest"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// runArgs runs a command to its end and returns what it printed.
func runArgs(t *testing.T, k *hosttest.Kernel, rec *hosttest.Recorder, args ...string) (Result, string, error) {
	t.Helper()
	k.Name = hosttest.TestName(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	printed := make(chan string)
	go func() {
		text, _ := io.ReadAll(read)
		read.Close()
		printed <- string(text)
	}()
	result, err := hostOf(k).Run(context.Background(), Config{
		Name: k.Name, Plan: hosttest.EmptyPlan(), Args: args, Sink: rec, Stdout: write, Stderr: write,
	})
	write.Close()
	text := <-printed
	hosttest.WantGone(t, k.Name)
	if k.LoadErr == nil && (!k.Closed || k.Alive) {
		t.Errorf("enforcement ended: %v; with the workload alive: %v", k.Closed, k.Alive)
	}
	return result, text, err
}

func script(dir, name, text string, mode os.FileMode) string {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		panic(err)
	}
	return path
}

func TestRunPassesExitStatus(t *testing.T) {
	dir := t.TempDir()
	cases := []struct {
		args []string
		code int
		text string // in the error, or "" for none
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
		{[]string{"sh", "-c", "kill -INT $$"}, 130, ""},
		{[]string{"no-such-program"}, 127, "no-such-program: not found: nothing was started"},
		{[]string{dir + "/no\nsuch"}, 127, `no\nsuch": not found: nothing was started`},
		{[]string{script(dir, "plain", "x", 0o644)}, 126, "permission denied"},
		{[]string{dir}, 126, "nothing was started"},
		{[]string{script(dir, "lost", "#!/no/such/interpreter\n", 0o755)}, 127, "not found"},
		{[]string{script(dir, "binary", "\x00\x01", 0o755)}, 126, "not a program"},
	}
	for _, c := range cases {
		rec := &hosttest.Recorder{}
		result, _, err := runArgs(t, &hosttest.Kernel{}, rec, c.args...)
		if result.ExitCode != c.code {
			t.Errorf("%q: exit %d, want %d (%v)", c.args, result.ExitCode, c.code, err)
		}
		if (err != nil) != (c.text != "") || err != nil && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%q: error %v, want %q", c.args, err, c.text)
		}
		if rec.Result == nil || rec.Result.ExitCode != c.code {
			t.Errorf("%q: summary %+v", c.args, rec.Result)
		}
	}
}

func TestRunStartsInsideTheCgroup(t *testing.T) {
	k := &hosttest.Kernel{}
	_, text, err := runArgs(t, k, &hosttest.Recorder{}, "cat", "/proc/self/cgroup")
	if want := "0::/stockade/" + k.Name + "\n"; err != nil || !strings.HasSuffix(text, want) {
		t.Errorf("cgroup %q, %v; want %q", text, err, want)
	}
}

func TestRunPassesNoDescriptorsOn(t *testing.T) {
	file, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := syscall.Dup3(int(file.Fd()), 77, 0); err != nil { // without close-on-exec
		t.Fatal(err)
	}
	defer syscall.Close(77)
	_, text, err := runArgs(t, &hosttest.Kernel{}, &hosttest.Recorder{}, "sh", "-c", "echo /proc/$$/fd/*")
	if err != nil || !strings.Contains(text, "/fd/2") || strings.Contains(text, "/fd/77") {
		t.Errorf("descriptors %q, %v", text, err)
	}
}

func TestRunKillsWhatIsLeft(t *testing.T) {
	rec := &hosttest.Recorder{}
	result, _, err := runArgs(t, &hosttest.Kernel{}, rec, "sh", "-c", "sleep 1000 & setsid sleep 1000 & exit 3")
	if err != nil || result.ExitCode != 3 || result.Killed != 2 {
		t.Errorf("exit %d, %d killed, %v; want exit 3, 2 killed", result.ExitCode, result.Killed, err)
	}
}

func TestRunAccountsForEveryDenial(t *testing.T) {
	denials := []abi.Event{
		{Seq: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/a", PathStatus: abi.PathOK},
		{Seq: 3, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/a", PathStatus: abi.PathOK},
	}
	for denied, exact := range map[uint64]bool{3: true, 4: false, 2: false} {
		rec := &hosttest.Recorder{}
		k := &hosttest.Kernel{Denials: denials, Counts: abi.Counters{Denied: denied, Dropped: 1}}
		result, _, err := runArgs(t, k, rec, "true")
		if err != nil || result.Received != 2 || result.Distinct != 1 || len(rec.Denials) != 2 {
			t.Fatalf("%+v, %v", result, err)
		}
		if rec.Result.Exact() != exact {
			t.Errorf("%d denied, 2 seen, 1 dropped: exact %v, want %v", denied, rec.Result.Exact(), exact)
		}
	}
}

func TestRunThatCannotConfineStartsNothing(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	k := &hosttest.Kernel{LoadErr: errors.New("hook x: not here")}
	result, _, err := runArgs(t, k, &hosttest.Recorder{}, "touch", mark)
	if result.ExitCode != ExitFailed || err == nil {
		t.Errorf("exit %d, %v; want %d and an error", result.ExitCode, err, ExitFailed)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command ran")
	}
}

func TestRunThatCannotCleanUpFailsAndLeavesItToTheReaper(t *testing.T) {
	k := &hosttest.Kernel{CloseErr: errors.New("pin: busy")}
	result, _, err := runArgs(t, k, &hosttest.Recorder{}, "true") // which sees everything gone
	if result.ExitCode != ExitFailed || !errors.Is(err, k.CloseErr) {
		t.Errorf("exit %d, %v; want %d", result.ExitCode, err, ExitFailed)
	}
}

func TestRunAsAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may become another user")
	}
	name := hosttest.TestName(t)
	out, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	k := &hosttest.Kernel{Name: name}
	_, err = hostOf(k).Run(context.Background(), Config{
		Name: name, Plan: hosttest.EmptyPlan(), Sink: &hosttest.Recorder{}, User: "65534:12", Stdout: out,
		Args: []string{"sh", "-c", "id -u; id -G; echo $LOGNAME; grep CapEff /proc/self/status"},
	})
	text, _ := os.ReadFile(out.Name())
	if want := "65534\n12\nnobody\nCapEff:\t0000000000000000\n"; err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
}

func TestRunRefusesBadConfigs(t *testing.T) {
	good := Config{Name: "x", Plan: hosttest.EmptyPlan(), Args: []string{"true"}, Sink: &hosttest.Recorder{}}
	for what, change := range map[string]func(*Config){
		"no command": func(c *Config) { c.Args = nil },
		"no plan":    func(c *Config) { c.Plan = nil },
		"bad name":   func(c *Config) { c.Name = "../x" },
		"bad user":   func(c *Config) { c.User = "no-such-user" },
	} {
		cfg := good
		change(&cfg)
		var unstarted *NotStartedError
		if result, err := hostOf(new(hosttest.Kernel)).Run(context.Background(), cfg); !errors.As(err, &unstarted) || result.ExitCode != ExitFailed {
			t.Errorf("%s: exit %d, %v", what, result.ExitCode, err)
		}
	}
}

// A grant of the clock counts where nothing reads it.
func TestTheClockIsGrantedWhereNoPolicyReadsIt(t *testing.T) {
	const policy = `permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv")
when { context has now && context.now < datetime("2030-01-01") };`
	reads, err := compiler.Compile(compiler.Input{Principal: `User::"test"`, Sources: []compiler.Source{{Name: "p", Text: []byte(policy)}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		caps  uint64
		plan  *compiler.Plan
		agent bool
		want  string
	}{
		{abi.SysTime, hosttest.EmptyPlan(), false, ""},
		{abi.Grantable() &^ abi.SysTime, reads, true, ""},
		{abi.SysTime, reads, false, "cap SYS_TIME: a policy reads the clock"},
		{abi.SysTime, hosttest.EmptyPlan(), true, "cap SYS_TIME: without effect under an agent"},
	} {
		err := (&Config{Plan: c.plan, Grants: abi.Grants{Caps: c.caps}}).checkClock(c.agent)
		if (err != nil) != (c.want != "") || err != nil && (!strings.HasPrefix(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was started; leave it out")) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// background runs a shell script that says when it is up; stop tells how it
// ended.
func background(t *testing.T, ctx context.Context, k *hosttest.Kernel, text string) (stop func() (Result, error)) {
	t.Helper()
	k.Name = hosttest.TestName(t)
	up := filepath.Join(t.TempDir(), "up")
	type outcome struct {
		Result
		error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := hostOf(k).Run(ctx, Config{
			Name: k.Name, Plan: hosttest.EmptyPlan(), Sink: &hosttest.Recorder{},
			Args: []string{"sh", "-c", "trap 'exit 9' TERM USR1 INT; touch " + up + "; " + text},
		})
		done <- outcome{result, err}
	}()
	waitFile(t, up)
	return func() (Result, error) {
		o := <-done
		hosttest.WantGone(t, k.Name)
		return o.Result, o.error
	}
}

func waitFile(t *testing.T, path string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(path + " did not appear")
		}
	}
}

const sleepLoop = "while :; do sleep 0.02; done"

func TestRunForwardsSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1} {
		stop := background(t, context.Background(), &hosttest.Kernel{}, sleepLoop)
		if err := syscall.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
		if result, err := stop(); err != nil || result.ExitCode != 9 {
			t.Errorf("%v: exit %d, %v; want the command's 9", sig, result.ExitCode, err)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	stop := background(t, ctx, &hosttest.Kernel{}, sleepLoop)
	cancel()
	if result, err := stop(); err != nil || result.ExitCode != 137 {
		t.Errorf("exit %d, %v; want 137", result.ExitCode, err)
	}
}

func TestRunRefusesNameInUse(t *testing.T) {
	k := &hosttest.Kernel{}
	stop := background(t, context.Background(), k, sleepLoop)
	_, err := hostOf(k).Run(context.Background(), Config{Name: k.Name, Plan: hosttest.EmptyPlan(), Args: []string{"true"}, Sink: &hosttest.Recorder{}})
	if err == nil || !strings.Contains(err.Error(), "in use by process") {
		t.Errorf("second run of one name: %v", err)
	}
	if group, err := cgroup.Open(k.Name); err != nil {
		t.Error(err)
	} else if populated, _ := group.Populated(); !populated {
		t.Error("the refused run ended the first one's workload")
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := stop(); err != nil || result.ExitCode != 9 {
		t.Errorf("exit %d, %v", result.ExitCode, err)
	}
}

func TestRunCleansUpInAPanic(t *testing.T) {
	k := &hosttest.Kernel{Name: hosttest.TestName(t)}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = hostOf(k).Run(context.Background(), Config{
			Name: k.Name, Plan: hosttest.EmptyPlan(), Args: []string{"true"},
			Sink: &hosttest.Recorder{OnEnd: func() { panic("sink") }},
		})
	}()
	hosttest.WantGone(t, k.Name)
	if !k.Closed {
		t.Error("enforcement was not ended")
	}
}

// victim starts a run in another process.
func victim(t *testing.T, text string) (name string, cmd *exec.Cmd) {
	t.Helper()
	name = hosttest.TestName(t)
	up := filepath.Join(t.TempDir(), "up")
	cmd = exec.Command(os.Args[0], "victim", name, "touch "+up+"; "+text)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitFile(t, up)
	return name, cmd
}

func TestKilledRunLeavesNothing(t *testing.T) {
	name, cmd := victim(t, "setsid sleep 1000 & sleep 1000")
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	hosttest.WantGone(t, name)
}

func TestNextRunCleansUpWhereTheReaperDiedToo(t *testing.T) {
	name, cmd := victim(t, "sleep 1000")
	reapers, err := exec.Command("pgrep", "-f", "^stockade "+name+"$|reap "+name+"$").Output()
	if err != nil {
		t.Fatalf("reaper not found: %v", err)
	}
	for pid := range strings.FieldsSeq(string(reapers)) {
		if err := exec.Command("kill", "-9", pid).Run(); err != nil {
			t.Fatal(err)
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	time.Sleep(50 * time.Millisecond)
	if group, err := cgroup.Open(name); err != nil {
		t.Fatalf("cleaned up by nobody: %v", err)
	} else if populated, _ := group.Populated(); !populated {
		t.Fatal("killed by nobody")
	}
	rec := &hosttest.Recorder{}
	k := &hosttest.Kernel{Name: hosttest.TestName(t)}
	if _, err := hostOf(k).Run(context.Background(), Config{Name: k.Name, Plan: hosttest.EmptyPlan(), Args: []string{"true"}, Sink: rec}); err != nil {
		t.Fatal(err)
	}
	hosttest.WantGone(t, name)
	if len(rec.Notes) != 1 || !strings.HasPrefix(rec.Notes[0], name+": left by a run that died: 2 processes killed") {
		t.Errorf("notes %q", rec.Notes)
	}
}

func TestRunWithoutTerminalHasItsOwnSession(t *testing.T) {
	name := hosttest.TestName(t)
	out := t.TempDir() + "/session"
	cmd := exec.Command("setsid", "-w", os.Args[0], "victim", name, "ps -o sid= -p $$ >"+out+"; echo $$ >>"+out)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if ids := strings.Fields(string(text)); len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("session and process: %q", ids)
	}
}
