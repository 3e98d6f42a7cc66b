package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// The open+close benchmark. Run it under counted instructions (one CPU,
// -icount shift=0): guest nanoseconds are then instructions, whatever the host
// does. It runs only when STOCKADE_BENCH is set, in a fresh VM.
//
//	/b/0 … /b/N        directories that the rules name
//	/b/0/d/d/…/file    what is opened, 3, 8 and 20 components deep

var benchDepths = []int{3, 8, 20}

const (
	benchOpens  = 2000
	benchRounds = 5
)

func benchFile(depth int) string {
	return "/b/0" + strings.Repeat("/d", depth-3) + "/file"
}

// init serves as the child that opens files: BENCH_CHILD is "plain",
// "landlock:RULES", or "calls": see bench_calls_test.go.
func init() {
	mode := os.Getenv("BENCH_CHILD")
	if mode == "" {
		return
	}
	runtime.LockOSThread()
	if rules, ok := strings.CutPrefix(mode, "landlock:"); ok {
		n, _ := strconv.Atoi(rules)
		if err := landlock(n); err != nil {
			fmt.Println("landlock:", err)
			os.Exit(2)
		}
	}
	if mode == "calls" {
		printCallTimes()
		os.Exit(0)
	}
	for _, depth := range benchDepths {
		fmt.Println(depth, openTimes(benchFile(depth)))
	}
	os.Exit(0)
}

// openTimes returns what one open+close took.
func openTimes(path string) int64 {
	name, _ := unix.BytePtrFromString(path)
	return least(benchOpens, func() {
		fd, _, errno := unix.RawSyscall(unix.SYS_OPEN, uintptr(unsafe.Pointer(name)), unix.O_RDONLY, 0)
		if errno != 0 {
			fmt.Println(path, errno)
			os.Exit(3)
		}
		unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
	})
}

// least returns the least nanoseconds that a call took, averaged over a round.
func least(calls int64, call func()) int64 {
	best := int64(1 << 62)
	for range benchRounds {
		var t0, t1 unix.Timespec
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &t0)
		for range calls {
			call()
		}
		unix.ClockGettime(unix.CLOCK_MONOTONIC, &t1)
		best = min(best, (t1.Nano()-t0.Nano())/calls)
	}
	return best
}

// landlock restricts this thread to reading beneath /b/0 … /b/N-1: the policy
// that the confined child has.
func landlock(rules int) error {
	const (
		readFile, readDir = 1 << 2, 1 << 3
		pathBeneath       = 1
	)
	attr := uint64(readFile | readDir)
	set, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), 8, 0)
	if errno != 0 {
		return errno
	}
	for i := range rules {
		fd, err := unix.Open(fmt.Sprintf("/b/%d", i), unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		var beneath [12]byte
		*(*uint64)(unsafe.Pointer(&beneath[0])) = attr
		*(*int32)(unsafe.Pointer(&beneath[8])) = int32(fd)
		if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, set, pathBeneath, uintptr(unsafe.Pointer(&beneath[0])), 0, 0, 0); errno != 0 {
			return errno
		}
		unix.Close(fd)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, set, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// benchChild runs the child, in a cgroup if fd is one, and returns what an
// open+close took at each depth.
func benchChild(t *testing.T, mode string, fd int) []int64 {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "BENCH_CHILD="+mode, "GOMAXPROCS=1")
	if fd >= 0 {
		cmd.SysProcAttr = &unix.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", mode, err, out)
	}
	var times []int64
	for line := range strings.Lines(string(out)) {
		var depth int
		var ns int64
		if _, err := fmt.Sscan(line, &depth, &ns); err != nil {
			t.Fatalf("%s: %q", mode, out)
		}
		times = append(times, ns)
	}
	return times
}

// attachEmpty attaches a program that does nothing to each LSM hook, and to the end of
// each function, of hooks.
func attachEmpty(t *testing.T, hooks []string) (detach func()) {
	t.Helper()
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	known := func(name string) bool {
		var f *btf.Func
		return kernel.TypeByName(name, &f) == nil
	}
	var closers []func() error
	for _, hook := range hooks {
		spec := &ebpf.ProgramSpec{Name: "empty", License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}}
		switch name := strings.TrimSuffix(hook, "_syscall"); {
		case known("bpf_lsm_" + name):
			spec.Type, spec.AttachType, spec.AttachTo = ebpf.LSM, ebpf.AttachLSMMac, name
		case known(name):
			spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceFExit, name
		default: // a tracepoint, an iterator, a cgroup's hook
			continue
		}
		p, err := ebpf.NewProgram(spec)
		if err != nil {
			t.Fatalf("%s: %v", hook, err)
		}
		l, err := attachProgram(p, spec.Type)
		if err != nil {
			t.Fatalf("%s: %v", hook, err)
		}
		closers = append(closers, l.Close, p.Close)
	}
	return func() {
		for _, c := range closers {
			c()
		}
	}
}

func attachProgram(p *ebpf.Program, kind ebpf.ProgramType) (link.Link, error) {
	if kind == ebpf.LSM {
		return link.AttachLSM(link.LSMOptions{Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p, AttachType: ebpf.AttachTraceFExit})
}

// programs lists all that are loaded.
func programs() (list []ebpf.ProgramID) {
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		list = append(list, id)
	}
	return list
}

