package pattern

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// compile makes one automaton; holds[o] is the set of languages of output o.
func compile(t *testing.T, langs ...Language) (*Automaton, []Bits) {
	t.Helper()
	set, err := Build(langs, Options{Automata: 1, States: MaxStates})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Automata) == 0 {
		return Paths(), nil // all are empty: any automaton will do that tells nothing
	}
	return set.Automata[0], set.Holds[0]
}

// short lists all strings over alphabet with at most n bytes, shortest first.
func short(alphabet string, n int) []string {
	list := []string{""}
	for from := 0; n > 0; n-- {
		to := len(list)
		for _, s := range list[from:to] {
			for i := range len(alphabet) {
				list = append(list, s+alphabet[i:i+1])
			}
		}
		from = to
	}
	return list
}

// rewrite changes the text of a formula and not its meaning.
func rewrite(r *rand.Rand, n *node) Language {
	switch n.kind {
	case isNot:
		return Not(rewrite(r, n.of[0]))
	case isAnd, isOr:
		// Not through the constructors: they would undo it.
		var list []*node
		for _, x := range n.of {
			y := rewrite(r, x).node()
			if r.IntN(3) == 0 { // absorption
				extra := Like(randomPattern(r, "ab", 3)).node()
				y = &node{kind: isOr, key: "x" + y.key, of: []*node{y, {kind: isAnd, key: "y", of: []*node{extra, y}}}}
			}
			list = append(list, y)
		}
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		if r.IntN(2) == 0 {
			return Language{&node{kind: n.kind, key: "z" + n.key, of: list}}
		}
		dual := isOr
		if n.kind == isOr {
			dual = isAnd
		}
		for i, x := range list {
			list[i] = &node{kind: isNot, key: "!" + x.key, of: []*node{x}}
		}
		return Language{&node{kind: isNot, key: "m" + n.key, of: []*node{{kind: dual, key: "w" + n.key, of: list}}}}
	}
	return Language{n}
}

func TestEqualLanguagesGiveEqualAutomata(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 2000 {
		l := Or(randomLanguage(r, "ab/", r.IntN(4)), Like("x*"))
		m := rewrite(r, l.node())
		// Compiled as it is written: without the normal form.
		x, ok := explore(rawFormulas(m.node()))
		y, _ := explore(rawFormulas(l.node()))
		if !ok {
			t.Fatal("too large")
		}
		a, aOld := x.raw.minimal()
		b, bOld := y.raw.minimal()
		if !a.Equal(b) {
			t.Fatalf("%v and %v have different automata", l, m)
		}
		for o := range aOld {
			if !x.raw.outputs[aOld[o]].Equal(y.raw.outputs[bOld[o]]) {
				t.Fatalf("%v and %v: output %d differs", l, m, o)
			}
		}
	}
}

func rawFormulas(n *node) ([]*formula, []unit, int, *budget) {
	list, units := formulas([]*node{n})
	return list, units, MaxStates, &budget{1 << 24}
}

func TestUnionsWrittenDifferentlyGiveEqualAutomata(t *testing.T) {
	a, _ := compile(t, Or(Like("a*"), Like("b*")), Or(Like("*.c"), Like("x*.c"), Like("/a/*/b.c")))
	b, _ := compile(t, Not(And(Not(Like("b*")), Not(Like("a*")))), Or(Like("*.c"), And(Like("*.c"), Like("*b.c"))))
	if !a.Equal(b) {
		t.Error("different automata")
	}
	c, _ := compile(t, Like("a*"))
	if a.Equal(c) {
		t.Error("different languages, equal automata")
	}
}

