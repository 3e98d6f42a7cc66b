package bpf

import (
	"errors"
	"testing"
	"time"
	"unsafe"
)

// Images whose exec failed keep their slots for a while; another workload has some.
func TestImagesOfOneWorkloadLeaveRoomForOthers(t *testing.T) {
	words := make([]uint64, maxImages*unsafe.Sizeof(image{})/8) // aligned
	h := &Holds{e: &Enforcer{images: unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), len(words)*8)}}
	number := uint64(0)
	fill := func(workload uint32) (slots int) {
		for ; slots <= maxImages; slots++ {
			number++
			slot, err := h.fill(Answer{Number: number, Workload: workload, Image: &Image{Strings: []byte("a\x00")}})
			if errors.Is(err, errNoSlot) {
				return slots
			}
			if err != nil || h.image(slot).Number != uint32(number) {
				t.Fatal(err)
			}
		}
		t.Fatal("there is room without end")
		return slots
	}
	if a, b, c := fill(1), fill(2), fill(3); a != maxImages/2 || b != maxImages/4 || c != maxImages/8 {
		t.Errorf("%d, %d and %d images", a, b, c)
	}
	h.image(maxImages - 1).Number = 0 // taken by its exec
	h.taken[maxImages-2] = time.Now().Add(-slotAge)
	if n := fill(4); n != 3 {
		t.Errorf("%d images in 6 slots", n)
	}
}
