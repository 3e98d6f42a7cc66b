//go:build linux

// Command verify runs every test there is, natively and in VMs, and sums up:
// what failed with its output, what was skipped and why, and as its last line
// "N passed, N failed". One failure never keeps the rest from running.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/scripts/vm/label"
)

const usage = `verify runs all tests, natively and in VMs, and prints a summary.

  go run ./scripts/verify [OPTION]...

`

type options struct {
	kernels []string
	fetch   bool
	jobs    int
	native  bool
	run     string
	quick   bool
	only    string // engines or kubernetes
}

func main() {
	o := options{}
	kernels := flag.String("kernels", "6.1,6.12,7.2", "`LIST` of kernels to test on, of those that vm list names, separated by commas; empty for none")
	flag.BoolVar(&o.fetch, "fetch", false, "fetch the newest packages, also where the cache has some")
	flag.IntVar(&o.jobs, "jobs", min(2, runtime.NumCPU()), "`NUMBER` of VMs at once")
	flag.BoolVar(&o.native, "native", true, "run go vet and the native tests")
	flag.StringVar(&o.run, "run", "", "only tests that match this `PATTERN`")
	flag.BoolVar(&o.quick, "quick", false, "only short native tests, those that changed, and the core trials, beside each other; on "+quickKernel+" unless kernels are given")
	flag.StringVar(&o.only, "only", "", "only the tests with `WHAT` make test leaves out: "+engines+" or "+kubernetes+"; on "+quickKernel+" unless kernels are given")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage); flag.PrintDefaults() }
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "verify: %q: no option: nothing is run; separate kernels by commas\n", flag.Arg(0))
		os.Exit(2)
	}
	if o.only != "" && o.only != engines && o.only != kubernetes {
		fmt.Fprintf(os.Stderr, "verify: -only %s: no such part: nothing is run; one of %s, %s\n", o.only, engines, kubernetes)
		os.Exit(2)
	}
	o.kernels = strings.FieldsFunc(*kernels, func(r rune) bool { return r == ',' || r == ' ' })

	if (o.quick || o.only != "") && !given("kernels") {
		o.kernels = []string{quickKernel}
	}
	o.native = o.native && o.only == ""

	if _, err := os.Stat("go.mod"); err != nil {
		fmt.Fprintln(os.Stderr, "verify: not at the root of the repository: nothing is run; run: make test")
		os.Exit(2)
	}
	if err := label.Check(o.kernels); err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o.printExpected()
	began := time.Now()
	r := verify(ctx, o)
	failed := r.print(os.Stdout, time.Since(began))
	if err := r.keepTimes(o); err != nil {
		fmt.Fprintln(os.Stderr, "verify: times for the next run:", err)
	}
	if failed {
		os.Exit(1)
	}
}

// given reports whether an option is on the command line.
func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// verify runs everything. The VMs are prepared while the native tests run, and
// start after them: both together would be too slow for what is timed. What is quick
// has nothing that is, and what compares or detects races runs in a VM's place.
func verify(ctx context.Context, o options) *report {
	r := &report{narrow: o.run != ""}
	ready := make(chan []machineTest, 1)
	go func() { ready <- prepare(ctx, o, r) }()
	var all sync.WaitGroup
	here := func() {
		r.step(ctx, "go vet", "go", "vet", "./...")
		r.native(ctx, o)
	}
	switch {
	case o.native && o.quick:
		all.Go(here)
	case o.native:
		here()
	}
	list := <-ready
	if o.beside() {
		list = append(list, machineTest{pkg: comparisons, patient: true}, machineTest{pkg: racing})
	}
	q := newQueue(list, o)
	for range max(1, o.jobs) {
		all.Go(func() {
			for m, some := q.next(); some; m, some = q.next() {
				r.machine(ctx, o, m)
			}
		})
	}
	if o.jobs > 1 {
		all.Go(func() {
			for m, some := q.nextPatient(); some; m, some = q.nextPatient() {
				m.yields = true
				r.machine(ctx, o, m)
			}
		})
	}
	all.Wait()
	return r
}
