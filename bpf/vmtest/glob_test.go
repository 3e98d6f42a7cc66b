package vmtest

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// when writes a policy as permit and forbid do, with one more condition.
func when(effect, actions, place, cond string) string {
	text := strings.TrimSuffix(policy(effect, actions, []string{place}), " };\n")
	return text + " && (" + cond + ") };\n"
}

// like is a condition on the resource's path.
func like(pattern string) string { return "resource.path like " + literal(pattern) }

// TestGlobs decides by patterns of the path.
//
//	@
//	├── g/             *.txt, and long names with a mark in the middle: open, read
//	│   ├── a.txt, a.pem, .txt, txt
//	│   ├── <name of 255 bytes>, with and without .txt
//	│   └── d/…/d/a.txt, 100 deep
//	└── w/             everything but execute; *.pem, and what is below a directory private, is not opened
func TestGlobs(t *testing.T) {
	s := newStage(t,
		when("permit", look, "@/g/", like("*.txt")+" || "+like("*/mm*-mark-*mm/*")),
		when("permit", look, "@/g/", `resource.path like "@/g/exact\*name"`),
		permit(anyUse, "@/w/"), when("forbid", "open read write", "@/w/", like("*.pem")+" || "+like("*/private/*")))
	long := strings.Repeat("n", 251)
	marked := strings.Repeat("m", 120) + "-mark-" + strings.Repeat("m", 120)
	unmarked := strings.Repeat("m", 120) + "-mask-" + strings.Repeat("m", 120)
	deep := "g" + strings.Repeat("/d", 100)
	s.tree("g/a.txt", "g/a.pem", "g/.txt", "g/txt", "g/a.txt2", "g/exact*name", "g/exactXname", "g/"+long+".txt", "g/"+long+".tyt",
		"g/"+marked+"/x", "g/"+unmarked+"/x", deep+"/a.txt", deep+"/a.tx", "w/a.txt", "w/private/a", "w/dir.pem/a")
	read := func(path string) []string { return []string{"open", "r", "@/" + path} }
	want := func(path string) denial { return denial{actions: "open,read", path: "@/" + path} }
	trials := []trial{}
	for _, c := range []struct{ name, yes, no string }{
		{"other ending is denied", "g/a.txt", "g/a.pem"},
		{"ending alone needs its dot", "g/.txt", "g/txt"},
		{"pattern ends where the path does", "g/a.txt", "g/a.txt2"},
		{"escaped star is a star", "g/exact*name", "g/exactXname"},
		{"name of 255 bytes is read to its end", "g/" + long + ".txt", "g/" + long + ".tyt"},
		{"long name is read in its middle", "g/" + marked + "/x", "g/" + unmarked + "/x"},
		{"path a hundred deep is read to its end", deep + "/a.txt", deep + "/a.tx"},
		{"forbidden directory", "w/a.txt", "w/private/a"},
	} {
		trials = append(trials, trial{name: c.name, control: read(c.yes), probe: read(c.no), errno: eacces, want: want(c.no)})
	}
	s.run(trials...)
	s.run(
		trial{name: "name with a forbidden ending in the middle is allowed", probe: read("w/dir.pem/a")},
		trial{name: "file is made under a permitted ending", control: []string{"open", "w|creat", "@/w/new.txt"},
			probe: []string{"open", "w|creat", "@/w/new.pem"}, errno: eacces, want: denial{actions: "open,write", path: "@/w/new.pem"}},
	)
}

// TestGlobsGainNothing moves files and directories where patterns decide.
//
//	@/w/          everything but execute; *.pem is not opened; *.sh: execute, too
//	├── private/  (anywhere): what is below is not opened; a, in/a
//	├── public/a
//	├── a.txt, b.pem, c.sh, e.pem
//	├── dir/a.txt, dir/b.pem
//	└── sub/x
func TestGlobsGainNothing(t *testing.T) {
	s := newStage(t, permit(anyUse, "@/w/"), when("forbid", "open read", "@/w/", like("*.pem")+" || "+like("*/private/*")),
		when("permit", "execute", "@/w/", like("*.sh")))
	s.tree("w/a.txt", "w/b.pem", "w/c.sh", "w/e.pem", "w/dir/a.txt", "w/dir/b.pem", "w/private/a", "w/private/in/a", "w/public/a", "w/sub/x")
	gain := func(actions, path, dest string, dir bool) denial {
		return denial{actions: actions, path: path, dest: dest, dir: dir, reason: abi.ReasonGain}
	}
	op := func(words ...string) []string { return words }
	s.run(
		trial{name: "file that loses rights is renamed", probe: op("rename", "@/w/a.txt", "@/w/a.pem")},
		trial{name: "file that would gain by its ending is not renamed", control: op("rename", "@/w/b.pem", "@/w/b2.pem"),
			probe: op("rename", "@/w/b2.pem", "@/w/b2.txt"), errno: exdev, want: gain("move", "@/w/b2.pem", "@/w/b2.txt", false)},
		trial{name: "file that would become a program is not renamed", control: op("rename", "@/w/c.sh", "@/w/d.sh"),
			probe: op("rename", "@/w/sub/x", "@/w/sub/x.sh"), errno: exdev, want: gain("move", "@/w/sub/x", "@/w/sub/x.sh", false)},
		trial{name: "file that would gain by its ending is not linked", control: op("link", "@/w/b2.pem", "@/w/b3.pem"),
			probe: op("link", "@/w/b2.pem", "@/w/b3"), errno: exdev, want: gain("create", "@/w/b2.pem", "@/w/b3", false)},
		trial{name: "exchange with a file that would gain is refused", control: op("exchange", "@/w/b2.pem", "@/w/e.pem"),
			probe: op("exchange", "@/w/d.sh", "@/w/e.pem"), errno: exdev, want: gain("move", "@/w/d.sh", "@/w/e.pem", false)},
		trial{name: "directory is renamed where patterns look at endings", probe: op("rename", "@/w/dir", "@/w/dir2")},
		trial{name: "directory is moved down where patterns look at endings", probe: op("rename", "@/w/dir2", "@/w/sub/dir")},
		trial{name: "directory out of reach of a pattern is not renamed into the open", control: op("rename", "@/w/public", "@/w/public2"),
			probe: op("rename", "@/w/private", "@/w/open"), errno: exdev, want: gain("move", "@/w/private", "@/w/open", true)},
		trial{name: "directory does not leave a private one", control: op("rename", "@/w/private/in", "@/w/private/in2"),
			probe: op("rename", "@/w/private/in2", "@/w/out"), errno: exdev, want: gain("move", "@/w/private/in2", "@/w/out", true)},
	)
}
