package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent"
	"github.com/stockade-dev/stockade/bpf"
)

// What kill lacks is told with its fix, and is no failure of this host.
func TestDoctorTellsWhatKillLacks(t *testing.T) {
	listed := []string{"TCP", "UDP"}
	for _, c := range []struct {
		name string
		can  agent.SocketAbility
		err  error
		want []string // of each fact that is told
	}{
		{"all", agent.SocketAbility{Listed: listed, Destroys: true}, nil, nil},
		{"no module", agent.SocketAbility{Unlisted: map[string][]string{"tcp_diag": {"TCP"}, "raw_diag": {"RAW", "RAWv6"}}}, nil,
			[]string{"the kernel does not list sockets of RAW, RAWv6, TCP: a workload that has one is NOT STOPPED by `stockade kill`; nor is any other, while this host has a TCP socket\n  fix: modprobe -a raw_diag tcp_diag, "}},
		{"another module", agent.SocketAbility{Listed: listed, Destroys: true, Unlisted: map[string][]string{"unix_diag": {"UNIX"}}}, nil,
			[]string{"sockets of UNIX: a workload that has one is NOT STOPPED by `stockade kill`\n  fix: modprobe -a unix_diag, "}},
		{"no destroying", agent.SocketAbility{Listed: listed}, nil,
			[]string{"destroying sockets: `stockade kill` cuts no connection", "fix: boot a kernel with CONFIG_INET_DIAG_DESTROY=y"}},
		{"not known", agent.SocketAbility{}, errors.New("no"), []string{"sockets: `stockade kill` may not find or cut", "fix: run as root"}},
	} {
		facts := socketFacts(c.can, c.err)
		var out strings.Builder
		if err := showFacts(&out, facts); err != nil {
			t.Fatal(err)
		}
		for _, f := range facts {
			if f.Required || f.OK != (c.want == nil) || f.OK != (f.Fix == "") {
				t.Errorf("%s: %+v", c.name, f)
			}
		}
		verdict := "\nthis host can enforce, with the limits above\n"
		if c.want == nil {
			verdict = "\nthis host can enforce\n"
		}
		for _, want := range append(c.want, verdict) {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, out.String())
			}
		}
	}
	var out strings.Builder // the control: a lack of enforcement is one
	if err := showFacts(&out, []bpf.Fact{{Name: "x", Required: true}}); err != nil || !strings.Contains(out.String(), "this host cannot enforce") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// The verb asks this kernel.
func TestDoctorAsksThisKernelForSockets(t *testing.T) {
	can, err := agent.ProbeSockets()
	_, out, errs := call("", "doctor")
	for _, f := range socketFacts(can, err) {
		if !strings.Contains(out, f.Name) || !strings.Contains(out, f.Consequence) {
			t.Errorf("no %q in\n%s%s", f.Name, out, errs)
		}
	}
}
