package vmtest

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLoader starts the dynamic loader by hand, which runs any program that it
// may map. It needs real dynamic programs: the VM's debian root.
//
//	/usr/bin/true   execute
//	/usr/lib        open, read, execute (the loader), map
//	@/ws/true       a copy: open and read
func TestLoader(t *testing.T) {
	const loader, program = "/lib64/ld-linux-x86-64.so.2", "/usr/bin/true"
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		t.Skipf("needs a dynamic loader, which this VM's root lacks (run: vm run --root debian): %v", err)
	}
	s := newStage(t, permit("open read execute", program), permit("open read map", "/usr/lib/", "/etc/"), permit("execute", real), permit(look, "@/ws/"))
	s.tree("ws/")
	must(t, os.WriteFile(s.at("@/ws/true"), must1(os.ReadFile(program))(t), 0o755))
	s.run(
		trial{name: "copy of a dynamic program is denied", control: []string{"exec", program, "true"}, probe: []string{"exec", "@/ws/true", "true"}, errno: eacces,
			want: denial{actions: "execute", path: "@/ws/true"}},
	)
	s.step("loader runs what may be executed", isAllowed, func() {
		s.expectAllowed(s.start("", nil, 0, "exec", loader, "ld.so", program).wait())
	})
	s.step("loader does not run a copy", isDenied, func() {
		a := s.start("", nil, 0, "exec", loader, "ld.so", "@/ws/true").wait()
		if a.startErr != nil || a.code != 127 { // the loader's own, for what it could not map
			s.t.Errorf("%v", a)
		}
		s.expectEvents(a.pid, denial{actions: "execute,map", path: "@/ws/true", exe: real})
	})
}
