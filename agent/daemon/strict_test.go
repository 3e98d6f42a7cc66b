package daemon

import (
	"strings"
	"testing"
)

// A pinned set may have no hooks for strict workloads. A template that a program writes, and
// that wants them, concerns its own containers, also when an agent starts.
func TestTemplatesApartMayWantToBeStrict(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer func() { kill() }()
	y.write("agent.yaml", "containers_from: more.yaml\n"+boxConfig)
	pod := "containers:\n  - {name: pod, match: {pod: ns/a/*}, principal: 'User::\"one\"', policies: one.cedar"
	y.write("more.yaml", pod+"}\n")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	podOf := func(id string) *crate {
		c := y.crate(id, true)
		c.ask.Annotations, c.ask.Pod = nil, "ns/a/1"
		return c
	}
	if _, err := d.StartContainer(podOf("a").ask); err != nil {
		t.Fatal(err)
	}
	y.write("more.yaml", pod+", strict: true}\n")
	for _, when := range []string{"reload", "start"} {
		if hosts := d.hosts; when == "start" {
			kill()
			d, kill = y.up()
			d.hosts = hosts
		} else if err := d.Reload(); err != nil {
			t.Fatal(err)
		}
		if w := y.box(d, "pod.a"); w == nil || w.Generation != 1 {
			t.Errorf("%s: what was started before: %+v", when, w)
		}
		if _, err := d.StartContainer(podOf("b-" + when).ask); err == nil || !strings.Contains(err.Error(), "strict: the pinned set has no hooks for it") {
			t.Errorf("%s: %v", when, err)
		}
	}
}
