package daemon

import (
	"fmt"
	"io"
	"slices"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/sink"
)

// open opens the log and the sinks of a staged workload, see openLog.
func (s *staged) open(std io.Writer) error {
	log, err := openLog(s.declared.Log, std)
	if err != nil {
		return s.declared.Errorf("log", "%w", err)
	}
	s.sinks = &sink.Fan{First: log}
	for i, one := range s.declared.Sinks {
		err := sink.CheckKind(one.Kind)
		if slices.Contains(s.declared.Sinks[:i], one) {
			err = fmt.Errorf("sink %s %s: twice: nothing is changed; leave one out", one.Kind, one.Argument)
		}
		if err == nil && std != nil {
			var q *sink.Queue
			if q, err = sink.Open(one.Kind, one.Argument, s.declared.Dir()); err == nil {
				s.sinks.Others = append(s.sinks.Others, q)
				err = s.sinks.Others.Check(log)
			}
		}
		if err != nil {
			s.close()
			return s.declared.Errorf(config.SinkKey(i), "%w", err)
		}
	}
	return nil
}

// close closes what was opened for a change that is not made.
func (s *staged) close() {
	if s.sinks != nil {
		s.sinks.Discard()
	}
}

// sinkStatus says what became of denials at the sinks beside the log.
func (w *workload) sinkStatus() []api.Sink {
	var list []api.Sink
	for _, c := range w.outlet.counts() {
		list = append(list, api.Sink{Name: c.Name, Taken: c.Taken, Lost: c.Lost, Error: c.Error})
	}
	return list
}
