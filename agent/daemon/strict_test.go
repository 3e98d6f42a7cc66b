package daemon

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// strictNow lists which workloads are strict, by their number.
func (k *fakeSet) strictNow() map[uint32]bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.areStrict)
}

func TestContainersAreStrictAsTheirTemplateSays(t *testing.T) {
	y := newYard(t)
	y.set.strict = true
	d, kill := y.boxes()
	defer kill()
	strict := boxConfig + "    strict: true\n"
	y.write("agent.yaml", strict)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.StartContainer(y.crate("a", true).ask); err != nil {
		t.Fatal(err)
	}
	if is := fmt.Sprint(y.set.strictNow()); !strings.Contains(is, ":true") {
		t.Errorf("it is not strict: %s", is)
	}
	y.write("agent.yaml", boxConfig)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if is := fmt.Sprint(y.set.strictNow()); strings.Contains(is, ":true") {
		t.Errorf("it is still strict: %s", is)
	}
}

func TestWithoutHooksNothingIsTakenForStrict(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer func() { kill() }()
	strict := boxConfig + "    strict: true\n"
	y.write("agent.yaml", strict)
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "agent.yaml:10:13: strict: the pinned set has no hooks for it: nothing is changed") {
		t.Errorf("a strict template: %v", err)
	}
	// One that a program writes concerns its own containers, also of an agent that starts.
	y.write("agent.yaml", "containers_from: more.yaml\n"+boxConfig)
	pod := "  - {name: pod, match: {pod: ns/a/*}, principal: 'User::\"one\"', policies: one.cedar"
	y.write("more.yaml", "containers:\n"+pod+"}\n")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	a := y.crate("a", true)
	a.ask.Annotations, a.ask.Pod = nil, "ns/a/1"
	if _, err := d.StartContainer(a.ask); err != nil {
		t.Fatal(err)
	}
	y.write("more.yaml", "containers:\n"+pod+", strict: true}\n")
	for _, when := range []string{"reload", "start"} {
		if when == "start" {
			kill()
			hosts := d.hosts
			d, kill = y.up()
			d.hosts = hosts
		} else if err := d.Reload(); err != nil {
			t.Fatal(err)
		}
		if w := y.box(d, "pod.a"); w == nil || w.Generation != 1 {
			t.Errorf("%s: what was started before: %+v", when, w)
		}
		b := y.crate("b-"+when, true)
		b.ask.Annotations, b.ask.Pod = nil, "ns/a/1"
		if _, err := d.StartContainer(b.ask); err == nil || !strings.Contains(err.Error(), "strict: the pinned set has no hooks for it") {
			t.Errorf("%s: %v", when, err)
		}
	}
}
