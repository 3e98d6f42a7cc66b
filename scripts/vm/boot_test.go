//go:build linux

package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

func TestVerdicts(t *testing.T) {
	const panicText = "[    2.0] Kernel panic - not syncing: x\n"
	mark := wire.Mark + "\n"
	result := func(status int, taint uint64, fault string) *wire.Result {
		return &wire.Result{Status: status, Taint: taint, Fault: fault}
	}
	for name, c := range map[string]struct {
		out     Outcome
		console string
		status  int
		again   bool
		what    string // part of it; empty means nothing happened
	}{
		"command succeeded":              {Outcome{End: EndResult, Started: true, Result: result(0, 0, "")}, mark, 0, false, ""},
		"command failed":                 {Outcome{End: EndResult, Started: true, Result: result(7, 0, "")}, mark, 7, false, ""},
		"command not found":              {Outcome{End: EndResult, Started: true, Result: result(127, 0, "no")}, mark, 127, false, ""},
		"init failed":                    {Outcome{End: EndResult, Result: result(125, 0, "no root")}, mark, 125, false, "no root"},
		"died before init":               {Outcome{End: EndExit}, panicText, 125, true, "Kernel panic"},
		"died before init, silently":     {Outcome{End: EndExit}, "", 125, true, "no reason printed"},
		"died after init":                {Outcome{End: EndExit}, mark + panicText, 125, false, "before the command started"},
		"died in the command":            {Outcome{End: EndExit, Started: true}, mark + panicText, 125, false, "while the command ran"},
		"rebooted":                       {Outcome{End: EndExit, Started: true}, mark, 125, false, "rebooted"},
		"greeting counts as the mark":    {Outcome{End: EndExit, Greeting: new(wire.Greeting)}, "", 125, false, "before the command started"},
		"emulator refused its arguments": {Outcome{End: EndExit, Status: 1, Messages: "bad option\n"}, "", 125, false, "bad option"},
		"emulator crashed before init":   {Outcome{End: EndExit, Status: -1}, "", 125, true, "crashed"},
		"emulator crashed after init":    {Outcome{End: EndExit, Status: -1}, mark, 125, false, "emulator failed"},
		"hung before init":               {Outcome{End: EndBootTimeout}, "", 125, true, "no sign of life"},
		"hung after init":                {Outcome{End: EndBootTimeout}, mark, 125, false, "did not start the command"},
		"command too slow":               {Outcome{End: EndTimeout, Started: true}, mark, 125, false, "did not end"},
		"oops on the console":            {Outcome{End: EndResult, Started: true, Result: result(0, 0, "")}, nullDereference, 125, false, "oopsed (BUG: kernel NULL"},
		"oops in the taint only":         {Outcome{End: EndResult, Started: true, Result: result(0, wire.TaintOops, "")}, mark, 125, false, "oopsed"},
		"warning keeps the status":       {Outcome{End: EndResult, Started: true, Result: result(4, wire.TaintWarn, "")}, mark, 4, false, ""},
		"stopped by the user":            {Outcome{End: EndSignal, Signal: syscall.SIGTERM}, mark, 143, false, "stopped by signal 15"},
		"broken stream":                  {Outcome{End: EndBroken, Started: true}, mark, 125, false, "stream from init broke"},
	} {
		v := judge(&Options{}, &c.out, parseConsole(c.console))
		if v.status != c.status || v.again != c.again || (c.what == "") != (v.what == "") || !strings.Contains(v.what, c.what) {
			t.Errorf("%s: status %d, again %v, %q; want %d, %v, %q", name, v.status, v.again, v.what, c.status, c.again, c.what)
		}
	}
	v := judge(&Options{}, &Outcome{End: EndResult, Result: result(0, wire.TaintWarn, "")}, parseConsole(mark))
	if len(v.warnings) != 1 {
		t.Errorf("a warning known from the taint only is reported %d times", len(v.warnings))
	}
}

func TestFramesNeedTheToken(t *testing.T) {
	m := &Machine{token: "secret"}
	for _, f := range []frame{
		{kind: wire.Exit, payload: []byte(`{"Token":"guess","Status":0}`)},
		{kind: wire.Start, payload: []byte("guess")},
		{kind: wire.Hello, payload: []byte(`{}`)},
	} {
		if err := m.take(f, new(Outcome), nil); err == nil {
			t.Errorf("%c: taken without the token", f.kind)
		}
	}
	out := new(Outcome)
	if err := m.take(frame{kind: wire.Exit, payload: []byte(`{"Token":"secret","Status":3}`)}, out, nil); err != nil || out.Result.Status != 3 {
		t.Errorf("result %+v, %v; want status 3", out.Result, err)
	}
}
