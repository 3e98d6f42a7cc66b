package vmtest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestExecution runs programs under an allow-list of one directory.
//
//	@
//	├── bin/         open, read, execute, delete
//	│   ├── tool, gone
//	│   ├── script   #! @/bin/tool
//	│   └── trap     #! @/ws/tool
//	├── lib/         open, read, map
//	│   └── so
//	└── ws/          everything but execute
//	    ├── tool, gone (copies)
//	    ├── script   #! @/bin/tool
//	    └── data
func TestExecution(t *testing.T) {
	s := newStage(t, permit("open read execute delete", "@/bin/"), permit(anyUse, "@/ws/"), permit("open read map", "@/lib/"))
	s.program("bin/tool", "bin/gone", "ws/tool", "ws/gone")
	s.tree("ws/data", "lib/so")
	for name, interpreter := range map[string]string{"bin/script": "@/bin/tool", "ws/script": "@/bin/tool", "bin/trap": "@/ws/tool"} {
		must(t, os.WriteFile(s.at("@/"+name), []byte("#!"+s.at(interpreter)+"\n"), 0o755))
	}
	op := func(words ...string) []string { return words }
	run := func(path string) denial { return denial{actions: "execute", path: path} }
	mapped := func(path string) denial { return denial{actions: "execute,map", path: path} }

	s.run(
		// 48, 49
		trial{name: "copied program is denied", control: op("exec", "@/bin/tool"), probe: op("exec", "@/ws/tool"), errno: eacces, want: run("@/ws/tool")},
		trial{name: "program by descriptor is denied", control: op("execfd", "@/bin/tool"), probe: op("execfd", "@/ws/tool"), errno: eacces, want: run("@/ws/tool")},
		trial{name: "program through proc fd is denied", control: op("execproc", "@/bin/tool"), probe: op("execproc", "@/ws/tool"), errno: eacces, want: run("@/ws/tool")},
		trial{name: "program through proc root is denied", control: op("exec", "/proc/self/root@/bin/tool"),
			probe: op("exec", "/proc/self/root@/ws/tool"), errno: eacces, want: run("@/ws/tool")},
		trial{name: "relative program is denied", control: op("in", "@/bin", "exec", "./tool"), probe: op("in", "@/ws", "exec", "tool"), errno: eacces, want: run("@/ws/tool")},
		// 51, 52
		trial{name: "program in memory is denied", control: op("exec", "@/bin/tool"), probe: op("execmem", s.at("@/bin/tool")), errno: eacces,
			want: denial{actions: "execute", path: "(outside)/", reason: abi.ReasonOutside, status: abi.PathOutside}},
		trial{name: "program that never had a name is denied", control: op("exec", "@/bin/tool"), probe: op("exectmp", "@/ws"), errno: eacces, want: run("@/ws/#*")},
		trial{name: "program whose name is gone is denied", control: op("execgone", "@/bin/gone"), probe: op("execgone", "@/ws/gone"), errno: eacces, want: run("@/ws/gone")},
		// 53
		trial{name: "script that may not run is denied", control: op("exec", "@/bin/script"), probe: op("exec", "@/ws/script"), errno: eacces, want: run("@/ws/script")},
		trial{name: "script whose interpreter may not run is denied", control: op("exec", "@/bin/script"), probe: op("exec", "@/bin/trap"), errno: eacces, want: run("@/ws/tool")},
		// 59
		trial{name: "thread's name changes nothing", control: op("execcomm", "@/bin/tool", "tool"), probe: op("execcomm", "@/ws/tool", "stockade"), errno: eacces, want: run("@/ws/tool")},

		trial{name: "executable mapping is denied", control: op("mmap", "@/lib/so"), probe: op("mmap", "@/ws/data"), errno: eacces, want: mapped("@/ws/data")},
		trial{name: "readable mapping is allowed", probe: op("mmapread", "@/ws/data")},
		trial{name: "mapping made executable is denied", control: op("mprotect", "@/lib/so"), probe: op("mprotect", "@/ws/data"), errno: eacces, want: mapped("@/ws/data")},
		trial{name: "mapping that the personality makes executable is denied", control: op("implied", "@/lib/so"), probe: op("implied", "@/ws/data"), errno: eacces, want: mapped("@/ws/data")},
		trial{name: "library is not run as a program", control: op("exec", "@/bin/tool"), probe: op("exec", "@/lib/so"), errno: eacces, want: run("@/lib/so"),
			undo: func() { must(t, os.Chmod(s.at("@/lib/so"), 0o755)) }},
		trial{name: "anonymous executable memory is a limit", probe: op("anonymous"), limit: limitAnonymous},
	)
}

// TestHandedPrograms runs descriptors that an outsider opened and handed over.
func TestHandedPrograms(t *testing.T) {
	s := newStage(t, permit("execute", "@/bin/"))
	s.program("bin/tool", "ws/tool")
	tool := must1(os.Open(s.at("@/bin/tool")))(t)
	defer tool.Close()
	copied := must1(os.Open(s.at("@/ws/tool")))(t)
	defer copied.Close()
	memory := os.NewFile(uintptr(must1(unix.MemfdCreate("tool", 0))(t)), "memory")
	defer memory.Close()
	must1(memory.Write(must1(os.ReadFile(s.at("@/bin/tool")))(t)))(t)
	held := []string{"execheld", "3"}
	s.run(
		trial{name: "allowed program is run", files: []*os.File{tool}, probe: held},
		trial{name: "copied program is denied", files: []*os.File{copied}, probe: held, errno: eacces, want: denial{actions: "execute", path: "@/ws/tool"}},
		trial{name: "program in memory is denied", files: []*os.File{memory}, probe: held, errno: eacces,
			want: denial{actions: "execute", path: "(outside)/", reason: abi.ReasonOutside, status: abi.PathOutside}},
	)
}
