package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestSinksGetDenialsBesideTheLog(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", yardConfig+"    sinks: [{json: more.jsonl}, {text: more.log}]\n")
	d, kill := y.up()
	deliver(d, abi.Event{Workload: 1, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k/x", PathStatus: abi.PathOK})
	d.all.byName["one"].outlet.fan.Others[0].Close() // it has taken what it was given
	s := y.status(d).Workloads[0]
	if len(s.Sinks) != 2 || s.Sinks[0].Name != "json more.jsonl" || s.Sinks[0].Taken != 1 || s.Sinks[0].Lost != 0 || s.Delivered != 1 {
		t.Errorf("%+v", s)
	}
	if text := scraped(d); !strings.Contains(text, `stockade_sink_taken_total{sink="json more.jsonl",workload="one"} 1`) {
		t.Error(text)
	}
	kill()
	for _, name := range []string{"more.jsonl", "more.log"} {
		if text, err := os.ReadFile(filepath.Join(y.dir, name)); err != nil || strings.Count(string(text), "/k/x") != 1 {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

func TestSinkThatCannotBeOpenedChangesNothing(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	at := fmt.Sprintf("agent.yaml:%d:", strings.Count(yardConfig, "\n")+1)
	for text, want := range map[string]string{
		"    sinks: [{nosuch: x}]\n":          at + `13: sink "nosuch": unknown: nothing is changed`,
		"    sinks: [{json: no/x}]\n":         "no such file or directory: nothing is changed",
		"    sinks: [json]\n":                 "not KIND: ARGUMENT: nothing is changed",
		"    sinks: [{json: ''}]\n":           "json: no text: nothing is changed",
		"    sinks: [{json: x}, {json: x}]\n": at + "24: sink json x: twice",
		"---\nworkloads: []\n":                "a second document",
		"    sinks: {json: x}\n":              "sinks: not a list",
		"    sinks: [{json: [a, b]}]\n":       "json: no text",
	} {
		y.write("agent.yaml", yardConfig+text)
		if err := d.Reload(); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "agent.yaml:") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if s := y.status(d).Workloads[0]; s.Generation != 1 || len(s.Sinks) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestReloadsCostNoDenial(t *testing.T) {
	y := newYard(t)
	y.write("agent.yaml", yardConfig+"    sinks: [{json: more.jsonl}]\n")
	d, kill := y.up()
	defer kill()
	quit, done := make(chan struct{}), make(chan uint64)
	go func() {
		given := uint64(0)
		for {
			select {
			case <-quit:
				done <- given
				return
			default:
			}
			deliver(d, abi.Event{Workload: 1, Generation: 1, Missing: abi.MaskOf(abi.Read), Action: abi.Read, Path: "/k/x", PathStatus: abi.PathOK})
			given++
		}
	}()
	for range 30 {
		if err := d.Reload(); err != nil {
			t.Error(err)
		}
	}
	close(quit)
	given := <-done
	s := y.status(d).Workloads[0]
	d.all.named("one").outlet.fan.Others[0].Close()
	c := d.all.named("one").outlet.fan.Others.Counts()[0]
	if s.Delivered != given || c.Taken+c.Lost != given || given == 0 {
		t.Errorf("%d given, %d delivered; %+v", given, s.Delivered, c)
	}
}

func TestPrincipalThatIsNoEntityHasItsPlace(t *testing.T) {
	y := newYard(t)
	d, kill := y.up()
	defer kill()
	y.write("agent.yaml", strings.Replace(yardConfig, `User::"one"`, "one", 1))
	if err := d.Reload(); err == nil || !strings.Contains(err.Error(), `agent.yaml:7:16: workload one: principal: "one" is not a Cedar entity`) {
		t.Errorf("%v", err)
	}
}
