package daemon

import "github.com/stockade-dev/stockade/agent/config"

// CheckConfig reads and checks a configuration with all the policies that it
// names, and returns how many workloads it declares. Nothing is changed.
func CheckConfig(file string) (workloads int, err error) {
	cfg, err := config.Read(file)
	if err != nil {
		return 0, err
	}
	d := newDaemon(thisMachine, file, nil)
	checked, err := d.stage(cfg)
	if err != nil {
		return 0, err
	}
	checked.close()
	return len(checked.list), nil
}
