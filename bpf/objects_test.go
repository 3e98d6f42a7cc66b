package bpf

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestObjectsSumIsTheirs: a stale sum would let a build adopt what other code made.
func TestObjectsSumIsTheirs(t *testing.T) {
	list := append(slices.Clone(objects), object{name: "walk", code: _WalkBytes})
	slices.SortFunc(list, func(a, b object) int { return strings.Compare(a.name, b.name) })
	h := sha256.New()
	for _, obj := range list {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(obj.code))))
		h.Write(obj.code)
	}
	if sum := fmt.Sprintf("%x", h.Sum(nil)); sum != objectsSum {
		t.Errorf("the sum is %s, the objects have %s: run make generate", objectsSum, sum)
	}
}
