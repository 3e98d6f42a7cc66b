//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stockade-dev/stockade/scripts/vm/module"
)

// work is where everything that is built for the tests goes.
const work = ".cache/verify"

// machineTest is one test binary on one kernel.
type machineTest struct {
	kernel, pkg, binary string
	root                string   // of the VM, see vm run --root
	memory              string   // in MiB, "" is what vm gives
	where               string   // says in which of the package's machines; "" where it has one
	cpus                string   // "" is 1
	systemd             bool     // it is process 1
	run, skip           string   // patterns of tests
	files               []string // HOST:GUEST
	runtimes            string   // a glob of container runtimes
	modules             []string // of the kernel, loaded beforehand
	boot                string   // on the kernel's command line
	boots               int      // of one disk, one after the other; 0 is 1
	icount              bool     // idle time is skipped: for what waits more than it computes
	patient             bool     // no time that passes here counts: it may wait for the processor
	yields              bool     // it gives way to the others
}

// demo marks the demo among the suites: it passes if its own checks do.
const demo = "demo"

// debianSuites are those of the packages whose tests run in VMs (their names end in
// vmtest; a folder testdata goes along) that get a whole Debian around them.
var debianSuites = map[string]bool{"agent/vmtest": true, "cmd/stockade/vmtest": true}

// enforcement is the package of the enforcement tests. Some need another machine.
const enforcement = "bpf/vmtest"

// What -quick runs of that package, and where: of each kind of hook the trials that
// its first mistakes would fail.
const (
	quickKernel = "6.12"
	coreTests   = "^Test(Names|Modes|Moves|Ancestors|Execution|Scripts|Metadata|BoundaryMounts|BoundaryNamelessSockets|BoundaryPins|Children|Swap|Audit|Lockdown|StrictMemory)$"
)

// filesystems are modules whose files that package tries to reach; brd is the block
// device of romfs.
var filesystems = []string{"binfmt_misc", "configfs", "brd", "romfs"}

// network is what agent/vmtest looks at: sockets, and the two ends of a wire.
var network = append(slices.Clone(module.Sockets), "veth")

// soon keeps a kernel from what only costs time under emulation: a timer that is set
// anew at each tick, and waits for grace periods at each task that enters a cgroup.
const soon = "highres=off nohz=off rcupdate.rcu_expedited=1"

// apart splits its tests: races need two processors and a kernel that interrupts
// verdicts at any place, the loader real dynamic programs.
func apart(s machineTest) []machineTest {
	const races, loader, share = "^TestRace", "^TestLoader", "^TestNobodyElsePays"
	other := s
	s.skip = races + "|" + loader
	other.where, other.run = ", races and dynamic programs", races+"|"+loader+"|"+share
	other.cpus, other.root, other.boot = "2", "debian", "preempt=full"
	return []machineTest{s, other}
}