// blocks is Moore's algorithm, the slow way: how many states a must have.
func blocks(a *Automaton) int {
	class := make([]int, a.States())
	for s, o := range a.Out {
		class[s] = int(o)
	}
	for count := 0; ; {
		index := make(map[string]int)
		next := make([]int, len(class))
		for s := range class {
			key := []byte{byte(class[s]), byte(class[s] >> 8)}
			for c := range a.Classes {
				n := class[a.Next[s*a.Classes+c]]
				key = append(key, byte(n), byte(n>>8))
			}
			if _, ok := index[string(key)]; !ok {
				index[string(key)] = len(index)
			}
			next[s] = index[string(key)]
		}
		class = next
		if len(index) == count {
			return count
		}
		count = len(index)
	}
}

func TestAutomataAreMinimalAndNumberedInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 1000 {
		a, _ := compile(t, randomLanguage(r, "ab/", r.IntN(4)), randomLanguage(r, "ab*", r.IntN(3)), Like("q"))
		if n := blocks(a); n != a.States() {
			t.Fatalf("%d states, %d are enough", a.States(), n)
		}
		states, outputs, classes := 1, 0, 0
		for s, o := range a.Out {
			if int(o) == outputs {
				outputs++
			} else if int(o) > outputs {
				t.Fatalf("state %d: output %d comes before %d", s, o, outputs)
			}
			for _, n := range a.Next[s*a.Classes : (s+1)*a.Classes] {
				if int(n) == states {
					states++
				} else if int(n) > states {
					t.Fatalf("state %d comes before %d", n, states)
				}
			}
		}
		for b, c := range a.Bytes {
			if int(c) == classes {
				classes++
			} else if int(c) > classes {
				t.Fatalf("byte %d: class %d comes before %d", b, c, classes)
			}
		}
		if states != a.States() || outputs != a.Outputs || classes != a.Classes {
			t.Fatalf("%d states, %d outputs, %d classes are in use; the automaton says %d, %d, %d",
				states, outputs, classes, a.States(), a.Outputs, a.Classes)
		}
		for c := range a.Classes {
			for d := range c {
				same := true
				for s := range a.Out {
					same = same && a.Next[s*a.Classes+c] == a.Next[s*a.Classes+d]
				}
				if same {
					t.Fatalf("classes %d and %d act alike", d, c)
				}
			}
		}
	}
}

func TestMergeGivesTheUnion(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	strings := short("abz", 6)
	for range 300 {
		x, y := randomLanguage(r, "ab", r.IntN(3)), randomLanguage(r, "ab", r.IntN(3))
		a, holds := compile(t, x, y, Like("q"))
		to := make([]int, a.Outputs)
		for o := range to {
			to[o] = 7 + min(holds[o].Count(), 1)*11
		}
		m, output := a.Merge(to)
		direct, _ := compile(t, Or(x, y, Like("q")))
		if !m.Equal(direct) {
			t.Fatalf("%v, %v: merged outputs are not the union's automaton", x, y)
		}
		for _, s := range strings {
			if m.Class(s) != output[a.Class(s)] {
				t.Fatalf("%q: output %d, must be %d", s, m.Class(s), output[a.Class(s)])
			}
		}
		if same, output := a.Merge(slices.Collect(func(yield func(int) bool) {
			for o := range a.Outputs {
				if !yield(-o) {
					return
				}
			}
		})); !same.Equal(a) || !slices.IsSorted(output) {
			t.Fatal("merging nothing changes the automaton")
		}
	}
}

func TestProductTellsWhatBothTell(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 300 {
		x, y := randomLanguage(r, "ab", r.IntN(3)), randomLanguage(r, "ab/", r.IntN(3))
		a, _ := compile(t, x, Like("q"))
		b, _ := compile(t, y, Like("q"))
		p, pairs, err := Product(a, b)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range short("ab/q", 5) {
			if got, want := pairs[p.Class(s)], [2]int{a.Class(s), b.Class(s)}; got != want {
				t.Fatalf("%v, %v: %q: outputs %v, must be %v", x, y, s, got, want)
			}
		}
		if both, _ := compile(t, x, y, Like("q")); !both.Equal(p) {
			t.Fatalf("%v, %v: the product is not the automaton of both", x, y)
		}
	}
}

