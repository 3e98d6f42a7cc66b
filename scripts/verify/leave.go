//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// whole returns the kernel that runs every test: the first 6.12 of a list, or its
// last kernel. On the others those are left out that ask what user space does, which
// no kernel changes, and that take long: they load the kernel side again and again.
// STOCKADE_ALL=1 leaves out nothing.
func whole(kernels []string) string {
	for _, k := range kernels {
		if strings.HasPrefix(k, "6.12") {
			return k
		}
	}
	return kernels[len(kernels)-1]
}

// leave leaves out what the kernel of a machine need not run, and says so. Nothing
// may be left.
func (m machineTest) leave(o options, r *report) (left machineTest, some bool) {
	if m.kernel == whole(o.kernels) || o.run != "" || os.Getenv("STOCKADE_ALL") != "" {
		return m, true
	}
	what, some := "", true
	switch {
	case m.pkg == "cmd/stockade/vmtest":
		m.run, what = "^Test(DeniedOperation|ReadWriteTree|KilledRunAndReaper|ProcessMovedOut|Strict)", "all but five tests"
	case m.runtimes != "":
		m.runtimes, m.skip, what = "runc-*", longBoxes, "runtimes but runc, the agent in a container, and faults of starts"
	case m.run == runTests, m.run == nextTests: // upgrades that are killed run on each
		what, some = "all", false
	case m.run == askTests:
		m.skip, what = "^Test(OpensAreJudged|NoGroupListens|AnApprovalForOneTime)", "three tests"
	}
	if what != "" {
		r.leftOut(fmt.Sprintf("%s on %s%s: %s (run on %s)", m.pkg, m.kernel, m.where, what, whole(o.kernels)))
	}
	return m, some
}
