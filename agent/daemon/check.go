package daemon

import "github.com/stockade-dev/stockade/agent/config"

// Checked is what a configuration that is in order comes to.
type Checked struct {
	Workloads, Templates int
	Warnings             []string // positioned
}

// CheckConfig reads and checks a configuration with all the policies that it names.
// Nothing is changed.
func CheckConfig(file string) (c Checked, err error) {
	cfg, err := config.Read(file)
	if err != nil {
		return c, err
	}
	d := newDaemon(thisMachine, file, nil)
	checked, err := d.stage(cfg)
	if err != nil {
		return c, err
	}
	checked.close()
	return Checked{len(checked.list), len(checked.templates), checked.warnings()}, nil
}
