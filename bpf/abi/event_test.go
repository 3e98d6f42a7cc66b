package abi

import (
	"encoding/binary"
	"testing"
)

func record(w wireEvent, tail string) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, w)
	if err != nil {
		panic(err)
	}
	return append(b, tail...)
}

func TestDecodeEventUnwindsPaths(t *testing.T) {
	w := wireEvent{Seq: 7, Missing: 3, PathStatus: uint8(PathOK), DestStatus: uint8(PathOutside), ExeStatus: uint8(PathCut),
		PathLen: 6, DestLen: 2, ExeLen: 4, XattrLen: 6, Now: 1 << 40, EUID: 5}
	copy(w.Comm[:], "cat")
	e, err := DecodeEvent(record(w, "ab\x00cd\x00x\x00sh\x00\x00user.x"))
	if err != nil {
		t.Fatal(err)
	}
	if e.Path != "/cd/ab" || e.Dest != "(outside)/x" || e.Exe != "...//sh" || e.Comm != "cat" || e.Missing.String() != "open,read" ||
		e.Xattr != "user.x" || e.Now != 1<<40 || e.EUID != 5 {
		t.Errorf("%+v", e)
	}
}

func TestDecodeEventOfTheRootPath(t *testing.T) {
	e, err := DecodeEvent(record(wireEvent{PathStatus: uint8(PathOK)}, ""))
	if err != nil || e.Path != "/" {
		t.Errorf("%q %v", e.Path, err)
	}
}

func TestDecodeEventRefusesShortRecords(t *testing.T) {
	if _, err := DecodeEvent(make([]byte, EventHeader-1)); err == nil {
		t.Error("a cut header was decoded")
	}
	if _, err := DecodeEvent(record(wireEvent{PathLen: 5}, "abc\x00")); err == nil {
		t.Error("a cut path was decoded")
	}
	if _, err := DecodeEvent(record(wireEvent{PathLen: 1 << 31, DestLen: 1 << 31}, "")); err == nil {
		t.Error("lengths that overflow were decoded")
	}
}

func FuzzDecodeEvent(f *testing.F) {
	f.Add(record(wireEvent{PathStatus: 1, PathLen: 2}, "a\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, err := DecodeEvent(raw); err == nil {
			_ = e.Reason.String() + e.Boundary.String() + e.Action.String() + e.Mode.String()
		}
	})
}

func TestActionsRoundTrip(t *testing.T) {
	for a := Action(0); a < NumActions; a++ {
		if got, ok := ParseAction(a.Type(), a.String()); !ok || got != a {
			t.Errorf("%s parses as %v", a.Cedar(), got)
		}
	}
	if _, ok := ParseAction("file_system::Action", "raed"); ok {
		t.Error("an unknown action was parsed")
	}
}
