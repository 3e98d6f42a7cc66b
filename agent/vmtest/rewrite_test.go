package vmtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// rewrite enters the agent's cgroup and executes echo with an argument that
// another thread changes all the while, from good to evil and back.
func rewrite() int {
	if err := os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	word := new([8]byte)
	copy(word[:], "good")
	value := (*atomic.Uint32)(unsafe.Pointer(word))
	good := value.Load()
	evil := *(*uint32)(unsafe.Pointer(&[]byte("evil")[0]))
	go func() {
		runtime.LockOSThread()
		for {
			for range 1 + time.Now().UnixNano()%4096 {
				value.Store(good)
			}
			for range 1 + time.Now().UnixNano()%4096 {
				value.Store(evil)
			}
		}
	}()
	path, _ := syscall.BytePtrFromString("/usr/bin/echo")
	name, _ := syscall.BytePtrFromString("echo")
	args := [3]*byte{name, &word[0], nil}
	env := [1]*byte{}
	time.Sleep(time.Duration(time.Now().UnixNano()%3000) * time.Microsecond)
	_, _, errno := syscall.RawSyscall(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(path)), uintptr(unsafe.Pointer(&args)), uintptr(unsafe.Pointer(&env)))
	runtime.KeepAlive(word)
	if errno == syscall.EACCES {
		return 77
	}
	fmt.Fprintln(os.Stderr, errno)
	return 1
}

const onlyGood = `@id("all") permit (principal, action, resource);
@id("good") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/echo")
unless { context.arguments.positional_values.contains("good") };
`

// TestRewrittenArgumentsNeverRun lets programs change their arguments while they
// are judged: what runs has seen allowed ones alone. STOCKADE_REWRITES is how
// many programs, 100 if it is not set.
func TestRewrittenArgumentsNeverRun(t *testing.T) {
	holdFixture(t, onlyGood)
	startAgent(t)
	defer removeAgent(t)
	try(t, []trial{
		{"good", "/usr/bin/echo good", "good", ""},
		{"evil", "/usr/bin/echo evil", "", "/usr/bin/echo: " + answeredReason + ": good"},
	})
	times := 100
	if n, err := strconv.Atoi(os.Getenv("STOCKADE_REWRITES")); err == nil {
		times = n
	}
	runs, kills, denied := 0, 0, 0
	for i := 0; i < times || (runs == 0 || kills == 0 || denied == 0) && i < 20*times; i++ {
		cmd := exec.Command("/proc/self/exe", "rewrite")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		ended := cmd.ProcessState.Sys().(syscall.WaitStatus)
		switch {
		case ended.Signaled() && ended.Signal() == syscall.SIGKILL && out.Len() == 0:
			kills++
		case ended.ExitStatus() == 77:
			denied++
		case err == nil && strings.TrimSpace(out.String()) == "good":
			runs++
		default:
			t.Fatalf("program %d: %v: %s", i, err, &out)
		}
	}
	t.Logf("%d ran, %d were killed, %d denied", runs, kills, denied)
	if runs == 0 || kills == 0 || denied == 0 {
		t.Error("the test sees not all sides")
	}
}

// opens opens a file again and again, and prints how long one takes.
func opens(path string) int {
	if err := os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	const n = 2000
	began := time.Now()
	for range n {
		fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
		if err != nil {
			fmt.Fprintln(os.Stderr, path, err)
			return 1
		}
		syscall.Close(fd)
	}
	fmt.Print(time.Since(began).Nanoseconds() / n)
	return 0
}

// TestHoldFigures logs what it costs to wait for the agent, against the same
// operation that nobody asks about. It runs only when STOCKADE_BENCH is set.
func TestHoldFigures(t *testing.T) {
	if os.Getenv("STOCKADE_BENCH") == "" {
		t.Skip("figures, not a test of behaviour: set STOCKADE_BENCH=1")
	}
	holdFixture(t, `@id("all") permit (principal, action, resource);
@id("args") forbid (principal, action == file_system::Action::"execute", resource == file_system::File::"/usr/bin/true")
when { context.arguments.positional_values.contains("bad") };
@id("user") forbid (principal, action == file_system::Action::"read", resource == file_system::File::"/srv/agent/opened")
when { context has user && context.user.username == "daemon" };
`)
	text, err := os.ReadFile("/usr/bin/true")
	must(err)
	must(os.MkdirAll("/srv/plain", 0o755))
	must(os.WriteFile("/srv/plain/true", text, 0o755))
	must(os.WriteFile("/srv/plain/opened", nil, 0o644))
	startAgent(t)
	defer retireAgent(t)
	const n = 200
	loop := func(path string) time.Duration {
		t.Helper()
		began := time.Now()
		if out, err := in(agentGroup, fmt.Sprintf("for ((i=0; i<%d; i++)); do %s; done", n, path)); err != nil {
			t.Fatalf("%s: %v: %s", path, err, out)
		}
		return time.Since(began) / n
	}
	open := func(path string) int {
		t.Helper()
		out, err := exec.Command("/proc/self/exe", "opens", path).Output()
		ns, err2 := strconv.Atoi(string(out))
		if err != nil || err2 != nil {
			t.Fatalf("%s: %v %v: %s", path, err, err2, out)
		}
		return ns
	}
	for range 3 {
		plain, held := loop("/srv/plain/true"), loop("/usr/bin/true")
		t.Logf("fork and exec: plain %v, held %v: %.2f times", plain, held, float64(held)/float64(plain))
	}
	if len(heldCounts(t).Actions) == 1 {
		t.Log("open: does not wait on this kernel")
		return
	}
	for range 3 {
		plain, held := open("/srv/plain/opened"), open(agentDir+"/opened")
		beside := open(agentDir + "/a") // its folder is marked: the agent looks at it, nobody asks
		t.Logf("open and close: plain %d ns, held %d ns: %.1f times; beside it %d ns: %.1f times", plain, held,
			float64(held)/float64(plain), beside, float64(beside)/float64(plain))
	}
}
