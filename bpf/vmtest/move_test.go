package vmtest

import (
	"os"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestMoves renames, exchanges and links between places with different rights.
// A new place must not grant what the old one does not.
//
//	@
//	├── low/      open, read, create, delete, move
//	├── same/     as low
//	├── high/     everything but execute: more than low
//	├── keep/     open, read, create, move: no delete
//	└── secret/   nothing
func TestMoves(t *testing.T) {
	const some = "open read create delete move"
	s := newStage(t, permit(some, "@/low/", "@/same/"), permit(anyUse, "@/high/"), permit("open read create move", "@/keep/"))
	s.anew(func() {
		s.tree("same/s", "keep/target", "keep/other", "secret/key", "secret/dir/key")
		for _, f := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "dir/file", "dir2/file"} {
			s.tree("low/"+f, "high/"+f)
		}
	})
	gain := func(actions, path, dest string) denial {
		return denial{actions: actions, path: path, dest: dest, reason: abi.ReasonGain}
	}
	op := func(words ...string) []string { return words }

	s.run(
		trial{name: "rename that gains nothing is allowed", probe: op("rename", "@/low/a", "@/same/a")},
		trial{name: "rename that loses rights is allowed", probe: op("rename", "@/high/a", "@/low/new")},
		trial{name: "rename that gains is refused as if across devices", control: op("rename", "@/low/b", "@/same/b"),
			probe: op("rename", "@/low/c", "@/high/new"), errno: exdev, want: gain("move", "@/low/c", "@/high/new")},
		trial{name: "rename without replacement that gains is refused", control: op("noreplace", "@/low/b", "@/same/b"),
			probe: op("noreplace", "@/low/c", "@/high/new"), errno: exdev, want: gain("move", "@/low/c", "@/high/new")},
		trial{name: "rename out of a secret place is denied", control: op("rename", "@/high/b", "@/high/b2"),
			probe: op("rename", "@/secret/key", "@/high/key"), errno: eacces, want: denial{actions: "move", path: "@/secret/key", dest: "@/high/key"}},
		trial{name: "rename into a secret place is denied", control: op("rename", "@/high/c", "@/high/c2"),
			probe: op("rename", "@/high/b", "@/secret/b"), errno: eacces, want: denial{actions: "create", path: "@/high/b", dest: "@/secret/b"}},
		trial{name: "rename over a file that may not be deleted is denied", control: op("rename", "@/low/d", "@/low/e"),
			probe: op("rename", "@/keep/other", "@/keep/target"), errno: eacces, want: denial{actions: "delete", path: "@/keep/other", dest: "@/keep/target"}},
		trial{name: "rename over a secret is denied", control: op("rename", "@/high/c", "@/high/d"),
			probe: op("rename", "@/high/d", "@/secret/key"), errno: eacces, want: denial{actions: "create,delete", path: "@/high/d", dest: "@/secret/key"}},

		trial{name: "directory keeps its rights when moved beside", probe: op("rename", "@/low/dir", "@/same/dir")},
		trial{name: "directory that gains is refused", control: op("rename", "@/low/dir2", "@/same/dir2"), probe: op("rename", "@/low/dir", "@/high/moved"),
			errno: exdev, want: denial{actions: "move", path: "@/low/dir", dest: "@/high/moved", dir: true, reason: abi.ReasonGain}},
		trial{name: "secret directory is not moved out", control: op("rename", "@/high/dir", "@/high/dir3"), probe: op("rename", "@/secret/dir", "@/high/dir"),
			errno: eacces, want: denial{actions: "move", path: "@/secret/dir", dest: "@/high/dir", dir: true}},

		trial{name: "exchange that gains nothing is allowed", probe: op("exchange", "@/low/a", "@/low/f")},
		trial{name: "exchange whose first file gains is refused", control: op("exchange", "@/low/f", "@/same/s"),
			probe: op("exchange", "@/low/f", "@/high/f"), errno: exdev, want: gain("move", "@/low/f", "@/high/f")},
		trial{name: "exchange whose second file gains is refused", control: op("exchange", "@/low/f", "@/same/s"),
			probe: op("exchange", "@/high/f", "@/low/f"), errno: exdev, want: gain("move", "@/high/f", "@/low/f")},
		trial{name: "exchange with a secret is denied", control: op("exchange", "@/high/f", "@/high/g"),
			probe: op("exchange", "@/high/f", "@/secret/key"), errno: eacces, want: denial{actions: "create,move", path: "@/high/f", dest: "@/secret/key"}},
		trial{name: "exchange from a secret is denied", control: op("exchange", "@/high/f", "@/high/g"),
			probe: op("exchange", "@/secret/key", "@/high/f"), errno: eacces, want: denial{actions: "create,move", path: "@/secret/key", dest: "@/high/f"}},

		trial{name: "link that gains nothing is allowed", probe: op("link", "@/low/g", "@/same/g")},
		trial{name: "link that loses rights is allowed", probe: op("link", "@/high/g", "@/low/g2")},
		trial{name: "link that gains is refused", control: op("link", "@/low/g", "@/same/g3"),
			probe: op("link", "@/low/g", "@/high/g3"), errno: exdev, want: gain("create", "@/low/g", "@/high/g3")},
		trial{name: "link to a secret is refused", control: op("link", "@/high/h", "@/high/h2"),
			probe: op("link", "@/secret/key", "@/high/key"), errno: exdev, want: gain("create", "@/secret/key", "@/high/key")},
		trial{name: "link of a descriptor to a secret is refused", control: op("linkfd", "@/high/h", "@/high/h3"),
			probe: op("linkfd", "@/secret/key", "@/high/key"), errno: exdev, want: gain("create", "@/secret/key", "@/high/key")},
		trial{name: "link through proc to a secret is refused", control: op("linkproc", "@/high/h", "@/high/h4"),
			probe: op("linkproc", "@/secret/key", "@/high/key"), errno: exdev, want: gain("create", "@/secret/key", "@/high/key")},
		trial{name: "link into a secret place is denied", control: op("link", "@/high/h", "@/high/h5"),
			probe: op("link", "@/high/h", "@/secret/h"), errno: eacces, want: denial{actions: "create", path: "@/high/h", dest: "@/secret/h"}},
	)
}

