package vmtest

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestLosses moves and links what would bring along, under a new name, what may not be
// made there; and moves what may not be deleted.
//
//	@/w/                  everything but execute
//	├── .ssh/             (no such directory) nothing
//	├── .claude/          (no such directory) settings: not made, written, deleted
//	├── repo/.git/hooks/pre, bare/hooks/pre, */.git/hooks/ (anywhere): the same
//	├── kept/.claude/     (there, and no such rule)
//	├── tree/fix/.git     a file
//	├── x/settings, keys/id, plain/f
//	└── l0 … l5           symbolic links to keys
func TestLosses(t *testing.T) {
	const change = "create write delete move"
	s := newStage(t, permit(anyUse, "@/w/"), forbid("*", "@/w/.ssh/"), forbid(change, "@/w/.claude/settings"),
		when("forbid", change, "@/w/", like("*/.git/hooks/*")))
	s.tree("w/repo/.git/hooks/pre", "w/bare/hooks/pre", "w/kept/.claude/settings", "w/other/.git/info/exclude", "w/tree/fix/.git", "w/x/settings",
		"w/keys/id", "w/plain/f", "w/plain/in/f")
	for _, l := range []string{"l0", "l1", "l2", "l3", "l4", "l5"} {
		s.tree("w/" + l + " -> @/w/keys")
	}
	must(t, filepath.WalkDir(s.at("@/w"), func(path string, _ os.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, 1000, 1000)
		}
		return err
	}))
	for _, of := range []struct {
		name string
		as   []string
	}{{"", nil}, {" as a user", []string{"as", "1000", "1000"}}} {
		op := func(words ...string) []string { return slices.Concat(of.as, s.expand(words)) }
		back := func(pairs ...string) func() {
			return func() {
				for i := 0; i < len(pairs); i += 2 {
					must(t, os.Rename(s.at(pairs[i]), s.at(pairs[i+1])))
				}
			}
		}
		list := s.lossesOf(op, back)
		for i := range list {
			list[i].name += of.name
		}
		s.run(list...)
		for _, name := range []string{"@/w/link", "@/w/plain/hooks", "@/w/l9"} {
			must(t, os.Remove(s.at(name)))
		}
	}
	for _, name := range []string{"repo/.git/hooks/pre", "x/settings", "bare/hooks/pre", "tree/fix/.git"} {
		if _, err := os.Stat(s.at("@/w/" + name)); err != nil {
			t.Errorf("what was refused has changed something: %v", err)
		}
	}
}

// TestLinksAnywhere: where policies restrict nothing, no path is looked at, as elsewhere.
func TestLinksAnywhere(t *testing.T) {
	const all = "permit (principal, action, resource);\n"
	s, b := newStage(t, all), newStage(t, all, forbid("write", "@/secret/"))
	s.tree("ws/")
	b.tree("ws/")
	s.run(trial{name: "symbolic link outside of the root is made where everything is permitted", steps: "newns", probe: []string{"symlink", "x", "@/ws/l"}})
	b.run(
		trial{name: "symbolic link is made where something else is forbidden", probe: []string{"symlink", "x", "@/ws/l"}},
		trial{name: "symbolic link outside of the root is denied there", steps: "newns", probe: []string{"symlink", "x", "@/ws/m"}, errno: eacces,
			want: outsidePath(b.at("@/ws/m"), "create")},
	)
}

