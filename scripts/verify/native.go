//go:build linux

package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// native begins the names of what runs on this host.
const native = "native"

// clusterTests run where an API server is, which clusterEnv says.
const (
	clusterTests = "agent/kube/envtest"
	clusterEnv   = "STOCKADE_KUBERNETES"
)

// comparisons marks those packages among the machines whose tests compute and wait for
// nothing: they run beside VMs, in the place of one.
const comparisons = native + ", comparisons"

// compares says whether a package is one of them.
func compares(pkg string) bool {
	path := strings.TrimPrefix(pkg, "github.com/stockade-dev/stockade/")
	return path == "bpf" || path == "compiler" || strings.HasPrefix(path, "compiler/")
}

// beside says that some native tests run beside VMs: where nothing is asked for, which
// may be of one of them alone.
func (o options) beside() bool { return o.native && !o.quick && o.run == "" }

// native runs the tests of packages on this host, but for what runs beside VMs.
func (r *report) native(ctx context.Context, o options) {
	modules, err := modules(".")
	if err != nil {
		r.broken("list modules", err.Error())
	}
	for _, dir := range modules {
		r.step(ctx, "go vet "+dir, "go", "vet", "-C", dir, "./...")
		flag := "-count=1"
		if o.quick {
			flag = "-short"
		}
		args := o.goTest(flag, []string{"./..."})
		r.tests(ctx, native+", "+dir, "", "go", append([]string{args[0], "-C", dir}, args[1:]...)...)
	}
	if o.quick { // a package that did not change need not run again
		r.tests(ctx, native, "", "go", o.goTest("-short", []string{"./..."})...)
		return
	}
	if os.Getenv(clusterEnv) == "" && o.run == "" {
		r.leftOut(clusterTests + ": all (make test-kubernetes)")
	}
	r.tests(ctx, native, "", "go", o.goTest("-count=1", r.packages(ctx, func(pkg string) bool { return !o.beside() || !compares(pkg) }))...)
	if !o.beside() {
		r.racing(ctx, o)
	}
}

// modules lists the folders below root that are Go modules of their own: what they need
// does not burden those who build Stockade, and no ./... of another module reaches them.
func modules(root string) (list []string, err error) {
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != root && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.Name() == "go.mod" && filepath.Dir(name) != filepath.Clean(root):
			dir, err := filepath.Rel(root, filepath.Dir(name))
			list = append(list, dir)
			return err
		}
		return nil
	})
	return list, err
}

// comparing runs comparisons, one package after the other. Beside others they are nice.
func (r *report) comparing(ctx context.Context, o options, m machineTest) {
	command := append([]string{"go"}, append(o.goTest("-count=1", r.packages(ctx, compares)), "-p=1", "-timeout=60m")...)
	if m.yields {
		command = append([]string{"nice", "-n", "7"}, command...)
	}
	r.tests(ctx, comparisons, "", command[0], command[1:]...)
}

// packages lists those of the repository that are wanted.
func (r *report) packages(ctx context.Context, wanted func(pkg string) bool) (list []string) {
	all, _ := r.output(ctx, "list packages", "go", "list", "./...")
	for pkg := range strings.FieldsSeq(all) {
		if wanted(pkg) {
			list = append(list, pkg)
		}
	}
	return list
}

// goTest are the arguments of go for tests of packages.
func (o options) goTest(flag string, packages []string) []string {
	args := []string{"test", "-json", flag, "-timeout=15m"}
	if o.run != "" {
		args = append(args, "-run="+o.run)
	}
	return append(args, packages...)
}

// racing marks, among the machines, the tests of what has goroutines once more, with
// Go's detector of data races, which alone needs cgo.
const racing = native + ", -race"

// racing runs them. What counts is who touches what, not how often.
func (r *report) racing(ctx context.Context, o options) {
	args := []string{"CGO_ENABLED=1", "go", "test", "-json", "-race", "-short", "-count=1", "-p=1", "-timeout=15m"}
	if o.run != "" {
		args = append(args, "-run="+o.run)
	}
	args = append(args, r.packages(ctx, func(pkg string) bool {
		return strings.Contains(pkg+"/", "/agent/") && !strings.Contains(pkg+"/", "/agent/kube/")
	})...)
	args = append(args, "./bpf", "./bpf/fault", "./cgroup", "./cmd/stockade", "./scripts/verify", "./scripts/vm/...")
	if o.run == "" { // all of client-go would be compiled once more
		r.leftOut("agent/kube, " + racing + ": all (make test-kubernetes)")
	}
	r.tests(ctx, racing, "", "env", args...)
}
