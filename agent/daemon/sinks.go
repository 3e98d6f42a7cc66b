package daemon

import (
	"fmt"
	"io"
	"slices"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/sink"
)

// open opens the log and the sinks of a staged workload; std stands in where no log is
// named. With std nil nothing is opened: the configuration is only looked at.
func (s *staged) open(std io.Writer) error {
	log := s.declared.Log
	s.sinks = &sink.Fan{First: sink.NewFile(std, log.JSON)}
	if log.File != "" && std != nil {
		file, err := sink.OpenLog(log.File, log.JSON)
		if err != nil {
			return s.declared.Errorf("log", "log: %w", err)
		}
		s.sinks.First = file
	}
	for i, one := range s.declared.Sinks {
		err := sink.CheckKind(one.Kind)
		if slices.Contains(s.declared.Sinks[:i], one) {
			err = fmt.Errorf("sink %s %s: twice: nothing is changed; leave one out", one.Kind, one.Argument)
		}
		if err == nil && std != nil {
			var q *sink.Queue
			if q, err = sink.Open(one.Kind, one.Argument, s.declared.Dir()); err == nil {
				s.sinks.Others = append(s.sinks.Others, q)
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
		_ = s.sinks.Close()
	}
}

// sinkStatus says what became of denials at the sinks beside the log.
func (w *workload) sinkStatus() []api.Sink {
	if w.sinks == nil {
		return nil
	}
	var list []api.Sink
	for _, c := range w.sinks.Others.Counts() {
		list = append(list, api.Sink{Name: c.Name, Taken: c.Taken, Lost: c.Lost, Error: c.Error})
	}
	return list
}
