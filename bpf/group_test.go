package bpf

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

func TestProgramsBeginAsTheirGroup(t *testing.T) {
	files, err := filepath.Glob("kern/*.bpf.c")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	named := regexp.MustCompile(`(?:BPF_PROG\(|SEC\("syscall"\)\nint )([a-z_0-9#]+)`)
	of := map[string]group{"strict.bpf.c": groupStrict, "hold.bpf.c": groupHold, "heir.bpf.c": groupHeir, "walk.bpf.c": groupWalker}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		programs := named.FindAllSubmatch(text, -1)
		if len(programs) == 0 && filepath.Base(file) != "stockade.bpf.c" {
			t.Errorf("%s: no program", file)
		}
		for _, p := range programs {
			if want := of[filepath.Base(file)]; groupOf(string(p[1])) != want {
				t.Errorf("%s: program %s: begins as group %q, not %q", file, p[1], groupOf(string(p[1])), want)
			}
		}
	}
}

// users returns the groups of the programs that use each map.
func users(spec *ebpf.CollectionSpec) map[string][]group {
	found := map[string][]group{}
	for name, p := range spec.Programs {
		for _, ref := range p.Instructions {
			if g := groupOf(name); ref.IsLoadFromMap() && !internal(ref.Reference()) && !slices.Contains(found[ref.Reference()], g) {
				found[ref.Reference()] = append(found[ref.Reference()], g)
			}
		}
	}
	return found
}

func TestMapsBelongToTheProgramsThatUseThem(t *testing.T) {
	spec, err := loadKern()
	if err != nil {
		t.Fatal(err)
	}
	for name, groups := range users(spec) {
		if want, own := mapGroups[name]; own && !slices.Equal(groups, []group{want}) || !own && !slices.Contains(groups, groupAlways) {
			t.Errorf("map %s: used by groups %q, noted for %q", name, groups, want)
		}
	}
	choose(spec, groupAlways)
	var want []string
	for name := range spec.Maps {
		if !internal(name) {
			want = append(want, name)
		}
	}
	got := mapNames()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("maps %q, of the object %q", got, want)
	}
}
