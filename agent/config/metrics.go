package config

import (
	"net/netip"

	"go.yaml.in/yaml/v3"
)

// metrics reads where figures are served beside the socket.
func (d *decoder) metrics(n *yaml.Node, to *string) error {
	err := d.mapping(n, "metrics", fields{"listen": func(v *yaml.Node) error { return d.address(v, to) }}, nil)
	if err == nil && *to == "" {
		err = d.at(n).errorf(d.file, "metrics: empty: nothing is changed; write `listen: 127.0.0.1:9464`, or leave metrics out: the socket serves them in any case")
	}
	return err
}

// address reads a numeric address and a port: a name may come to mean another
// host, and no address at all means every one of this host.
func (d *decoder) address(n *yaml.Node, to *string) error {
	var text string
	if err := d.text(n, &text); err != nil {
		return err
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return d.at(n).errorf(d.file, "%s %q: not a numeric address and a port: nothing is changed; write for example 127.0.0.1:9464, or [::1]:9464", d.key, text)
	}
	*to = at.String()
	return nil
}

// yes reads true or false.
func (d *decoder) yes(n *yaml.Node, to *bool) error {
	var text string
	err := d.choice(n, &text, "true", "false")
	*to = text == "true"
	return err
}
