package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// by is the command line of a probe that a copy of the probes' program tries.
func by(how, path string, errno syscall.Errno, argv ...string) []string {
	return append([]string{how, path, filepath.Base(path), "-1", "", fmt.Sprint(int(errno))}, argv...)
}

// runs executes a copy of that program in place of the running one; starts does
// so in a child.
func runs(path string, argv ...string) []string   { return by("exec", path, 0, argv...) }
func fails(path string, argv ...string) []string  { return by("exec", path, eacces, argv...) }
func starts(path string, argv ...string) []string { return by("launch", path, eacces, argv...) }

// copies puts the probes' program at other paths.
func (s *stage) copies(names ...string) {
	s.t.Helper()
	code := must1(os.ReadFile(s.exe))(s.t)
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		must(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(s.t, os.WriteFile(path, code, 0o755))
	}
}

func exe(path string) string {
	return "context has process && context.process.exe == " + literal(path)
}

func parentExe(path string) string {
	return "context has process && context.process has parent_exe && context.process.parent_exe == " + literal(path)
}

// executableStage has programs that may read, and others.
//
//	@
//	├── bin/reader, other, launcher   copies of the probe: execute
//	├── tools/tool                    execute by reader alone
//	├── data/x                        open and read by reader alone
//	└── kept/x                        open and read by what launcher executed
func executableStage(t *testing.T) *stage {
	s := newStage(t, executablePolicies...)
	s.copies("bin/reader", "bin/other", "bin/launcher")
	s.program("tools/tool")
	s.tree("data/x", "kept/x")
	return s
}

var executablePolicies = []string{
	permit("open read execute map", "@/bin/"),
	when("permit", "execute", "@/tools/", exe("@/bin/reader")),
	when("permit", look, "@/data/", exe("@/bin/reader")),
	when("permit", look, "@/kept/", parentExe("@/bin/launcher")),
}

// TestExecutable decides by the running executable.
func TestExecutable(t *testing.T) {
	s := executableStage(t)
	const reader, other, data = "@/bin/reader", "@/bin/other", "@/data/x"
	want := func(exe string) denial { return denial{actions: "open,read", path: data, exe: exe} }
	open := words("open", "r", data)
	s.run(
		trial{name: "other executable is denied", control: runs(reader, open...), probe: fails(other, open...), errno: eacces, want: want(other)},
		trial{name: "child of another executable is denied", control: runs(reader, "fork", data), probe: fails(other, "fork", data), errno: eacces, want: want(other)},
		trial{name: "orphan of another executable is denied", control: runs(reader, "doublefork", data), probe: fails(other, "doublefork", data), errno: eacces, want: want(other)},
		trial{name: "thread of another executable is denied", control: runs(reader, append(words("thread"), open...)...),
			probe: fails(other, append(words("thread"), open...)...), errno: eacces, want: want(other)},
		trial{name: "what the executable was before does not count", control: runs(other, runs(reader, open...)...),
			probe: fails(reader, fails(other, open...)...), errno: eacces, want: want(other)},
		trial{name: "program that the executable may not run is denied", control: runs(reader, "exec", "@/tools/tool"),
			probe: fails(other, "exec", "@/tools/tool"), errno: eacces, want: denial{actions: "execute", path: "@/tools/tool", exe: other}},
		trial{name: "failed exec does not change the executable", control: runs(reader, "exec", "@/tools/tool"),
			probe: fails(other, append(words("refused", "@/tools/tool"), open...)...), errno: eacces, want: want(other), undo: func() {
				must(t, os.Chmod(s.at("@/tools/tool"), 0o644))
			}},
	)
	must(t, os.Chmod(s.at("@/tools/tool"), 0o755))
	s.step("executable that is renamed away stays what it was", isAllowed, func() {
		a := s.start("", nil, 0, runs(reader, append(words("gate"), open...)...)...)
		a.ready()
		must(s.t, os.Rename(s.at(reader), s.at("@/bin/renamed")))
		a.pass()
		s.expectAllowed(a.wait())
		must(s.t, os.Rename(s.at("@/bin/renamed"), s.at(reader)))
	})
	s.step("executable that takes another's name stays what it was", isDenied, func() {
		a := s.start("", nil, eacces, fails(other, append(words("gate"), open...)...)...)
		a.ready()
		must(s.t, os.Rename(s.at(reader), s.at("@/bin/renamed")))
		must(s.t, os.Rename(s.at(other), s.at(reader)))
		a.pass()
		s.expectDenied(a.wait(), want(reader)) // its name now
		must(s.t, os.Rename(s.at(reader), s.at(other)))
		must(s.t, os.Rename(s.at("@/bin/renamed"), s.at(reader)))
	})
}

