package bpf

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// equalTable is one with nothing but a header, whose seed tells it from others.
func equalTable(seed uint64) []uint64 {
	words := make([]uint64, abi.HdrWords)
	words[abi.HdrMagic], words[abi.HdrSize], words[abi.HdrSeed] = abi.TableMagic, uint64(len(words)), seed
	return words
}

// Workloads with equal tables share one, and none of them loses it by what becomes of
// another.
func TestEqualTablesAreOne(t *testing.T) {
	e := retirer(t)
	const n = 2000
	ids := make([]uint32, n)
	used := func(tables int) {
		t.Helper()
		if got := e.Used(); got != tables*abi.HdrWords {
			t.Fatalf("%d words are used, want %d tables of %d", got, tables, abi.HdrWords)
		}
	}
	install := func(id uint32, seed uint64) {
		t.Helper()
		if _, err := e.Install(id, equalTable(seed), abi.Enforce); err != nil {
			t.Fatal(err)
		}
	}
	has := func(id uint32, seed uint64) {
		t.Helper()
		if words, err := e.Table(id); err != nil || !slices.Equal(words, equalTable(seed)) {
			t.Fatalf("workload %d: table %x, %v; want seed %d", id, words, err, seed)
		}
	}
	for i := range ids {
		var err error
		if ids[i], err = e.Claim(fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids[:20] {
		install(id, 1)
	}
	used(1)
	install(ids[0], 2)
	used(2)
	has(ids[0], 2)
	has(ids[1], 1)
	install(ids[1], 2)
	used(2)
	for _, id := range ids[2:20] {
		install(id, 2)
	}
	used(1) // nobody has the first
	install(ids[20], 3)
	used(2) // where that was, perhaps
	for _, id := range ids[:19] {
		if err := e.Release(id); err != nil {
			t.Fatal(err)
		}
	}
	used(2)
	has(ids[19], 2)
	has(ids[20], 3)
	if err := e.recover("here"); err != nil { // as the next agent finds them
		t.Fatal(err)
	}
	used(2)
	has(ids[19], 2)
	if err := e.Release(ids[19]); err != nil {
		t.Fatal(err)
	}
	used(1)
	list, err := e.Workloads()
	if err != nil || len(list) != n-20 {
		t.Fatalf("%d workloads, %v", len(list), err)
	}
}