func (s *stage) lossesOf(op func(...string) []string, back func(...string) func()) []trial {
	moved := func(path, dest string, reason abi.Reason) denial {
		return denial{actions: "move", path: path, dest: dest, dir: true, reason: reason}
	}
	link := func(actions, path, dest string) denial {
		return denial{actions: actions, path: path, dest: dest, reason: abi.ReasonLoss}
	}
	return []trial{
		{name: "directory does not become one that would hold settings", control: op("rename", "@/w/x", "@/w/x2"), undo: back("@/w/x2", "@/w/x"),
			probe: op("rename", "@/w/x", "@/w/.claude"), errno: exdev, want: moved("@/w/x", "@/w/.claude", abi.ReasonLoss)},
		{name: "directory does not become a repository", control: op("rename", "@/w/bare", "@/w/bare2"), undo: back("@/w/bare2", "@/w/bare"),
			probe: op("rename", "@/w/bare", "@/w/plain/.git"), errno: exdev, want: moved("@/w/bare", "@/w/plain/.git", abi.ReasonLoss)},
		{name: "directory does not become that of hooks", control: op("rename", "@/w/bare/hooks", "@/w/other/.git/h"), undo: back("@/w/other/.git/h", "@/w/bare/hooks"),
			probe: op("rename", "@/w/bare/hooks", "@/w/other/.git/hooks"), errno: exdev, want: moved("@/w/bare/hooks", "@/w/other/.git/hooks", abi.ReasonLoss)},
		{name: "directory with a repository is moved", probe: op("rename", "@/w/repo", "@/w/repo2")},
		{name: "repository's folder is moved to the same name", probe: op("rename", "@/w/repo2/.git", "@/w/bare/.git")},
		{name: "and back", probe: op("rename", "@/w/bare/.git", "@/w/repo2/.git")},
		{name: "directory that held settings under another parent is moved", probe: op("rename", "@/w/kept/.claude", "@/w/kept/c")},
		{name: "and back again", probe: op("rename", "@/w/kept/c", "@/w/kept/.claude")},
		{name: "repository's folder is not moved away", control: op("rename", "@/w/repo2", "@/w/repo"),
			probe: op("rename", "@/w/repo/.git", "@/w/repo/g2"), errno: eacces, want: moved("@/w/repo/.git", "@/w/repo/g2", abi.ReasonHolds)},
		{name: "repository's hooks are not moved away", control: op("rename", "@/w/bare/hooks", "@/w/bare/h"), undo: back("@/w/bare/h", "@/w/bare/hooks"),
			probe: op("rename", "@/w/repo/.git/hooks", "@/w/h"), errno: eacces, want: moved("@/w/repo/.git/hooks", "@/w/h", abi.ReasonHolds)},

		{name: "symbolic link that leads on is made", probe: op("symlink", "keys", "@/w/link")},
		{name: "symbolic link of a name that means nothing here is made", probe: op("symlink", "keys", "@/w/plain/hooks")},
		{name: "symbolic link in the place of a forbidden directory is denied", control: op("symlink", "keys", "@/w/l9"),
			probe: op("symlink", "keys", "@/w/.ssh"), errno: eacces, want: denial{actions: "create", path: "@/w/.ssh", dir: true}},
		{name: "symbolic link in the place of one that would hold settings is denied", probe: op("symlink", "keys", "@/w/.claude"), errno: eacces,
			want: link("create", "@/w/.claude", "")},
		{name: "symbolic link in the place of a repository is denied", probe: op("symlink", "../bare", "@/w/plain/.git"), errno: eacces,
			want: link("create", "@/w/plain/.git", "")},
		{name: "symbolic link in the place of hooks is denied", probe: op("symlink", "../../keys", "@/w/other/.git/hooks"), errno: eacces,
			want: link("create", "@/w/other/.git/hooks", "")},
		{name: "symbolic link is not renamed to a forbidden directory", control: op("rename", "@/w/l0", "@/w/l6"), undo: back("@/w/l6", "@/w/l0"),
			probe: op("rename", "@/w/l0", "@/w/.ssh"), errno: eacces, want: link("move", "@/w/l0", "@/w/.ssh")},
		{name: "symbolic link is not renamed to one that would hold settings", control: op("rename", "@/w/l1", "@/w/l6"), undo: back("@/w/l6", "@/w/l1"),
			probe: op("rename", "@/w/l1", "@/w/.claude"), errno: eacces, want: link("move", "@/w/l1", "@/w/.claude")},
		{name: "symbolic link is not linked to a repository", control: op("link", "@/w/l2", "@/w/l6"), undo: func() { must(s.t, os.Remove(s.at("@/w/l6"))) },
			probe: op("link", "@/w/l2", "@/w/plain/.git"), errno: eacces, want: link("create", "@/w/l2", "@/w/plain/.git")},
		{name: "symbolic link is not exchanged into a repository", control: op("exchange", "@/w/l3", "@/w/plain/f"), undo: back("@/w/l3", "@/w/l6", "@/w/plain/f", "@/w/l3", "@/w/l6", "@/w/plain/f"),
			probe: op("exchange", "@/w/l3", "@/w/tree/fix/.git"), errno: eacces, want: link("move", "@/w/l3", "@/w/tree/fix/.git")},
		{name: "symbolic link is not exchanged into a repository the other way", control: op("exchange", "@/w/l4", "@/w/l5"),
			probe: op("exchange", "@/w/tree/fix/.git", "@/w/l4"), errno: eacces, want: link("move", "@/w/tree/fix/.git", "@/w/l4")},
	}
}
