package gen

import (
	"math/rand/v2"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// witnesses bounds the strings of one dimension.
const witnesses = 400

// Witnesses makes n requests from what a table distinguishes, on top of what
// its policies name: strings that take its automata through their states and
// transitions, and numbers at its thresholds.
func (r *Reader) Witnesses(n int, like []abi.Request, random *rand.Rand) []abi.Request {
	var texts [abi.NumDims][]string
	var numbers [abi.NumDims][]int64
	for d := range abi.NumDims {
		at := r.low(24 + int(d))
		switch {
		case at == 0:
		case d.Numeric():
			for i := range r.low(at) {
				bound := int64(r.word(at + 1 + i))
				numbers[d] = append(numbers[d], bound-1, bound, bound+1)
			}
		default:
			texts[d] = r.strings(at, d, random)
		}
	}
	list := make([]abi.Request, n)
	for i := range list {
		list[i] = like[random.IntN(len(like))]
		combine(&list[i], &texts, &numbers, random)
	}
	return list
}

// combine replaces facts of a request.
func combine(q *abi.Request, texts *[abi.NumDims][]string, numbers *[abi.NumDims][]int64, random *rand.Rand) {
	text := func(d abi.Dim, s *string) {
		if len(texts[d]) > 0 && random.IntN(4) > 0 {
			*s = texts[d][random.IntN(len(texts[d]))]
		}
	}
	number := func(d abi.Dim, old, least, most int64) int64 {
		if len(numbers[d]) > 0 && random.IntN(4) > 0 {
			old = numbers[d][random.IntN(len(numbers[d]))]
		}
		return min(max(old, least), most)
	}
	text(abi.Dim(random.IntN(abi.NumGlobs)), &q.Path)
	for _, f := range abi.EachFact() {
		switch {
		case !f.Whole() || !f.Only.Has(q.Action) || f.Dim == abi.DimGlob0:
		case f.Number:
			f.SetValue(q, number(f.Dim, f.Value(q), f.Least, f.Most))
		default:
			s := f.Text(q)
			text(f.Dim, &s)
			f.SetText(q, s)
		}
	}
	if t := number(abi.DimDayTime, q.Now%day, 0, day-1); q.Now-q.Now%day+t <= maxNow {
		q.Now += t - q.Now%day
	}
	if q.Action != abi.Move {
		return
	}
	var dir, name string
	text(abi.DimDestDir, &dir)
	text(abi.DimDestName, &name)
	if (dir != "" || name != "") && random.IntN(2) == 0 {
		slash := strings.LastIndexByte(q.Dest, '/')
		if dir == "" {
			dir = q.Dest[:max(slash, 0)]
		}
		if name == "" || strings.Contains(name, "/") {
			name = q.Dest[slash+1:]
		}
		q.Dest = join(clean(dir), name)
	}
	if q.Dest = clean(q.Dest); q.Dest == "/" {
		q.Dest = "/a"
	}
}

// strings lists strings that take an automaton along each of its transitions,
// as far as its dimension can read them.
func (r *Reader) strings(at int, d abi.Dim, random *rand.Rand) []string {
	states, classes := r.low(at), r.high(at)
	bytes := make([]byte, classes) // one of each class
	for b := 255; b > 0; b-- {
		class := int(r.word(at+1+b/8) >> (b % 8 * 8) & 0xff)
		if old := bytes[class]; old < 'a' || old > 'z' || b >= 'a' && b <= 'z' {
			bytes[class] = byte(b)
		}
	}
	to := make([]*string, states)
	empty := ""
	to[0] = &empty
	var list []string
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		prefix := *to[queue[0]]
		for class, b := range bytes {
			s := prefix + string([]byte{b})
			next := r.packed(at+33+(states+3)/4, queue[0]*classes+class)
			if b == 0 || !begins(d, s) || next >= states {
				continue
			}
			if to[next] == nil {
				to[next] = &s
				queue = append(queue, next)
			}
			if whole(d, s) {
				list = append(list, s)
			}
		}
	}
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(len(list), witnesses)]
}

// begins reports whether what a dimension reads can begin with s.
func begins(d abi.Dim, s string) bool {
	switch {
	case d == abi.DimDestName:
		return len(s) <= abi.MaxName && !strings.Contains(s, "/")
	case !d.Fact().Path:
		return len(s) <= abi.MaxName
	}
	return s[0] == '/' && !strings.Contains(s, "//")
}

// whole reports whether a dimension can read s.
func whole(d abi.Dim, s string) bool {
	switch {
	case d == abi.DimDestName:
		return s != "." && s != ".."
	case !d.Fact().Path:
		return true
	}
	return clean(s) == s
}
