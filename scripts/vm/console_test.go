//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

const nullDereference = "\x1bc\x1b[?7l[    0.024000] tsc: Unable to calibrate against PIT\r\n" +
	wire.Mark + "\r\n" +
	"[    3.100000] BUG: kernel NULL pointer dereference, address: 0000000000000020\r\n" +
	"[    3.100100] #PF: supervisor read access in kernel mode\r\n" +
	"[    3.100200] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI\r\n" +
	"[    3.100300] CPU: 0 UID: 0 PID: 60 Comm: t Not tainted 6.12.107\r\n"

func TestConsoleTellsWhatHappened(t *testing.T) {
	for name, c := range map[string]struct {
		log, reason              string
		mark                     bool
		panics, oopses, warnings int
	}{
		"nothing printed": {},
		"quiet run":       {log: wire.Mark + "\n", mark: true},
		"oops after init": {log: nullDereference, mark: true, oopses: 2,
			reason: "BUG: kernel NULL pointer dereference, address: 0000000000000020"},
		"panic before init": {
			log:    "[    2.0] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
			panics: 1, reason: "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"},
		"oops is a better reason than the panic after it": {
			log:    "[    2.000000][    T1] general protection fault, probably for non-canonical address 0x1: 0000 [#1]\n[    2.1] Kernel panic - not syncing: Fatal exception\n",
			panics: 1, oopses: 1, reason: "general protection fault, probably for non-canonical address 0x1: 0000 [#1]"},
		"stale int3":        {log: "[    1.500000] int3: 0000 [#1] PREEMPT SMP\n", oopses: 1, reason: "int3: 0000 [#1] PREEMPT SMP"},
		"warning":           {log: "[    1.5] ------------[ cut here ]------------\n[    1.5] WARNING: CPU: 0 PID: 1 at kernel/x.c:1 f+0x1/0x2\n", warnings: 1},
		"lockup, slow host": {log: "[   30.5] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [t:60]\n", warnings: 1},
		"init gave up":      {log: wire.Mark + "\n" + wire.Fault + "module fuse: loading failed\n", mark: true, reason: "module fuse: loading failed"},
		"word in midst":     {log: "[    1.0] acpi: BIOS BUG: Oops: not one\n"},
	} {
		got := parseConsole(c.log)
		if got.Mark != c.mark || len(got.Panics) != c.panics || len(got.Oopses) != c.oopses || len(got.Warnings) != c.warnings {
			t.Errorf("%s: mark %v, panics %q, oopses %q, warnings %q", name, got.Mark, got.Panics, got.Oopses, got.Warnings)
		}
		if got.Reason() != c.reason {
			t.Errorf("%s: reason %q, want %q", name, got.Reason(), c.reason)
		}
	}
}

func TestExcerptBeginsShortlyBeforeTheBadNews(t *testing.T) {
	log := strings.Repeat("[    1.0] filler\n", 100) + "[    2.0] Kernel panic - not syncing: x\n" + strings.Repeat("[    2.1]  trace\n", 100)
	got := parseConsole(log).Excerpt(30)
	if len(got) != 30 || !strings.Contains(got[2], "Kernel panic") {
		t.Errorf("%d lines, third is %q", len(got), got[2])
	}
	got = parseConsole(strings.Repeat("[    1.0] filler\n", 100) + "last\n").Excerpt(30)
	if len(got) != 30 || got[29] != "last" {
		t.Errorf("%d lines, last is %q", len(got), got[len(got)-1])
	}
}
