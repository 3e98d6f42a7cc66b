package table

import "fmt"

// hash is the twin of edge_hash in bpf/kern/match.h. Slots compare every byte,
// so it need only spread what the policy's author wrote: a crafted name costs
// an attacker's lookup two buckets like any other.
func hash(seed uint64, parent int, length int, words []uint64) uint64 {
	// The product keeps the parent's number and the name apart: one XOR of both
	// would give many pairs of them one hash under every seed.
	h := (seed ^ pair(parent, length)) * 0x9E3779B97F4A7C15
	for _, w := range words {
		h = (h ^ w) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	// The last word's high bytes reach the low half only here: without this
	// step the two buckets of such names would be a fixed pair.
	h *= 0xD6E8FEB86659FD93
	return h ^ h>>32
}

// bucketsOf returns the two buckets where an edge may stand.
func bucketsOf(h uint64, buckets int) (int, int) {
	n := uint64(buckets)
	return int(uint64(uint32(h)) * n >> 32), int((h >> 32) * n >> 32)
}

type cuckoo struct {
	seed    uint64
	buckets int
	slots   []*node
}

const (
	seedsPerSize = 8
	maxGrowth    = 32
)

// place2 finds a bucket for every node: two choices, two slots each, at most
// 80 % full. The same nodes always get the same places.
func place2(nodes []*node) (*cuckoo, error) {
	size := max(1, (len(nodes)*10+15)/16)
	seed := uint64(0x5354_4f43_4b41_4445)
	for range maxGrowth {
		for range seedsPerSize {
			c := &cuckoo{seed: seed, buckets: size, slots: make([]*node, size*bucketSlots)}
			if c.fill(nodes) {
				return c, nil
			}
			seed = seed*6364136223846793005 + 1442695040888963407
		}
		size += size/8 + 1
	}
	return nil, fmt.Errorf("policy table: %d path components found no place: nothing is installed; please report the policy set", len(nodes))
}

func (c *cuckoo) fill(nodes []*node) bool {
	type home struct{ one, two int }
	homes := make(map[*node]home, len(nodes))
	for _, n := range nodes {
		one, two := bucketsOf(hash(c.seed, n.parent.id, len(n.name), nameWords(n.name)), c.buckets)
		homes[n] = home{one, two}
	}
	dice := c.seed
	for _, n := range nodes {
		b := homes[n].one
		for kicks := 0; ; kicks++ {
			if c.put(homes[n].one, n) || c.put(homes[n].two, n) {
				break
			}
			if kicks == 500 {
				return false
			}
			// Evict one slot of the bucket, and send the victim to its other
			// bucket, where the next round begins. In turn would go round in
			// circles; dice that the seed decides do not.
			dice = dice*6364136223846793005 + 1442695040888963407
			s := b*bucketSlots + int(dice>>63)
			n, c.slots[s] = c.slots[s], n
			if h := homes[n]; h.one == b {
				b = h.two
			} else {
				b = h.one
			}
		}
	}
	return true
}

func (c *cuckoo) put(bucket int, n *node) bool {
	for s := bucket * bucketSlots; s < (bucket+1)*bucketSlots; s++ {
		if c.slots[s] == nil {
			c.slots[s] = n
			return true
		}
	}
	return false
}