// TestAncestors moves directories that have rules beneath them.
//
//	@/top/                everything but execute
//	├── app/
//	│   ├── src/file
//	│   └── hooks/        nothing
//	│       └── pre
//	├── lib/file
//	├── tools/            (no such directory) tools/run: execute, too
//	├── kit/run
//	└── new/file
func TestAncestors(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/top/"), forbid("*", "@/top/app/hooks/"), permit("execute", "@/top/tools/run"))
	s.anew(func() {
		s.tree("top/app/src/file", "top/app/hooks/pre", "top/lib/file", "top/new/file", "top/mine/file", "top/kit/run")
	})
	gain := func(path, dest string) denial {
		return denial{actions: "move", path: path, dest: dest, dir: true, reason: abi.ReasonGain}
	}
	op := func(words ...string) []string { return words }
	s.run(
		trial{name: "directory without rules beneath is moved", probe: op("rename", "@/top/lib", "@/top/lib2")},
		trial{name: "ancestor of a forbidden file is not moved", control: op("rename", "@/top/lib", "@/top/lib2"),
			probe: op("rename", "@/top/app", "@/top/app2"), errno: eacces,
			want: denial{actions: "move", path: "@/top/app", dest: "@/top/app2", dir: true, reason: abi.ReasonHolds}},
		trial{name: "higher ancestor of a forbidden file is not moved", control: op("rename", "@/top/lib", "@/top/lib2"),
			probe: op("rename", "@/top", "@/top/../up"), errno: eacces, want: denial{actions: "create", path: "@/top", dest: "@/up", dir: true}},
		trial{name: "directory beside the forbidden one is moved", probe: op("rename", "@/top/app/src", "@/top/src")},
		trial{name: "ancestor of a forbidden file is not exchanged", control: op("exchange", "@/top/lib", "@/top/mine"),
			probe: op("exchange", "@/top/app", "@/top/new"), errno: exdev, want: gain("@/top/app", "@/top/new")},
		trial{name: "ancestor of a forbidden file is not exchanged the other way", control: op("exchange", "@/top/lib", "@/top/mine"),
			probe: op("exchange", "@/top/new", "@/top/app"), errno: exdev, want: gain("@/top/new", "@/top/app")},
		trial{name: "directory whose file would become a tool is not moved", control: op("rename", "@/top/kit", "@/top/kit2"),
			undo:  func() { must(t, os.Rename(s.at("@/top/kit2"), s.at("@/top/kit"))) },
			probe: op("rename", "@/top/kit", "@/top/tools"), errno: exdev, want: gain("@/top/kit", "@/top/tools")},
		trial{name: "file that would become a tool is not moved", control: op("rename", "@/top/kit/run", "@/top/kit/ran"),
			undo: func() {
				must(t, os.Rename(s.at("@/top/kit/ran"), s.at("@/top/kit/run")))
				s.tree("top/tools/")
			},
			probe: op("rename", "@/top/kit/run", "@/top/tools/run"), errno: exdev,
			want: denial{actions: "move", path: "@/top/kit/run", dest: "@/top/tools/run", reason: abi.ReasonGain}},
		trial{name: "directory is not moved to where what it holds may not be made", control: op("rename", "@/top/mine", "@/top/mine2"),
			undo: func() {
				must(t, os.Rename(s.at("@/top/app"), s.at("@/gone")))
				must(t, os.Rename(s.at("@/top/mine2"), s.at("@/top/mine")))
			},
			probe: op("rename", "@/top/mine", "@/top/app"), errno: exdev,
			want: denial{actions: "move", path: "@/top/mine", dest: "@/top/app", dir: true, reason: abi.ReasonLoss}},
	)
}
