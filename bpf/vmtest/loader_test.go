package vmtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestLoader starts the dynamic loader by hand, which runs any program that it
// may map. It needs real dynamic programs: the VM's debian root, in which
// scripts/verify runs it.
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

// TestLoaderPreload loads libraries that the environment names, and runs dynamic
// programs in a strict workload.
//
//	/usr/bin/true   execute
//	/usr/lib, /etc  open, read, map
//	@/ws/evil.so    a copy of a library: open and read
func TestLoaderPreload(t *testing.T) {
	const loader, program = "/lib64/ld-linux-x86-64.so.2", "/usr/bin/true"
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		t.Skipf("needs a dynamic loader, which this VM's root lacks (run: vm run --root debian): %v", err)
	}
	library := must1(filepath.EvalSymlinks("/lib/x86_64-linux-gnu/libm.so.6"))(t)
	s := newStage(t, permit("open read execute", program), permit("open read map", "/usr/lib/", "/etc/"), permit("execute", real), permit(look, "@/ws/"))
	s.tree("ws/")
	must(t, os.WriteFile(s.at("@/ws/evil.so"), must1(os.ReadFile(library))(t), 0o755))
	preload := func(path string) *attempt {
		return s.start("", nil, 0, "execenv", "LD_PRELOAD="+path, program, "true").wait()
	}
	s.step("library of the system is preloaded", isAllowed, func() { s.expectAllowed(preload(library)) })
	s.step("library of the workspace is not preloaded", isDenied, func() {
		a := preload(s.at("@/ws/evil.so"))
		if a.startErr != nil || a.code != 0 { // the loader goes on without it
			s.t.Errorf("%v", a)
		}
		s.expectEvents(a.pid, denial{actions: "execute,map", path: "@/ws/evil.so", exe: program})
	})
	must(t, s.SetStrict(s.id, true))
	s.step("dynamic program is run in a strict workload", isAllowed, func() {
		s.expectAllowed(s.start("", nil, 0, "exec", program, "true").wait())
	})
	s.install(abi.Enforce, everything)
	for _, argv := range [][]string{
		{"/bin/bash", "bash", "-c", "echo x | cat; :"},
		{"/usr/bin/git", "git", "--version"},
		{"/usr/bin/python3", "python3", "-c", "import json, subprocess; subprocess.run(['/bin/true'], check=True)"},
	} {
		s.step(argv[1]+" is run in a strict workload", isAllowed, func() {
			s.expectAllowed(s.start("", nil, 0, append([]string{"exec"}, argv...)...).wait())
		})
	}
}
