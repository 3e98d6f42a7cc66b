//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// lifeSuite is the package whose tests let agents fail: with a program that has
// the faults in it, and in machines of their own.
const lifeSuite = "agent/vmtest"

// The parts of that suite, each in a machine of its own.
const (
	faultTests  = "^TestFaults"
	boxTests    = "^TestContainers"
	longBoxes   = "^TestContainers(HeldFromAContainer|UnderFaults)$" // load the kernel side anew
	engineTests = "^TestEngines"
	podTests    = "^TestKubernetes"
	rebootTests = "^TestReboot$"
	askTests    = "^Test(WhatIsAsked|Executions|Opens|AKilledAgent|NoGroup|AnApproval|Rewritten|Hold)"
	runTests    = "^TestRunsOfTheAgent$" // wants a set with the hooks of strict runs
	unitTests   = "^TestSystemd"
	nextTests   = "^TestUpgrade" // want nothing pinned
)

// Roots of VMs, and with them the parts of the suite that take long or need what takes long
// to build: they have targets of their own.
const (
	engines    = "engines"
	kubernetes = "kubernetes"
)

// shares into which the faults are parted: each kernel of the list has one.
const shares = 3

// withFaults builds that program and splits the suite.
func (r *report) withFaults(ctx context.Context, o options, s machineTest) []machineTest {
	const program = work + "/stockade-faults"
	switch o.only {
	case engines:
		return r.withEngines(ctx, s)
	case kubernetes:
		return r.withKubernetes(ctx, s)
	}
	if !r.step(ctx, "build bin/stockade with faults", "go", "build", "-tags", "faults", "-trimpath", "-o", program, "./cmd/stockade") {
		return []machineTest{s}
	}
	const before = work + "/stockade-before" // with objects of an earlier build
	if !r.step(ctx, "build bin/stockade of an earlier build", "go", "build", "-tags", "faults,predecessor", "-trimpath", "-o", before, "./cmd/stockade") {
		return []machineTest{s}
	}
	s.files = append(s.files, program+":/usr/bin/stockade-faults", before+":/usr/bin/stockade-before")
	unit := s
	unit.where, unit.run, unit.systemd = ", systemd", unitTests, true
	unit.files = append(slices.Clone(s.files), "scripts/deploy:/vmtest/deploy")
	boxes, built := r.withRuntimes(ctx, s)
	if o.run != "" {
		if strings.Contains(o.run, "Container") && built { // they fail elsewhere
			boxes.run = ""
			return []machineTest{boxes}
		}
		s.skip = strings.Join([]string{boxTests, engineTests, podTests, rebootTests}, "|")
		if strings.Contains(o.run, "Systemd") { // they are skipped elsewhere
			unit.run = ""
			return []machineTest{unit}
		}
		return []machineTest{s}
	}
	if n := len(o.kernels); n < shares && os.Getenv("STOCKADE_FAULTS") != "all" {
		r.leftOut(fmt.Sprintf("%s, faults: %d of %d shares (three kernels have all, or STOCKADE_FAULTS=all)", s.pkg, shares-n, shares))
	}
	if os.Getenv("STOCKADE_FAULTS") != "all" {
		r.leftOut(s.pkg + ", faults of upgrades: all but one kill a kernel (STOCKADE_FAULTS=all)")
	}
	faults, asks, runs, next := s, s, s, s
	s.skip = strings.Join([]string{faultTests, askTests, runTests, unitTests, nextTests, boxTests, engineTests, podTests, rebootTests}, "|")
	faults.where, faults.run = ", faults", faultTests
	faults.icount = true
	asks.where, asks.run = ", asks", askTests
	asks.cpus = "2" // arguments are changed while they are judged
	runs.where, runs.run = ", runs", runTests
	next.where, next.run = ", upgrade", nextTests
	list := []machineTest{s, faults, asks, runs, unit, next}
	if built {
		list = append(list, boxes)
	}
	if os.Getenv("STOCKADE_ALL") != "" {
		return append(append(list, r.withEngines(ctx, s)...), r.withKubernetes(ctx, s)...)
	}
	r.leftOut(s.pkg + ", engines: all (make test-engines)")
	r.leftOut(s.pkg + ", Kubernetes: all (make test-kubernetes)")
	return list
}

// withRuntimes is a machine that starts containers, by the wrapper of their runtimes.
func (r *report) withRuntimes(ctx context.Context, s machineTest) (boxes machineTest, built bool) {
	s.where, s.run, s.runtimes = ", containers", boxTests, "*"
	return r.withWrapper(ctx, s)
}

func (r *report) withWrapper(ctx context.Context, s machineTest) (machineTest, bool) {
	const program = work + "/stockade-runc"
	s.files = append(slices.Clone(s.files), program+":/usr/bin/stockade-runc")
	return s, r.step(ctx, "build bin/stockade-runc", "go", "build", "-trimpath", "-o", program, "./cmd/stockade-runc")
}

// withEngines are machines with container engines: these make cgroups by themselves, or
// have systemd make them.
func (r *report) withEngines(ctx context.Context, s machineTest) []machineTest {
	s, built := r.withWrapper(ctx, s)
	if !built {
		return nil
	}
	s.root, s.memory, s.where, s.run, s.skip = engines, "2048", ", engines", engineTests, ""
	unit := s
	unit.where, unit.systemd = ", engines, systemd", true
	return []machineTest{s, unit}
}

// withKubernetes are machines that are nodes: of no cluster, and of one of their own.
func (r *report) withKubernetes(ctx context.Context, s machineTest) []machineTest {
	const program = work + "/stockade-kube"
	s, built := r.withWrapper(ctx, s)
	if !built || !r.step(ctx, "build bin/stockade-kube", "go", "build", "-trimpath", "-o", program, "./cmd/stockade-kube") {
		return nil
	}
	s.files = append(s.files, program+":/usr/bin/stockade-kube")
	s.root, s.memory, s.where, s.run, s.skip = kubernetes, "3072", ", Kubernetes", podTests+"$", ""
	cluster := s
	cluster.where, cluster.run = ", a cluster of Kubernetes", podTests+"Cluster"
	policies := s
	policies.where, policies.run = ", policies of Kubernetes", podTests+"Policies"
	again := s
	again.where, again.run, again.boots = ", Kubernetes, two boots", rebootTests, 2
	return []machineTest{s, cluster, policies, again}
}

// faultOptions hand on which faults are wanted: STOCKADE_FAULTS=all takes long. Of
// the others each kernel of the list has its share.
func faultOptions(nth int) (env []string, limit, testLimit string) {
	for _, name := range []string{"STOCKADE_FAULTS", "STOCKADE_FAULT_WAYS"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, "--env", name+"="+value)
		}
	}
	share := []string{"--env", fmt.Sprintf("STOCKADE_SHARE=%d", nth)}
	if len(env) > 0 {
		return append(env, share...), "90m", "89m"
	}
	return share, "45m", "44m"
}

// printFaults writes what became of each fault to a file, and what all came to.
func (r *report) printFaults(out io.Writer) {
	if len(r.faults) == 0 {
		return
	}
	fmt.Fprint(out, "\nFAULTS in VMs\n")
	for _, line := range r.faults {
		if strings.Contains(line, " pairs, ") {
			fmt.Fprintf(out, "  %s\n", line)
		}
	}
	file := filepath.Join(work, "faults")
	if err := os.WriteFile(file, []byte(strings.Join(r.faults, "\n")+"\n"), 0o644); err == nil {
		fmt.Fprintf(out, "  each of them: %s\n", file)
	}
}
