package vmtest

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// bootVariable says which boot of the machine it is, of the two that TestReboot has. Its
// disk is the same.
const bootVariable = "STOCKADE_BOOT"

// TestReboot has a node boot twice: its static pod is confined after the first boot, and
// comes up after the second once an agent is there, confined, and not before.
func TestReboot(t *testing.T) {
	inVM(t)
	const name = "box-rebooted"
	switch os.Getenv(bootVariable) {
	case "1":
		n := nodeOf(t)
		n.guard("stockade")
		startAgent(t)
		n.startKubelet()
		p := newPod(t, name)
		p.put()
		p.ready()
		p.confined()
		denied(t, p.workload("box", "main"), secretDenied)
		unix.Sync()
	case "2":
		n := newNode(t)
		n.startContainerd("stockade")
		n.startKubelet()
		p := &pod{talk: goOn(t, name, podsDir+name), full: name + "-" + nodeName, manifest: manifests + name + ".json"}
		p.waits(n, "no agent listens at /run/stockade/agent.sock")
		startAgent(t)
		began := time.Now()
		p.ready()
		t.Logf("the pod began %v after the agent", time.Since(began).Round(100*time.Millisecond))
		p.confined()
		p.execs(false, "permission denied", "/bin/cat", "/data/secret")
		denied(t, p.workload("box", "main"), secretDenied, secretDenied)
		p.remove()
		retireAgent(t)
	default:
		t.Skip("wants a machine that boots twice: make test-kubernetes")
	}
}
