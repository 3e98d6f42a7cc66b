package vmtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent"
)

// race enters the agent's cgroup and opens the four files in turn until its
// input ends. It prints, for each file, how often it was allowed and denied.
func race() int {
	if err := os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The agent has to keep up with the denials of all, on two slow processors.
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	over := make(chan struct{})
	go func() { io.Copy(io.Discard, os.Stdin); close(over) }()
	var counts [4][2]int
	for {
		select {
		case <-over:
			for _, c := range counts {
				fmt.Print(c[0], " ", c[1], " ")
			}
			return 0
		case <-time.After(50 * time.Millisecond):
		}
		for i, name := range raceFiles {
			fd, err := syscall.Open(agentDir+"/"+name, syscall.O_RDONLY, 0)
			switch err {
			case nil:
				syscall.Close(fd)
				counts[i][0]++
			case syscall.EACCES:
				counts[i][1]++
			default:
				fmt.Fprintln(os.Stderr, name, err)
				return 1
			}
		}
	}
}

var raceFiles = []string{"a", "b", "both", "none"}

// TestReloadStorm swaps two policy sets under eight tasks. Whatever generation
// decides, both must be allowed and none denied. STOCKADE_SWAPS is how often, 200
// if it is not set.
func TestReloadStorm(t *testing.T) {
	agentFixture(t)
	startAgent(t)
	defer retireAgent(t)
	const tasks = 8
	swaps := 200
	if n, err := strconv.Atoi(os.Getenv("STOCKADE_SWAPS")); err == nil {
		swaps = n
	}
	type racer struct {
		cmd   *exec.Cmd
		stdin io.WriteCloser
		out   strings.Builder
	}
	var racers [tasks]racer
	for i := range racers {
		r := &racers[i]
		r.cmd = exec.Command("/proc/self/exe", "race")
		r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
		stdin, err := r.cmd.StdinPipe()
		must(err)
		r.stdin = stdin
		must(r.cmd.Start())
	}
	client := agent.NewClient(agent.DefaultSocket)
	var sets [2]agent.PolicySet
	for i, text := range []string{permitting("b", "both"), permitting("a", "both")} {
		sets[i].Sources = []agent.PolicySource{{Name: fmt.Sprintf("policy%d.cedar", i), Text: text}}
	}
	began := time.Now()
	for i := range swaps {
		change, err := client.Apply(context.Background(), "agents", sets[i%2])
		if err != nil || change.Generation != uint32(i+2) {
			t.Fatalf("swap %d: generation %d, %v", i, change.Generation, err)
		}
		if i%200 == 199 {
			t.Logf("%d swaps in %v", i+1, time.Since(began))
		}
	}
	var sum [8]int
	for i := range racers {
		racers[i].stdin.Close()
		if err := racers[i].cmd.Wait(); err != nil {
			t.Fatalf("racer: %v: %s", err, &racers[i].out)
		}
		var c [8]int
		n, _ := fmt.Sscan(racers[i].out.String(), &c[0], &c[1], &c[2], &c[3], &c[4], &c[5], &c[6], &c[7])
		if n != 8 {
			t.Fatalf("racer: %q", racers[i].out.String())
		}
		for j := range sum {
			sum[j] += c[j]
		}
	}
	t.Logf("allowed and denied: a %d %d, b %d %d, both %d %d, none %d %d", sum[0], sum[1], sum[2], sum[3], sum[4], sum[5], sum[6], sum[7])
	if sum[0] == 0 || sum[1] == 0 || sum[2] == 0 || sum[3] == 0 {
		t.Error("the tasks did not meet both policy sets")
	}
	if sum[5] > 0 {
		t.Errorf("what both permit was denied %d times", sum[5])
	}
	if sum[6] > 0 {
		t.Errorf("what neither permits was allowed %d times", sum[6])
	}
	exact(t)
}
