package host

import "time"

// Clock keeps what the kernel's programs know of the time right while a
// workload runs.
type Clock struct {
	quit, done chan struct{}
	failed     error // the first failure; read it when done
}

// clockPeriod is how long conditions on the time may go by a distance of TAI
// from UTC that has just changed.
const clockPeriod = time.Second

// StartClock calls sync every clockPeriod.
func StartClock(sync func() error) *Clock {
	c := &Clock{quit: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(c.done)
		ticker := time.NewTicker(clockPeriod)
		defer ticker.Stop()
		for {
			select {
			case <-c.quit:
				return
			case <-ticker.C:
			}
			if err := sync(); c.failed == nil {
				c.failed = err
			}
		}
	}()
	return c
}

// Stop ends the keeping of the clock and returns its first failure.
func (c *Clock) Stop() error {
	close(c.quit)
	<-c.done
	return c.failed
}