// prepare gets the kernels and builds what runs on them. A kernel that cannot
// be had is one failure and does not hide the others.
func prepare(ctx context.Context, o options, r *report) []machineTest {
	if len(o.kernels) == 0 {
		return nil
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		r.broken("prepare", err.Error())
		return nil
	}
	packages, ok := r.output(ctx, "list VM tests", "go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}", "./...")
	if !ok || !r.step(ctx, "build scripts/vm", "go", "build", "-o", "bin/vm", "./scripts/vm") {
		return nil
	}
	var suites []machineTest
	debian := false
	here, _ := os.Getwd()
	for dir := range strings.FieldsSeq(packages) {
		pkg, err := filepath.Rel(here, dir)
		if err != nil || filepath.Base(pkg) != "vmtest" || o.quick && pkg != enforcement || o.only != "" && pkg != lifeSuite {
			continue
		}
		s := machineTest{pkg: pkg, root: "initramfs", boot: soon, binary: filepath.Join(work, strings.ReplaceAll(pkg, "/", "-")+".test")}
		if !r.step(ctx, "build "+pkg, "go", "test", "-c", "-o", s.binary, "./"+pkg) {
			continue
		}
		if pkg == enforcement {
			s.modules = filesystems
			if !r.step(ctx, "build probe", "go", "build", "-trimpath", "-ldflags=-s -w", "-o", work+"/probe", "./"+pkg+"/probe") {
				continue
			}
			s.files = append(s.files, work+"/probe:/vmtest/probe")
		}
		if info, err := os.Stat(filepath.Join(pkg, "testdata")); err == nil && info.IsDir() {
			s.files = append(s.files, filepath.Join(pkg, "testdata")+":/vmtest/testdata")
		}
		if debianSuites[pkg] {
			s.root, s.modules, debian = "debian", network, true
			if !r.step(ctx, "build bin/stockade", "go", "build", "-trimpath", "-o", work+"/stockade", "./cmd/stockade") {
				continue
			}
			s.files = append(s.files, work+"/stockade:/usr/bin/stockade", "scripts/examples:/vmtest/examples")
		}
		suites = append(suites, s)
		if pkg == enforcement && o.quick {
			suites[len(suites)-1].where, suites[len(suites)-1].run = ", core", coreTests
		} else if pkg == enforcement && o.run == "" {
			suites = append(suites[:len(suites)-1], apart(s)...)
			debian = true
		}
		if pkg == lifeSuite {
			suites = append(suites[:len(suites)-1], r.withFaults(ctx, o, s)...)
		}
	}
	if len(suites) == 0 {
		r.broken("VM tests", "no package named vmtest has tests: nothing of them runs in the VMs")
	}
	if o.run == "" && !o.quick && o.only == "" && r.step(ctx, "build stockade", "go", "build", "-trimpath", "-o", work+"/stockade", "./cmd/stockade") {
		debian = true
		suites = append(suites, machineTest{pkg: demo, root: "debian", files: []string{
			work + "/stockade:/usr/bin/stockade", "scripts/demo:/demo/demo", "scripts/examples:/demo/examples"}})
	}
	present, _ := r.output(ctx, "list kernels", "bin/vm", "list")
	if debian && o.only == "" {
		r.fetch(ctx, o, present, "debian")
	}
	for _, root := range []string{engines, kubernetes} {
		if slices.ContainsFunc(suites, func(s machineTest) bool { return s.root == root }) {
			r.fetch(ctx, o, present, root)
		}
	}
	if slices.ContainsFunc(suites, func(s machineTest) bool { return s.runtimes != "" }) {
		r.fetch(ctx, o, present, "runtimes")
	}
	var list []machineTest
	for _, kernel := range o.kernels {
		if !r.fetch(ctx, o, present, kernel) {
			continue
		}
		for _, s := range suites {
			s.kernel = kernel
			if left, some := s.leave(o, r); some {
				list = append(list, left)
			}
		}
	}
	return list
}

// name is what the summary calls a machine.
func (m machineTest) name() string {
	if m.kernel == "" {
		return m.pkg
	}
	return fmt.Sprintf("%s on %s%s", m.pkg, m.kernel, m.where)
}

// seconds is about how long a machine runs: what it took when it last did, or a
// guess. The longest begin, so that at the end none runs alone for long.
func (m machineTest) seconds(o options, last times) float64 {
	if took := last[m.name()]; took > 0 {
		return took
	}
	switch {
	case m.pkg == demo:
		return 50
	case m.kernel == "":
		return 200
	case m.pkg == enforcement:
		return 280
	case m.run == faultTests:
		return 350
	case m.root == engines, m.root == kubernetes:
		return 420
	case m.pkg == "cmd/stockade/vmtest" && m.kernel == whole(o.kernels):
		return 650
	case m.where == "" || m.run == runTests:
		return 180
	}
	return 120
}

