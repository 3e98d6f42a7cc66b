package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/agent/container"
)

// What is wrong with a template of the file apart concerns its own containers alone.
func TestTemplatesApartDoNotHinderOthers(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer func() { kill() }()
	const more = `
containers:
  - {name: pod-a, match: {pod: ns/a/*}, principal: 'User::"one"', policies: a.cedar}
  - {name: pod-b, match: {pod: ns/b/*}, principal: 'User::"one"', policies: b.cedar}
`
	y.write("a.cedar", permitA)
	y.write("b.cedar", permitA)
	y.write("agent.yaml", "containers_from: more.yaml\n"+boxConfig)
	y.write("more.yaml", more)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	podOf := func(id, pod string) *crate {
		c := y.crate(id, true)
		c.ask.Annotations, c.ask.Pod = nil, pod
		return c
	}
	a, b := podOf("a1", "ns/a/1"), podOf("b1", "ns/b/1")
	for _, c := range []*crate{a, b} {
		if _, err := d.StartContainer(c.ask); err != nil {
			t.Fatal(err)
		}
	}
	y.write("a.cedar", permitB)
	y.write("b.cedar", "permit (")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if w := y.box(d, "pod-a.a1"); w == nil || w.Generation != 2 || w.Container.Pod != "ns/a/1" {
		t.Errorf("one that is right, beside one that is not: %+v", w)
	}
	if w := y.box(d, "pod-b.b1"); w == nil || w.Generation != 1 {
		t.Errorf("what was started before: %+v", w)
	}
	if _, err := d.StartContainer(podOf("b2", "ns/b/1").ask); err == nil || !strings.Contains(err.Error(), "template pod-b: ") || !strings.Contains(err.Error(), "b.cedar:1:") {
		t.Errorf("one of a template that is wrong: %v", err)
	}
	if notes := fmt.Sprint(y.status(d).Notes); !strings.Contains(notes, "b.cedar:1:") {
		t.Errorf("the status says nothing of it: %s", notes)
	}
	y.write("b.cedar", permitB)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.StartContainer(podOf("b3", "ns/b/1").ask); err != nil || y.box(d, "pod-b.b1").Generation != 2 {
		t.Errorf("mended: %v, %+v", err, y.box(d, "pod-b.b1"))
	}
}

func TestTemplatesCanBeStrict(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer func() { kill() }()
	strict := boxConfig + "    strict: true\n"
	y.write("agent.yaml", strict)
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), "agent.yaml:10:13: strict: the pinned set has no hooks for it: nothing is changed") {
		t.Errorf("without the hooks: %v", err)
	}
	y.set.strict = true
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	c := y.crate("c1", true)
	if _, err := d.StartContainer(c.ask); err != nil {
		t.Fatal(err)
	}
	id := d.all.byName["box.c1"].id
	if !y.set.strictOf[id] {
		t.Error("it is not strict")
	}
	y.write("agent.yaml", boxConfig)
	if err := d.Reload(); err != nil || y.set.strictOf[id] {
		t.Errorf("%v, or it is strict though it should be no more", err)
	}
}

// A pod's container that is made waits for a template that is being written.
func TestATemplateThatIsBeingWrittenIsWaitedFor(t *testing.T) {
	y := newYard(t)
	d, kill := y.boxes()
	defer kill()
	y.write("agent.yaml", "containers_from: more.yaml\n"+boxConfig)
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	ask := container.Start{Facts: container.Facts{ID: "c", Pod: "ns/a/1"}}
	asked := make(chan error, 1)
	go func() {
		_, err := d.StartContainer(ask)
		asked <- err
	}()
	time.Sleep(settling) // it waits by now
	y.write("more.yaml", "containers: [{name: a, match: {pod: ns/a/*}, unconfined: true}]\n")
	if err := d.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
	ask.Pod = "" // none of a pod waits
	began := time.Now()
	if _, err := d.StartContainer(ask); err == nil || !strings.Contains(err.Error(), "more.yaml selects it") || time.Since(began) >= templateLimit {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}