func TestReachableIsWhatContinuationsGive(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for range 500 {
		a, _ := compile(t, randomLanguage(r, "ab", r.IntN(3)), randomLanguage(r, "ab", r.IntN(3)), Like("q"))
		sets, of := a.Reachable()
		keys := make(map[string]bool)
		for _, set := range sets {
			keys[set.Key()] = true
		}
		if len(keys) != len(sets) {
			t.Fatal("equal sets are there twice")
		}
		for s := range a.Out {
			var want Bits
			seen := map[uint16]bool{uint16(s): true}
			for list := []uint16{uint16(s)}; len(list) > 0; {
				at := list[0]
				list = list[1:]
				want.Set(int(a.Out[at]))
				for _, n := range a.Next[int(at)*a.Classes : (int(at)+1)*a.Classes] {
					if !seen[n] {
						seen[n] = true
						list = append(list, n)
					}
				}
			}
			if !want.Equal(sets[of[s]]) {
				t.Fatalf("state %d reaches %v, must be %v", s, sets[of[s]], want)
			}
		}
	}
}

func TestWitnessIsShortest(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for range 300 {
		a, _ := compile(t, randomLanguage(r, "ab", r.IntN(3)), randomLanguage(r, "ab", r.IntN(3)), Like("q"))
		least := make(map[int]int)
		for _, s := range short("abqz", 5) {
			if _, ok := least[a.Class(s)]; !ok {
				least[a.Class(s)] = len(s)
			}
		}
		for o := range a.Outputs {
			w, ok := a.Witness(o)
			if n, known := least[o]; !ok || a.Class(w) != o || known && len(w) != n || !known && len(w) < 6 {
				t.Fatalf("output %d: witness %q, %v; the shortest has %d bytes (known: %v)", o, w, ok, n, known)
			}
		}
	}
}

func TestPathWitnessesArePathsWhereThereAreAny(t *testing.T) {
	r := rand.New(rand.NewPCG(23, 24))
	for range 300 {
		a, _ := compile(t, randomLanguage(r, "a/", r.IntN(3)), randomLanguage(r, "a/", r.IntN(3)), Like("q"))
		list := a.PathWitnesses()
		if len(list) != a.Outputs {
			t.Fatalf("%d witnesses of %d outputs", len(list), a.Outputs)
		}
		for o, w := range list {
			path, isPath := a.WitnessIn(o, Paths(), Bits{2})
			least, _ := a.Witness(o)
			switch {
			case a.Class(w) != o:
				t.Fatalf("output %d: witness %q has output %d", o, w, a.Class(w))
			case o == a.Class(""):
				if w != "" {
					t.Fatalf("output %d: witness %q, want the empty string", o, w)
				}
			case isPath && w != path, !isPath && w != least:
				t.Fatalf("output %d: witness %q; a shortest path is %q (%v), a shortest string %q", o, w, path, isPath, least)
			}
		}
	}
}

func TestWitnessAmongPaths(t *testing.T) {
	a, holds := compile(t, Like("/*..*b"), Like("*//*"), Like("a*"))
	for o, set := range holds {
		w, ok := a.WitnessIn(o, Paths(), Bits{2})
		switch {
		case set.Has(1) || set.Has(2):
			if ok {
				t.Errorf("%v: %q is no path", set, w)
			}
		case set.Has(0):
			if w != "/..b" {
				t.Errorf("%v: %q, must be /..b", set, w)
			}
		default:
			if w != "/" {
				t.Errorf("%v: %q, must be /", set, w)
			}
		}
	}
	p := Paths()
	for path, want := range map[string]int{"/": 1, "/a": 1, "/...": 1, "/..a/.b": 1, "/a.": 1,
		"": 0, "a": 0, "//": 0, "/.": 0, "/..": 0, "/a/": 0, "/a/..": 0, "/a/./b": 0, "/a\x00": 0} {
		if p.Class(path) != want {
			t.Errorf("%q: path is %d, must be %d", path, p.Class(path), want)
		}
	}
}