// TestScripts decides by the executable of a script: its interpreter.
func TestScripts(t *testing.T) {
	shell := must1(filepath.EvalSymlinks("/bin/sh"))(t)
	s := newStage(t, permit("open read execute map", "@/bin/", shell, "/usr/lib/", "/etc/ld.so.cache"), when("permit", look, "@/data/", exe(shell)),
		when("permit", look, "@/own/", exe("@/bin/script")))
	s.tree("data/x", "own/x", "bin/")
	must(t, os.WriteFile(s.at("@/bin/script"), []byte("#!/bin/sh\nexec 3<$1 || exit 1\n"), 0o755))
	s.run(trial{name: "script runs as its interpreter", probe: words("exec", "@/bin/script", "script", "@/data/x")})
	s.step("script's own name does not count", isDenied, func() {
		a := s.start("", nil, 0, "exec", "@/bin/script", "script", "@/own/x").wait()
		if a.startErr != nil || a.code == 0 {
			s.t.Errorf("%v", a)
		}
		s.expectEvents(a.pid, denial{actions: "open,read", path: "@/own/x", exe: shell})
	})
}

// TestUnknownExecutable runs a program from memory, which has no path: its name
// for policies is empty.
func TestUnknownExecutable(t *testing.T) {
	s := newStage(t, "permit (principal, action == file_system::Action::\"execute\", resource);",
		"permit (principal, action == file_system::Action::\"map\", resource);",
		when("permit", look, "@/known/", `context has process && context.process.exe != ""`),
		when("permit", look, "@/unknown/", `context has process && context.process.exe == ""`))
	s.tree("known/x", "unknown/x")
	in := func(errno syscall.Errno, argv ...string) []string {
		return append(words("execself", "self", "-1", "", fmt.Sprint(int(errno))), argv...)
	}
	s.run(
		trial{name: "program in memory has no name", control: in(0, "open", "r", "@/unknown/x"), probe: in(eacces, "open", "r", "@/known/x"), errno: eacces,
			want: denial{actions: "open,read", path: "@/known/x", exe: "(outside)/"}},
		trial{name: "program on disk has a name", control: words("open", "r", "@/known/x"), probe: words("open", "r", "@/unknown/x"), errno: eacces,
			want: denial{actions: "open,read", path: "@/unknown/x"}},
	)
}

// TestParentExecutable decides by the executable that executed the running one.
func TestParentExecutable(t *testing.T) {
	s := executableStage(t)
	const reader, other, launcher, kept = "@/bin/reader", "@/bin/other", "@/bin/launcher", "@/kept/x"
	open := words("open", "r", kept)
	want := func(exe string) denial { return denial{actions: "open,read", path: kept, exe: exe} }
	s.run(
		trial{name: "child of another parent is denied", control: runs(launcher, runs(reader, open...)...),
			probe: fails(other, fails(reader, open...)...), errno: eacces, want: want(reader)},
		trial{name: "process that another parent starts is denied", control: runs(launcher, by("launch", reader, 0, open...)...),
			probe: fails(other, starts(reader, open...)...), errno: eacces, want: want(reader)},
		trial{name: "orphan keeps its parent executable", control: runs(launcher, runs(reader, "doublefork", kept)...),
			probe: fails(other, fails(reader, "doublefork", kept)...), errno: eacces, want: want(reader)},
		trial{name: "parent executable is not the executable", control: runs(launcher, runs(launcher, open...)...),
			probe: fails(launcher, open...), errno: eacces, want: want(launcher)},
		trial{name: "parent of the parent does not count", control: runs(launcher, runs(other, open...)...),
			probe: fails(launcher, fails(other, fails(reader, open...)...)...), errno: eacces, want: want(reader)},
	)
	// A new plan with other patterns of executables knows tasks by what they run
	// now; their parents are not known.
	changed := append([]string{when("permit", look, "@/new/", exe("@/bin/new"))}, executablePolicies...)
	s.step("executable is known under a new plan", isAllowed, func() {
		a := s.start("", nil, 0, runs(reader, "gate", "open", "r", "@/data/x")...)
		a.ready()
		s.install(abi.Enforce, changed...)
		a.pass()
		s.expectAllowed(a.wait())
		s.install(abi.Enforce, executablePolicies...)
	})
	s.step("parent is not known under a new plan", isDenied, func() {
		a := s.start("", nil, eacces, fails(launcher, fails(reader, append(words("gate"), open...)...)...)...)
		a.ready()
		s.install(abi.Enforce, changed...)
		a.pass()
		s.expectDenied(a.wait(), want(reader))
	})
	s.step("parent is known again after the next exec", isAllowed, func() {
		s.expectAllowed(s.start("", nil, 0, runs(launcher, runs(reader, open...)...)...).wait())
	})
}

