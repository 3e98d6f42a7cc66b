package pattern

import "slices"

// interner numbers different lists of numbers, in the order of their arrival.
// All stand in one array.
type interner struct {
	data  []int32
	ends  []int // data[ends[i]:ends[i+1]] is list i
	slots []int32
	mask  uint32
}

func (t *interner) init() {
	t.ends = append(t.ends[:0], 0)
	t.slots = make([]int32, 1<<10)
	t.mask = 1<<10 - 1
}

func (t *interner) len() int { return len(t.ends) - 1 }

func (t *interner) get(i int) []int32 { return t.data[t.ends[i]:t.ends[i+1]:t.ends[i+1]] }

// add returns the number of list, and whether it is new.
func (t *interner) add(list []int32) (int32, bool) {
	h := hash(list) & t.mask
	for ; t.slots[h] != 0; h = (h + 1) & t.mask {
		if i := t.slots[h] - 1; slices.Equal(t.get(int(i)), list) {
			return i, false
		}
	}
	i := int32(t.len())
	t.data = append(t.data, list...)
	t.ends = append(t.ends, len(t.data))
	t.slots[h] = i + 1
	if 2*t.len() > len(t.slots) {
		t.grow()
	}
	return i, true
}

func (t *interner) grow() {
	t.mask = t.mask<<1 | 1
	t.slots = make([]int32, t.mask+1)
	for i := range t.len() {
		h := hash(t.get(i)) & t.mask
		for ; t.slots[h] != 0; h = (h + 1) & t.mask {
		}
		t.slots[h] = int32(i) + 1
	}
}

func hash(list []int32) uint32 {
	h := uint64(len(list))
	for _, v := range list {
		h = (h ^ uint64(uint32(v))) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	return uint32(h)
}
