package delivery

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWallTimeOfNowIsNow(t *testing.T) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(wallTime(uint64(ts.Nano()))).Abs(); d > 100*time.Millisecond {
		t.Errorf("off by %v", d)
	}
}