// fetch gets a kernel or the debian root, unless it is there: a machine that
// has been set up once needs no network. present is what vm list prints. A kernel
// is noted with its exact version.
func (r *report) fetch(ctx context.Context, o options, present, what string) bool {
	about := lineOf(present, what)
	if about == "" || strings.Contains(about, "vm fetch") || o.fetch && what != "debian" {
		if !r.step(ctx, "fetch "+what, "bin/vm", "fetch", what) {
			return false
		}
		now, ok := r.output(ctx, "list kernels", "bin/vm", "list")
		if !ok {
			return false
		}
		about = lineOf(now, what)
	}
	fmt.Printf("verify: VM: %s\n", about)
	r.used(about)
	return true
}

// lineOf returns the line of vm list about a kernel or the debian root.
func lineOf(list, what string) string {
	for line := range strings.Lines(list) {
		if strings.HasPrefix(line, what+" ") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

// machine runs one test binary, or the demo, on one kernel.
func (r *report) machine(ctx context.Context, o options, m machineTest) {
	switch m.pkg {
	case demo:
		r.demo(ctx, m)
		return
	case comparisons:
		r.comparing(ctx, o, m)
		return
	case racing:
		r.racing(ctx, o)
		return
	}
	env, limit, testLimit := faultOptions(slices.Index(o.kernels, m.kernel))
	args := append([]string{"run", "--kernel", m.kernel, "--root", m.root, "--verbose", "--timeout", limit, "--env", "STOCKADE_VM=1",
		"--file", m.binary + ":/vmtest/vmtest.test"}, env...)
	if m.cpus != "" {
		args = append(args, "--cpus", m.cpus)
	}
	if m.memory != "" {
		args = append(args, "--mem", m.memory)
	}
	if m.icount {
		args = append(args, "--icount")
	}
	if m.systemd {
		args = append(args, "--systemd")
	}
	if m.runtimes != "" {
		args = append(args, "--runtimes", m.runtimes)
	}
	for _, f := range m.files {
		args = append(args, "--file", f)
	}
	if m.boot != "" {
		args = append(args, "--append", m.boot)
	}
	for _, name := range m.modules {
		args = append(args, "--module", name)
	}
	args = append(args, "--dir", "/vmtest", "--", "/vmtest/vmtest.test", "-test.v=test2json", "-test.timeout="+testLimit)
	for _, pattern := range []string{o.run, m.run} {
		if pattern != "" {
			args = append(args, "-test.run="+pattern)
		}
	}
	if m.skip != "" {
		args = append(args, "-test.skip="+m.skip)
	}
	if m.boots == 0 {
		r.tests(ctx, m.name(), m.kernel, "bin/vm", args...)
		return
	}
	disk := filepath.Join(work, "disk-"+m.kernel)
	defer os.Remove(disk)
	os.Remove(disk)
	for boot := range m.boots {
		more := []string{args[0], "--disk", disk, "--env", fmt.Sprintf("STOCKADE_BOOT=%d", boot+1)}
		r.tests(ctx, fmt.Sprintf("%s, boot %d", m.name(), boot+1), m.kernel, "bin/vm", append(more, args[1:]...)...)
	}
}

// demo runs the demo's stage, which checks by itself what happened: the whole
// of Stockade, from policy text to denial line.
func (r *report) demo(ctx context.Context, m machineTest) {
	where := m.name()
	fmt.Printf("verify: %s: running\n", where)
	began := time.Now()
	args := []string{"run", "--kernel", m.kernel, "--root", m.root, "--timeout", "5m"}
	for _, f := range m.files {
		args = append(args, "--file", f)
	}
	out, err := command(ctx, "bin/vm", append(args, "--", "/demo/demo/stage", "/usr/bin/stockade")...).CombinedOutput()
	result := outcome{where, "stage", "pass", string(out)}
	if err != nil {
		result.action = "fail"
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "trying again") {
			r.retry(line)
		}
	}
	r.add([]outcome{result}, where, time.Since(began))
}
