package bpf

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// writer puts denials on a ring, as the programs do.
type writer struct {
	t      *testing.T
	set    *Enforcer
	text   *ebpf.Map
	output *ebpf.Program
	seq    uint64
}

func newWriter(t *testing.T) *writer {
	t.Helper()
	make := func(spec *ebpf.MapSpec) *ebpf.Map {
		m, err := ebpf.NewMap(spec)
		if errors.Is(err, os.ErrPermission) && os.Getenv("STOCKADE_STRICT") == "" {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	w := &writer{t: t}
	w.text = make(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: uint32(abi.EventHeader), MaxEntries: 1})
	events := make(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: uint32(os.Getpagesize())})
	registry, err := newRegistry()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Close() })
	s := &store{}
	if s.registry, err = mapMemory(registry); err != nil {
		t.Fatal(err)
	}
	w.set = &Enforcer{maps: map[string]*ebpf.Map{"events": events}, store: s}
	w.output, err = ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.Syscall, Flags: unix.BPF_F_SLEEPABLE, License: "Dual BSD/GPL", Instructions: asm.Instructions{
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, w.text.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "none"),
		asm.Mov.Reg(asm.R2, asm.R0),
		asm.LoadMapPtr(asm.R1, events.FD()),
		asm.Mov.Imm(asm.R3, int32(abi.EventHeader)),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRingbufOutput.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("none"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.output.Close() })
	return w
}

// write adds a denial of workload 1 and reports whether there was room.
func (w *writer) write() bool {
	w.t.Helper()
	w.seq++
	text := make([]byte, abi.EventHeader)
	binary.LittleEndian.PutUint64(text, w.seq)
	binary.LittleEndian.PutUint32(text[44:], 1) // the workload
	if err := w.text.Put(uint32(0), text); err != nil {
		w.t.Fatal(err)
	}
	ret, err := w.output.Run(&ebpf.RunOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return ret == 0
}

// open is what the next process does.
func (w *writer) open() *Events {
	w.t.Helper()
	v, err := w.set.Events()
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *writer) want(v *Events, seq uint64) {
	w.t.Helper()
	e, err := v.Read()
	if err != nil || e.Seq != seq || e.Workload != 1 {
		w.t.Fatalf("denial %d of workload %d, %v; want %d of 1", e.Seq, e.Workload, err, seq)
	}
}

func (w *writer) counted(delivered, lost uint64) {
	w.t.Helper()
	if r := w.set.store.record(1); r.Delivered != delivered || r.Lost != lost {
		w.t.Errorf("%d delivered, %d lost; want %d, %d", r.Delivered, r.Lost, delivered, lost)
	}
}

// TestDenialInTheHandsOfAKilledReaderIsReadAgain: readers that are never closed
// stand for processes that were killed.
func TestDenialInTheHandsOfAKilledReaderIsReadAgain(t *testing.T) {
	w := newWriter(t)
	for range 4 {
		w.write()
	}
	first := w.open()
	w.want(first, 1)
	w.set.Account(1, true)
	w.want(first, 2) // killed before it is counted
	w.counted(1, 0)
	second := w.open()
	w.want(second, 2)
	w.set.Account(1, false) // killed when it was counted, before its place is given back
	w.counted(1, 1)
	third := w.open()
	w.want(third, 3)

	// Killed between the seal and the count.
	e := w.set.store.entry()
	e.ID, e.Lost, e.Value, e.End = 1, 0, 2, w.set.store.taken.Load()
	w.counted(1, 1)
	fourth := w.open()
	w.counted(2, 1)
	w.want(fourth, 4)
	w.set.Account(1, true)
	w.counted(3, 1)
	if err := fourth.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := fourth.Read(); !errors.Is(err, ErrFlushed) {
		t.Errorf("flushed: %v", err)
	}
	fifth := w.open() // the entry is over: it is not applied again
	w.counted(3, 1)
	for _, v := range []*Events{first, second, third, fourth, fifth} {
		if err := v.Close(); err != nil {
			t.Error(err)
		}
		if _, err := v.Read(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	}
}

// TestRingGoesRound reads many times what the ring holds, and finds it full.
func TestRingGoesRound(t *testing.T) {
	w := newWriter(t)
	v := w.open()
	defer v.Close()
	read := uint64(0)
	for range 1000 {
		if !w.write() {
			t.Fatalf("no room for denial %d, %d were read", w.seq, read)
		}
		read++
		w.want(v, read)
	}
	for w.write() {
	}
	held := w.seq - 1 - read
	if most := uint64(os.Getpagesize() / (abi.EventHeader + recordHeader)); held == 0 || held > most {
		t.Errorf("the ring held %d, at most %d", held, most)
	}
	for range held {
		read++
		w.want(v, read)
	}
	if err := v.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Read(); !errors.Is(err, ErrFlushed) {
		t.Errorf("flushed: %v", err)
	}
}

// TestReadWaits: a denial that comes later wakes it, and so does the end.
func TestReadWaits(t *testing.T) {
	w := newWriter(t)
	v := w.open()
	written := make(chan struct{})
	time.AfterFunc(50*time.Millisecond, func() { w.write(); close(written) })
	w.want(v, 1)
	<-written
	closed := make(chan error)
	time.AfterFunc(50*time.Millisecond, func() { closed <- v.Close() })
	if _, err := v.Read(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
