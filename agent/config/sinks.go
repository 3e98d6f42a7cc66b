package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/stockade-dev/stockade/agent/sink"
)

// sinks takes mappings of one kind each to its argument. The place of each is kept.
func (d *decoder) sinks(n *yaml.Node, w *Workload) error {
	return d.list(n, "sinks", func(item *yaml.Node) error {
		if item.Kind != yaml.MappingNode || len(item.Content) != 2 {
			return d.at(item).errorf(d.file, "sinks: an item that is not KIND: ARGUMENT: nothing is changed; for example json: /var/log/x.jsonl")
		}
		s := Sink{Kind: item.Content[0].Value}
		d.key = s.Kind
		err := d.text(item.Content[1], &s.Argument)
		w.lines[SinkKey(len(w.Sinks))] = d.at(item)
		w.Sinks = append(w.Sinks, s)
		return err
	})
}

// checkSinks refuses a sink that writes to the file of the log, or of another. Who opens
// them sees it too; who only checks the configuration opens none.
func (w *Workload) checkSinks() error {
	for i, s := range w.Sinks {
		file := w.fileOf(s)
		if file == "" {
			continue
		}
		same := w.Log.File != "" && sink.SameFile(file, w.Log.File)
		for _, other := range w.Sinks[:i] {
			if s == other { // twice: said where kinds are looked at
				continue
			}
			to := w.fileOf(other)
			same = same || to != "" && sink.SameFile(file, to)
		}
		if same {
			return w.Errorf(SinkKey(i), "sink %s %s: writes to the file of the log or of another sink: nothing is changed; name another file", s.Kind, s.Argument)
		}
	}
	return nil
}

func (w *Workload) fileOf(s Sink) string { return sink.FileOf(s.Kind, s.Argument, w.Dir()) }
