package host

import (
	"errors"
	"testing"
	"time"
)

func TestClockIsKeptUntilItIsStopped(t *testing.T) {
	calls := make(chan bool, 100)
	c := StartClock(func() error { calls <- true; return errors.New("no clock") })
	select {
	case <-calls:
	case <-time.After(10 * clockPeriod):
		t.Error("the clock is not kept")
	}
	if err := c.Stop(); err == nil {
		t.Error("the failure is lost")
	}
	for len(calls) > 0 {
		<-calls
	}
	time.Sleep(2 * clockPeriod)
	if len(calls) > 0 {
		t.Error("the clock is kept after its end")
	}
}
