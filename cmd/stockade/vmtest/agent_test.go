package vmtest

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// How runs are confined: by a set of their own, which takes half a minute here to
// be loaded, or by the agent.
const (
	ownSet   = "--agent=never"
	agentSet = "--agent=require"
)

// confinedBy is how those of the test are.
var confinedBy = ownSet

var startAgent = sync.OnceValue(func() string {
	const conf = "/policy/agent.yaml"
	must(os.WriteFile(conf, []byte("workloads: []\n"), 0o644))
	said := &bytes.Buffer{}
	cmd := exec.Command(program, "agent", "--config", conf)
	cmd.Stderr = said
	must(cmd.Start())
	for end := time.Now().Add(4 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		// Who asks by a program takes the processor from one that loads its own.
		conn, err := net.Dial("unix", "/run/stockade/agent.sock")
		if err != nil {
			continue
		}
		conn.Close()
		if exec.Command(program, "ps").Run() == nil {
			return ""
		}
	}
	must(cmd.Process.Kill())
	cmd.Wait()
	return "the agent does not answer: " + said.String()
})

// byAgent has the runs of a test, which is about what programs may do and not about
// how a run begins and ends, confined by one agent that all these tests share. That
// a run looks the same with the agent and without is a test of agent/vmtest.
func byAgent(t *testing.T) {
	t.Helper()
	inVM(t)
	if failed := startAgent(); failed != "" {
		t.Fatal(failed)
	}
	confinedBy = agentSet
	t.Cleanup(func() { confinedBy = ownSet })
}
