package pattern

import (
	"math/bits"
	"strconv"
	"strings"
)

// Bits is a set of small numbers. Sets of different length may be equal: use
// Equal or Key to compare.
type Bits []uint64

// Has reports whether i is in the set.
func (b Bits) Has(i int) bool { return i/64 < len(b) && b[i/64]>>(i%64)&1 != 0 }

// Set adds i, growing the set.
func (b *Bits) Set(i int) {
	for len(*b) <= i/64 {
		*b = append(*b, 0)
	}
	(*b)[i/64] |= 1 << (i % 64)
}

// Add adds every number of c, growing the set.
func (b *Bits) Add(c Bits) {
	for len(*b) < len(c) {
		*b = append(*b, 0)
	}
	for i, w := range c {
		(*b)[i] |= w
	}
}

// Count is how many numbers are in the set.
func (b Bits) Count() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

// Members lists the set, ascending.
func (b Bits) Members() []int {
	var list []int
	for i, w := range b {
		for ; w != 0; w &= w - 1 {
			list = append(list, i*64+bits.TrailingZeros64(w))
		}
	}
	return list
}

// Equal reports whether b and c hold the same numbers.
func (b Bits) Equal(c Bits) bool { return b.Key() == c.Key() }

// Key is equal for equal sets, and only for them.
func (b Bits) Key() string {
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	out := make([]byte, 0, 8*len(b))
	for _, w := range b {
		for range 8 {
			out = append(out, byte(w))
			w >>= 8
		}
	}
	return string(out)
}

// String returns, for example, {0 3 7}.
func (b Bits) String() string {
	list := b.Members()
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return "{" + strings.Join(words, " ") + "}"
}
