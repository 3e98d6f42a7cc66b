package daemon

import (
	"fmt"
	"io"
	"sync"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/sink"
)

// outlet is where denials go. It can be changed while they come.
type outlet struct {
	using sync.RWMutex // held while one is handed over; no other lock is taken under it
	fan   *sink.Fan    // nil: nowhere
}

// open reports whether denials go anywhere.
func (o *outlet) open() bool {
	o.using.RLock()
	defer o.using.RUnlock()
	return o.fan != nil
}

// Event hands one denial over.
func (o *outlet) Event(e *sink.Event) error {
	o.using.RLock()
	defer o.using.RUnlock()
	return o.fan.Event(e)
}

// turn has denials go to another fan. The one before is closed once nobody uses it, and
// what became of denials there is counted on.
func (o *outlet) turn(to *sink.Fan) {
	o.using.Lock()
	old := o.fan
	o.fan = to
	o.using.Unlock()
	if old != nil {
		_ = old.Close()
		to.Others.Continue(old.Others)
	}
}

// counts says what became of denials at the sinks beside the log.
func (o *outlet) counts() []sink.Counts {
	o.using.RLock()
	defer o.using.RUnlock()
	if o.fan == nil {
		return nil
	}
	return o.fan.Others.Counts()
}

// close hands over what waits.
func (o *outlet) close() error {
	o.using.RLock()
	defer o.using.RUnlock()
	if o.fan == nil {
		return nil
	}
	return o.fan.Close()
}

// openLog opens a log; std stands in where no file is named. With std nil nothing is
// opened: the configuration is only looked at.
func openLog(log config.Log, std io.Writer) (*sink.File, error) {
	if log.File == "" || std == nil {
		return sink.NewFile(std, sink.Format{JSON: log.JSON, Named: true}), nil
	}
	file, err := sink.OpenLog(log.File, sink.Format{JSON: log.JSON})
	if err != nil {
		return nil, fmt.Errorf("log: %w", err)
	}
	return file, nil
}
