package vmtest

import (
	"testing"
)

// TestNames reaches one secret by many names.
//
//	@
//	├── ws/            everything but execute
//	│   ├── file
//	│   ├── sub/
//	│   ├── to_file  → ws/file
//	│   ├── to_key   → secret/key
//	│   └── to_dir   → secret
//	└── secret/        nothing
//	    └── key
func TestNames(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/ws/"))
	s.tree("ws/file", "ws/sub/", "ws/to_file -> @/ws/file", "ws/to_key -> @/secret/key", "ws/to_dir -> @/secret",
		"secret/key")
	key := denial{actions: "open,read", path: "@/secret/key"}
	read := func(path string) []string { return []string{"open", "r", path} }

	s.run(
		trial{name: "plain open is denied", control: read("@/ws/file"), probe: read("@/secret/key"), errno: eacces, want: key},
		trial{name: "open for writing is denied", control: []string{"open", "w", "@/ws/file"},
			probe: []string{"open", "w", "@/secret/key"}, errno: eacces, want: denial{actions: "open,write", path: "@/secret/key"}},
		trial{name: "open for both is denied", control: []string{"open", "rw", "@/ws/file"},
			probe: []string{"open", "rw", "@/secret/key"}, errno: eacces, want: denial{actions: "open,read,write", path: "@/secret/key"}},
		trial{name: "openat2 is denied", control: []string{"openat2", "r", "@/ws/file"},
			probe: []string{"openat2", "r", "@/secret/key"}, errno: eacces, want: key},
		trial{name: "directory is not listed", control: read("@/ws"), probe: read("@/secret"), errno: eacces,
			want: denial{actions: "open,read", path: "@/secret", dir: true}},
		trial{name: "detour by dots is denied", control: read("@/ws/sub/.././/file"), probe: read("@/ws/../secret/.//../secret/key"),
			errno: eacces, want: key},
		trial{name: "relative path is denied", control: []string{"in", "@/ws", "open", "r", "file"},
			probe: []string{"in", "@/secret", "open", "r", "key"}, errno: eacces, want: key},
		trial{name: "symbolic link is denied", control: read("@/ws/to_file"), probe: read("@/ws/to_key"), errno: eacces, want: key},
		trial{name: "symbolic link to a directory is denied", control: read("@/ws/to_file"), probe: read("@/ws/to_dir/key"),
			errno: eacces, want: key},
		trial{name: "proc self root is denied", control: read("/proc/self/root@/ws/file"), probe: read("/proc/self/root@/secret/key"),
			errno: eacces, want: key},
		trial{name: "proc self cwd is denied", control: []string{"in", "@/ws", "open", "r", "/proc/self/cwd/file"},
			probe: []string{"in", "@/secret", "open", "r", "/proc/self/cwd/key"}, errno: eacces, want: key},
		trial{name: "reopened O_PATH descriptor is denied", control: []string{"reopen", "r", "@/ws/file"},
			probe: []string{"reopen", "r", "@/secret/key"}, errno: eacces, want: key},
		trial{name: "read-only descriptor reopened for writing is denied", control: []string{"reopen", "rw", "@/ws/file"},
			probe: []string{"reopen", "w", "@/secret/key"}, errno: eacces, want: denial{actions: "open,write", path: "@/secret/key"}},
		trial{name: "file handle is denied", control: []string{"handle", "r", "@/ws/file"},
			probe: []string{"handle", "r", "@/secret/key"}, errno: eacces, want: key},
	)
	s.t.Run("working directory of a peer is denied", func(t *testing.T) {
		s.sub(t, func() { s.peerDirectory(key) })
	})
}

// peerDirectory opens the secret through /proc/PID/cwd of another task of the
// same workload.
func (s *stage) peerDirectory(want denial) {
	peer := s.start("", nil, 0, "in", "@/secret", "gate", "hold", "0")
	defer peer.wait()
	peer.ready()
	cwd := peer.proc() + "/cwd/key"
	s.try(trial{control: []string{"open", "r", peer.proc() + "/root@/ws/file"}, probe: []string{"open", "r", cwd}, errno: eacces, want: want})
	peer.pass()
}
