package bpf

import (
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// readsClock reports whether verdicts of a table depend on the time.
func readsClock(words []uint64) bool {
	for d := range abi.NumDims {
		if i := abi.HdrDims + int(d); d.Fact().Of.Fact().Clock && i < len(words) && words[i] != 0 {
			return true
		}
	}
	return false
}

// SyncClock tells the programs how far CLOCK_TAI, the only clock of the day that
// they can read, is from UTC. Setting the clock moves both; the distance changes
// when somebody, such as an NTP daemon, sets it, or with a leap second. So call
// this once a second where plans test the time.
func (s *store) SyncClock() error {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	if err == nil {
		err = fault.At("bpf.tai-offset")
	}
	if err == nil {
		err = s.maps["tai_offset"].Update(uint32(0), int64(t.Tai)*1_000_000_000, ebpf.UpdateAny)
	}
	if err != nil {
		return fmt.Errorf("clock: distance of TAI from UTC: %w: conditions on the time keep the last one known; run as root", err)
	}
	return nil
}