// TestLoaderIsTheExecutable starts a program by the dynamic loader.
func TestLoaderIsTheExecutable(t *testing.T) {
	const loader, program = "/lib64/ld-linux-x86-64.so.2", "/usr/bin/cat"
	real, err := filepath.EvalSymlinks(loader)
	if err != nil {
		t.Skipf("needs a dynamic loader, which this VM's root lacks (run: vm run --root debian): %v", err)
	}
	s := newStage(t, permit("open read execute map", program), permit("open read map", "/usr/lib/", "/etc/"), permit("execute", real),
		when("permit", look, "@/data/", exe(program)))
	s.tree("data/x")
	s.run(trial{name: "program itself is known", probe: words("exec", program, "cat", "@/data/x")})
	s.step("program under the loader runs as the loader", isDenied, func() {
		a := s.start("", nil, 0, "exec", loader, "ld.so", program, "@/data/x").wait()
		if a.startErr != nil || a.code == 0 {
			s.t.Errorf("%v", a)
		}
		s.expectEvents(a.pid, denial{actions: "open,read", path: "@/data/x", exe: real})
	})
}

// TestExecutableIsNotTraced has a task that acts in the place of another, whose
// executable may do more.
func TestExecutableIsNotTraced(t *testing.T) {
	tracing := func(policies ...string) *border {
		b := newBorder(t, append(policies, everything)...)
		b.copies("bin/reader")
		return b
	}
	try := func(b *border) (list []crossing) {
		pid := fmt.Sprint(b.insider(nil).cmd.Process.Pid)
		one := func(name string, argv ...string) {
			list = append(list, crossing{name: name, inside: words("slurp", "/proc/"+pid+"/stat"), free: argv, probe: argv, want: denial{actions: "trace"}, again: true})
		}
		one("attaching to a task inside", "attach_ptrace", pid)
		one("seizing a task inside", "seize_ptrace", pid)
		one("reading memory of a task inside", "readmem", pid)
		one("writing memory of a task inside", "writemem", pid)
		one("descriptor of a task inside", "getfd", pid, "0")
		one("tracing by a parent inside", "traceus")
		for name, argv := range map[string][]string{
			"pipe of a task inside":             words("open", "r", "/proc/"+pid+"/fd/0"),
			"pipe of a task inside by io_uring": words("uring", "inline", "open", "r", "/proc/"+pid+"/fd/0"),
			"environment of a task inside":      words("open", "r", "/proc/"+pid+"/environ"),
		} {
			one(name, argv...)
			last := &list[len(list)-1]
			last.inside, last.errno = words("readlink", "/proc/"+pid+"/fd/0"), eacces
		}
		return list
	}
	b := tracing(when("forbid", "write", "@/data/", exe("@/bin/reader")))
	denied := try(b)
	for i := range denied {
		denied[i].name += " is denied where policies ask for executables"
	}
	b.cross(forbidden(abi.BoundaryIdentity, denied)...)

	b.cross(forbidden(abi.BoundaryIdentity, []crossing{
		{name: "listener of a filter is denied where policies ask for executables", inside: words("filter", "prctl"), free: words("listener"), freed: syscall.ENOENT, probe: words("listener"),
			want: denial{actions: "trace"}, again: true},
	})...)
	b.tree("ws/")
	dump := func(b *border, left bool) *attempt {
		a := b.launch(0, nil, words("dump", "@/ws"))
		if cores, _ := filepath.Glob(b.at("@/ws/core*")); (len(cores) > 0) != left || a.code != -1 {
			b.t.Errorf("%v, left %v", a, cores)
		}
		return a
	}
	const pattern = "/proc/sys/kernel/core_pattern"
	was := must1(os.ReadFile(pattern))(t)
	must(t, os.WriteFile(pattern, []byte("core"), 0))
	t.Cleanup(func() { os.WriteFile(pattern, was, 0) })
	b.step("memory is not dumped where policies ask for executables", isDenied, func() {
		a := dump(b, false)
		b.expectBoundary(abi.BoundaryIdentity)
		b.expectEvents(a.pid, denial{actions: "create", path: "@/ws/core", reason: abi.ReasonBoundary})
	})

	b = tracing(inAudit(when("forbid", "write", "@/data/", exe("@/bin/reader"))))
	for _, c := range try(b) {
		b.cross(crossing{name: c.name + " is allowed where none is enforced that asks for executables", free: c.free, probe: c.probe, again: true})
	}
	b.tree("ws/")
	b.step("memory is dumped where none is enforced that asks for executables", isAllowed, func() { dump(b, true) })
}
