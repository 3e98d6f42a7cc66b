package table

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// smallSets have between them every part that a table can have.
func smallSets() map[string]*rule.Set {
	permit := func(c rule.Cond) rule.Rule { return rule.Rule{Actions: 7, Cond: c} }
	forbid := func(c rule.Cond) rule.Rule { return rule.Rule{Actions: 2, Effect: rule.Forbid, Cond: c} }
	long := "/d/" + names[10]
	return map[string]*rule.Set{
		"nothing":     {},
		"everything":  {Rules: []rule.Rule{permit(rule.Const(true))}},
		"paths":       {Rules: []rule.Rule{permit(rule.PathBelow{Path: "/a/b"}), forbid(rule.PathEq{Path: "/a/b/c"}), permit(rule.Is{Kind: abi.Dir})}},
		"long names":  {Rules: []rule.Rule{permit(rule.PathBelow{Path: long}), forbid(rule.PathEq{Path: "/d/" + names[9]})}},
		"globs":       {Rules: []rule.Rule{permit(rule.Like{Field: rule.Path, Pattern: "*a"}), permit(rule.PathEq{Path: "/b"})}},
		"executables": {Rules: []rule.Rule{permit(rule.Like{Field: rule.Exe, Pattern: "/a*"}), forbid(rule.Like{Field: rule.Parent, Pattern: "/b"})}},
		"numbers": {Rules: []rule.Rule{permit(rule.Less{Field: rule.UID, Bound: 3}), permit(rule.Less{Field: rule.GID, Bound: 2}),
			forbid(rule.Less{Field: rule.Now, Bound: 5}), permit(rule.Less{Field: rule.DayTime, Bound: 4})}},
		"moves": {Rules: []rule.Rule{permit(rule.Like{Field: rule.DestDir, Pattern: "/a"}), forbid(rule.Like{Field: rule.DestName, Pattern: "a"})}},
		"audit": {Rules: []rule.Rule{permit(rule.PathBelow{Path: "/a"}), permit(rule.Less{Field: rule.UID, Bound: 3}),
			{Actions: 3, Effect: rule.Forbid, Audited: true, Cond: rule.PathEq{Path: "/a/b"}}}},
		"tripwires": {Rules: []rule.Rule{permit(rule.PathBelow{Path: "/a"}), {Actions: 3, Effect: rule.Forbid, Trips: true, Cond: rule.PathEq{Path: "/a/b"}},
			{Actions: 1, Effect: rule.Forbid, Trips: true, Cond: rule.Like{Field: rule.Path, Pattern: "*k"}}}},
		"asks": {Rules: []rule.Rule{permit(rule.Unknown{}), forbid(rule.Like{Field: rule.Xattr, Pattern: "user.a"})}},
	}
}

// bent tells how often corruption was found, and how often it left a table that
// is walked within its bounds.
type bent struct{ refused, walked int }

// bend puts other values in the place of each byte of a table.
func bend(t *testing.T, tab *Table, values func(old byte) []byte, asks []abi.Request) (b bent) {
	t.Helper()
	w := slices.Clone(tab.words)
	for i := range len(w) * 8 {
		shift := i % 8 * 8
		whole := w[i/8]
		old := byte(whole >> shift)
		for _, v := range values(old) {
			if v == old {
				continue
			}
			w[i/8] = whole&^(0xff<<shift) | uint64(v)<<shift
			if Verify(w) != nil {
				b.refused++
				continue
			}
			b.walked++
			if err := walkBent(w, asks); err != nil {
				t.Fatalf("byte %d of %d, %#x for %#x: accepted, but %v", i, len(w)*8, v, old, err)
			}
		}
		w[i/8] = whole
	}
	return b
}

// walkBent walks a table that Verify accepts: with a reader that checks every
// access and counts steps, then as the package does.
func walkBent(w []uint64, asks []abi.Request) (err error) {
	defer func() {
		if e := recover(); e != nil {
			err = fmt.Errorf("the walk panics: %v", e)
		}
	}()
	reader, tab := gen.NewReader(w), &Table{words: w}
	for i, q := range asks {
		want, err := reader.Answer(q)
		if err != nil {
			return err
		}
		if got := tab.Answer(q); gen.Answer(got) != want {
			return fmt.Errorf("%s: %v, by the document %v", gen.Show(q), got, want)
		}
		tab.Gains(q.Kind, q.Path, asks[(i+1)%len(asks)].Path)
	}
	return nil
}

func someRequests(n int) []abi.Request {
	r := rand.New(rand.NewPCG(9, 10))
	list := []abi.Request{{Path: "/"}, {Path: "/d/" + names[10]}, {Kind: abi.Dir, Path: "/a/b/c"}}
	for len(list) < n {
		list = append(list, randomRequest(r))
	}
	return list
}

// Every single-byte corruption of a table with any of the parts is refused, or
// leaves a table whose walks stay within it and end.
func TestEverySingleByteCorruptionIsRefusedOrBounded(t *testing.T) {
	asks := someRequests(16)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	few := func(old byte) []byte {
		list := []byte{0, 1, 0x7f, 0x80, 0xff, old + 1, old - 1, old + 2, ^old}
		for bit := range 8 {
			list = append(list, old^1<<bit)
		}
		return list
	}
	var total bent
	for name, set := range smallSets() {
		tab, err := Build(set, 7)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		values := few
		if len(tab.words) < 100 && !testing.Short() {
			values = func(byte) []byte { return all }
		}
		b := bend(t, tab, values, asks)
		t.Logf("%s: %d words: %d refused, %d walked", name, len(tab.words), b.refused, b.walked)
		total.refused += b.refused
		total.walked += b.walked
	}
	if total.refused == 0 || total.walked == 0 {
		t.Errorf("%+v: the test sees one side only", total)
	}
}

// Words cut off, or more of them, are refused.
func TestTablesOfAnotherLengthAreRefused(t *testing.T) {
	for name, set := range smallSets() {
		tab, err := Build(set, 7)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range tab.words {
			if Verify(tab.words[:n]) == nil {
				t.Errorf("%s: its first %d words of %d are accepted", name, n, len(tab.words))
			}
		}
		if Verify(append(slices.Clone(tab.words), 0)) == nil {
			t.Errorf("%s: another word is accepted", name)
		}
	}
}

// FuzzVerify bends several words at once.
func FuzzVerify(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint64(3))
	sets := smallSets()
	var tables []*Table
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		tab, err := Build(sets[name], 7)
		if err != nil {
			f.Fatal(err)
		}
		tables = append(tables, tab)
	}
	asks := someRequests(16)
	f.Fuzz(func(t *testing.T, where, what, seed uint64) {
		tab := tables[seed%uint64(len(tables))]
		w := slices.Clone(tab.words)
		for i := range 4 {
			at := where >> (16 * i) & 0xffff % uint64(len(w))
			w[at] ^= what >> (16 * i) & 0xffff << (seed >> (8 * (i + 1)) % 64)
		}
		if Verify(w) == nil {
			if err := walkBent(w, asks); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// The reader of package gen, written from the document, decides as this
// package does.
func TestTheDocumentDecidesAsTheTableDoes(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(11, 12))
	for range 1000 {
		tab, err := Build(randomSet(r, handled), handled)
		if err != nil {
			t.Fatal(err)
		}
		reader := gen.NewReader(tab.words)
		for range 40 {
			q := randomRequest(r)
			got, err := reader.Answer(q)
			if err != nil {
				t.Fatal(err)
			}
			if want := tab.Answer(q); got != gen.Answer(want) {
				t.Fatalf("%s: %v, by the document %v", gen.Show(q), want, got)
			}
		}
	}
}
