package config

import (
	"go.yaml.in/yaml/v3"

	"github.com/stockade-dev/stockade/agent/tripwire"
)

// budget reads what a workload is responded to for.
func (d *decoder) budget(n *yaml.Node, to **tripwire.Budget) error {
	b := &tripwire.Budget{}
	err := d.mapping(n, "responses", fields{
		"denials": func(v *yaml.Node) error { return d.rate(v, &b.Rate) },
		"respond": func(v *yaml.Node) error { return d.choice(v, &b.Respond, "lockdown", "freeze", "kill") },
	}, nil)
	if err != nil {
		return err
	}
	if b.N == 0 || b.Respond == "" {
		return d.at(n).errorf(d.file, "responses: denials or respond is missing: nothing is changed; write both, for example {denials: 1000 in 10s, respond: freeze}")
	}
	*to = b
	return nil
}

// rate reads a number of things in a time.
func (d *decoder) rate(n *yaml.Node, to *tripwire.Rate) error {
	var text string
	err := d.text(n, &text)
	if err != nil {
		return err
	}
	if *to, err = tripwire.ParseRate(text); err != nil {
		return d.at(n).errorf(d.file, "%s: %w: nothing is changed", d.key, err)
	}
	return nil
}
