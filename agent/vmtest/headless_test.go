package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == "headless" {
		runtime.LockOSThread() // main is the first thread
	}
}

// headless goes on in a thread that is not the first, which ends: the cgroup of a workload,
// which it enters itself, knows the process by that.
func headless(file string) int {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		err = os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		for {
			_, _ = f.WriteString("\n")
			time.Sleep(20 * time.Millisecond)
		}
	}()
	_, _, _ = unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
	return 1
}

// beheaded stops processes whose first thread has ended, in the cgroup and moved out of it.
func beheaded(t *testing.T) {
	const file = "/tmp/out/headless"
	goesOn := func(want bool) {
		t.Helper()
		before := size(file)
		if time.Sleep(300 * time.Millisecond); (size(file) > before) != want {
			t.Errorf("it went from %d to %d", before, size(file))
		}
	}
	for _, moved := range []bool{false, true} {
		cmd := exec.Command("/proc/self/exe", "headless", file)
		cmd.Stderr = os.Stderr
		must(cmd.Start())
		await(t, "its first thread to end", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
			must(err)
			return strings.Contains(string(text), ") Z ")
		})
		if moved {
			must(os.WriteFile("/sys/fs/cgroup/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0))
		}
		goesOn(true)
		respond(t, 0, "freeze", "agents")
		goesOn(false)
		respond(t, 0, "unlock", "agents")
		goesOn(true)
		if r := respond(t, 0, "kill", "agents"); r.Processes != 1 {
			t.Errorf("moved %v: %+v", moved, r)
		}
		goesOn(false)
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("moved %v: %v", moved, err)
		}
		respond(t, 0, "unlock", "agents")
	}
}