// printVerified prints how many instructions the verifier looked at for one set, and
// returns them: in all, and for the largest program.
func printVerified(t *testing.T, set []ebpf.ProgramID) (total, largest uint32) {
	t.Helper()
	var worst string
	for _, id := range set {
		p, err := ebpf.NewProgramFromID(id)
		if err != nil {
			t.Fatal(err)
		}
		info, err := p.Info()
		p.Close()
		if err != nil {
			t.Fatal(err)
		}
		n, _ := info.VerifiedInstructions()
		t.Logf("%s: %d instructions verified", info.Name, n)
		total += n
		if n > largest {
			largest, worst = n, info.Name
		}
	}
	fmt.Printf("bench: verifier: %d instructions in all, %d for the largest program, %s\n", total, largest, worst)
	return total, largest
}

func benchPlan(t *testing.T, rules int) *table.Table {
	set := &rule.Set{Rules: []rule.Rule{
		{Actions: abi.EnforcedActions, Cond: rule.Disj(rule.PathBelow{Path: "/proc"}, rule.PathBelow{Path: "/sys"})},
		{Actions: 1<<abi.Execute | 1<<abi.Open | 1<<abi.Read, Cond: rule.Neg(rule.Disj(rule.PathBelow{Path: "/b"}, rule.PathBelow{Path: "/etc"}))},
	}}
	for i := range rules {
		set.Rules = append(set.Rules, rule.Rule{Actions: 1<<abi.Open | 1<<abi.Read, Cond: rule.PathBelow{Path: fmt.Sprintf("/b/%d", i)}})
	}
	tab, err := table.Build(set, abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func TestBenchOpen(t *testing.T) {
	if os.Getenv("STOCKADE_BENCH") == "" {
		t.Skip("a benchmark: `make bench` runs it in a VM with counted instructions")
	}
	for i := range 1000 {
		if err := os.MkdirAll(fmt.Sprintf("/b/%d", i), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, depth := range benchDepths {
		path := benchFile(depth)
		if err := os.MkdirAll(path[:strings.LastIndexByte(path, '/')], 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must(t, os.WriteFile(benchProgram, probes.Witness(), 0o755))
	results := map[string][]int64{"no LSM program": benchChild(t, "plain", -1)}
	calls := map[string][]int64{"no LSM program": benchChild(t, "calls", -1)}
	for _, n := range []int{5, 1000} {
		results[fmt.Sprintf("Landlock, %d rules", n)] = benchChild(t, fmt.Sprintf("landlock:%d", n), -1)
	}
	benchEnforced(t, results, calls)
	printCalls(calls)
	printBench(results)
}

// benchEnforced measures what needs the programs attached.
func benchEnforced(t *testing.T, results, calls map[string][]int64) {
	large := benchPlan(t, 1000)
	start := time.Now()
	e, err := bpf.Load(bpf.Options{TableWords: 4 * len(large.Words())})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("load took %v", time.Since(start))
	printVerified(t, programs())
	hooks := e.Hooks()
	results["unconfined"] = benchChild(t, "plain", -1)
	calls["unconfined"] = benchChild(t, "calls", -1)
	const cgroup = "/sys/fs/cgroup/bench"
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(cgroup, &st); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(cgroup, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.RegisterRoot(1); err != nil {
		t.Fatal(err)
	}
	if err := e.Confine(st.Ino, 1); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{5, 1000} {
		if _, err := e.Install(1, benchPlan(t, n).Words(), abi.Enforce); err != nil {
			t.Fatal(err)
		}
		results[fmt.Sprintf("confined, %d rules", n)] = benchChild(t, "plain", fd)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	detach := attachEmpty(t, hooks)
	results["empty programs"] = benchChild(t, "plain", -1)
	calls["empty programs"] = benchChild(t, "calls", -1)
	detach()
}

// printBench prints a line a case: instructions at each depth, and the ratio
// to the case that it is measured against.
func printBench(results map[string][]int64) {
	rows := []struct{ name, base string }{
		{"no LSM program", ""}, {"empty programs", "no LSM program"}, {"unconfined", "empty programs"},
		{"confined, 5 rules", "unconfined"}, {"confined, 1000 rules", "unconfined"},
		{"Landlock, 5 rules", "no LSM program"}, {"Landlock, 1000 rules", "no LSM program"},
	}
	var u unix.Utsname
	unix.Uname(&u)
	fmt.Printf("bench: open+close, kernel %s, depth %v\n", unix.ByteSliceToString(u.Release[:]), benchDepths)
	for _, r := range rows {
		fmt.Printf("bench: %-22s", r.name)
		for i, ns := range results[r.name] {
			fmt.Printf(" %7d", ns)
			if r.base != "" {
				fmt.Printf(" x%.2f", float64(ns)/float64(results[r.base][i]))
			}
			fmt.Printf(" (+%d)", ns-results["no LSM program"][i])
		}
		if r.base != "" {
			fmt.Printf("   against %s", r.base)
		}
		fmt.Println()
	}
}
