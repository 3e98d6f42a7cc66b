//go:build linux

package main

import (
	"fmt"
	"os"
)

// wholeKernel runs every test. On the others those are left out that ask what user
// space does, which no kernel changes, and that take long: they load the kernel side
// again and again. STOCKADE_ALL=1 leaves out nothing.
const wholeKernel = "6.12"

// leave leaves out what the kernel of a machine need not run, and says so.
func (m machineTest) leave(o options, r *report) machineTest {
	if m.kernel == wholeKernel || o.run != "" || os.Getenv("STOCKADE_ALL") != "" {
		return m
	}
	what := ""
	switch {
	case m.pkg == "cmd/stockade/vmtest":
		m.run, what = "^Test(DeniedOperation|ReadWriteTree|KilledRunAndReaper|ProcessMovedOut|Strict)", "all but five tests"
	case m.pkg == lifeSuite && m.run == "":
		const long = "^Test(RunsOfTheAgent|OpensAreJudged|NoGroupListens|AnApprovalForOneTime)"
		m.skip, what = m.skip+"|"+long, "runs that the agent holds, and three tests of what is asked"
	}
	if what != "" {
		r.leftOut(fmt.Sprintf("%s on %s: %s", m.pkg, m.kernel, what))
	}
	return m
}
