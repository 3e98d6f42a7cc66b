package pattern

// What a step can make of a position, besides another position.
const (
	dead    int32 = -1 // no continuation matches
	certain int32 = -2 // every continuation matches
)

// unit is a union of patterns. Languages are formulas over units.
type unit struct {
	globs  []glob
	floats bool // a pattern begins with a star, so the unit never becomes false
}

// track is a run of positions. One that floats follows a star: its positions
// are how much of the segment after the star the last bytes spell, at most
// (Knuth, Morris, Pratt). One that is anchored spells the segment that a
// pattern begins with.
//
// Of the stars of a pattern only the last one reached counts: whatever matches
// from an earlier one is a string with, somewhere in it, what matches from the
// last one, and that is matched from there too. So the positions of a unit are
// at most one on each track, and tracks are shared by all patterns of the unit
// that go on alike after the star.
type track struct {
	unit   int32
	rest   glob   // what is still to match, at the first position
	sample string // of rest
	first  int32  // number of the first position
	gone   int32  // number that stands for "superseded"; only for initial tracks
	// floats: follows a star. initial: follows a star that a pattern begins
	// with, so it is live from the start, and states do not mention it while it
	// is at its first position.
	floats, initial bool
	// covers[t] is 1 + the last position of track t that is superseded when
	// this track begins; 0 for none. drops lists the initial tracks whose first
	// position is. Both are filled when the track begins for the first time.
	covers, drops []int32
}

// machine holds the positions of all units.
type machine struct {
	units    []unit
	tracks   []track
	class    [256]uint8 // bytes that no pattern tells apart have one class
	classes  int
	next     []int32    // next[position*classes+class]
	track    []int32    // of each position
	accepts  []bool     // the unit matches a string that ends here
	relevant []classSet // classes that do something else than fall back
	initial  []int32    // tracks
	anchored []int32    // positions at the start, ascending
	leave    [][]int32  // for each class, where initial tracks go from their first position
	fresh    byte
	hasFresh bool
}

type classSet [4]uint64

func (s *classSet) set(c int)      { s[c/64] |= 1 << (c % 64) }
func (s *classSet) has(c int) bool { return s[c/64]>>(c%64)&1 != 0 }
func (s *classSet) add(t *classSet) {
	for i := range s {
		s[i] |= t[i]
	}
}

func newMachine(units []unit) *machine {
	m := &machine{units: units}
	var all []glob
	for _, u := range units {
		all = append(all, u.globs...)
	}
	m.fresh, m.hasFresh = freshByte(all)
	m.classify(all)
	m.leave = make([][]int32, m.classes)
	for u := range units {
		begun := make(map[string]int32)
		for _, g := range units[u].globs {
			m.add(int32(u), g, begun)
		}
	}
	for _, t := range m.initial {
		first := m.tracks[t].first
		for c := range m.classes {
			if n := m.next[int(first)*m.classes+c]; n != first {
				m.leave[c] = append(m.leave[c], t)
			}
		}
	}
	return m
}

// classify gives every byte of a literal a class, and the others one together.
func (m *machine) classify(globs []glob) {
	var used [256]bool
	for _, g := range globs {
		for _, segment := range g {
			for i := range len(segment) {
				used[segment[i]] = true
			}
		}
	}
	other := -1
	for b := range used {
		switch {
		case used[b]:
			m.class[b] = uint8(m.classes)
		case other >= 0:
			m.class[b] = uint8(other)
			continue
		default:
			other = m.classes
			m.class[b] = uint8(other)
		}
		m.classes++
	}
}

// add makes the tracks of a pattern, the last one first; begun holds the tracks
// of the unit that follow a star, by what they match.
func (m *machine) add(u int32, g glob, begun map[string]int32) {
	after := dead // the position that a completed segment leads to
	for i := len(g) - 1; i >= 1; i-- {
		rest := append(glob{""}, g[i:]...)
		if rest.all() {
			after = certain
			continue
		}
		key := rest.String()
		t, ok := begun[key]
		if !ok {
			t = m.newTrack(u, rest, true)
			begun[key] = t
			m.fill(t, g[i], after, i == len(g)-1)
		}
		after = m.tracks[t].first
	}
	if g[0] == "" && len(g) > 1 {
		// The pattern begins with a star, and the track after it was made last.
		t := m.track[after]
		m.units[u].floats = true
		if !m.tracks[t].initial {
			m.tracks[t].initial = true
			m.tracks[t].gone = m.position(t, false)
			m.initial = append(m.initial, t)
		}
		return
	}
	t := m.newTrack(u, g, false)
	m.fill(t, g[0], after, len(g) == 1)
	m.anchored = append(m.anchored, m.tracks[t].first)
}

func (m *machine) newTrack(u int32, rest glob, floats bool) int32 {
	m.tracks = append(m.tracks, track{unit: u, rest: rest, sample: rest.sample(m.fresh), floats: floats})
	return int32(len(m.tracks) - 1)
}

// position appends a position that stays where it is.
func (m *machine) position(t int32, accepts bool) int32 {
	p := int32(len(m.track))
	m.track = append(m.track, t)
	m.accepts = append(m.accepts, accepts)
	m.relevant = append(m.relevant, classSet{})
	for range m.classes {
		m.next = append(m.next, p)
	}
	return p
}

// fill makes the positions of a track whose segment leads to after; the last
// segment of a pattern has one more position, which accepts.
func (m *machine) fill(t int32, segment string, after int32, last bool) {
	tr := &m.tracks[t]
	tr.first = int32(len(m.track))
	size := len(segment)
	if last {
		size++
	}
	fall := dead
	if tr.floats {
		fall = tr.first
	}
	if size == 0 { // a star after nothing: the pattern is handled by its caller
		panic("pattern: a segment between stars is empty")
	}
	border := 0 // where the position falls back to before it tries a byte
	for q := range size {
		p := m.position(t, last && q == len(segment))
		row := m.next[int(p)*m.classes : int(p+1)*m.classes]
		for c := range row {
			row[c] = fall
			if tr.floats && q > 0 {
				row[c] = m.next[(int(tr.first)+border)*m.classes+c]
			}
		}
		if q < len(segment) {
			c := int(m.class[segment[q]])
			if tr.floats && q > 0 {
				border = int(row[c] - tr.first)
			}
			row[c] = p + 1
			if !last && q == len(segment)-1 {
				row[c] = after
			}
		}
		for c, n := range row {
			if n != fall {
				m.relevant[p].set(c)
			}
		}
	}
}

// prepare finds what a track supersedes when it begins, and reports whether
// that is new. A position is superseded if all that matches from there also
// matches from the start of the new track. Then so are the ones before it:
// what they have to spell first only puts bytes before, and a star takes them.
func (m *machine) prepare(new int32) bool {
	y := &m.tracks[new]
	if y.covers != nil {
		return false
	}
	y.covers = make([]int32, len(m.tracks))
	if !m.hasFresh {
		return true
	}
	for old := range m.tracks {
		t := &m.tracks[old]
		if t.unit != y.unit || !t.floats || int32(old) == new || !y.rest.match(t.sample) {
			continue
		}
		q := 0
		for q < len(t.rest[1]) && y.rest.match(t.sample[1+q+1:]) {
			q++
		}
		y.covers[old] = t.first + int32(q) + 1
		if t.initial {
			y.drops = append(y.drops, int32(old))
		}
	}
	return true
}
