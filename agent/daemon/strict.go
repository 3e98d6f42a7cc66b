package daemon

import (
	"errors"
	"slices"

	"github.com/stockade-dev/stockade/agent/config"
)

// strictFor refuses a strict workload where no hook would make it so.
func (k *keeper) strictFor(declared *config.Workload) error {
	if !declared.Strict || k.kernel == nil || k.kernel.Strict() {
		return nil
	}
	return declared.Errorf("strict", "strict: the pinned set has no hooks for it: nothing is changed; write `strict: true` for the whole agent, too, end the workloads, run `stockade uninstall` and start again")
}

// checkStrict is strictFor for what was staged before the kernel side was there. Containers
// whose template is broken by it stay as they are.
func (k *keeper) checkStrict(d *draft) error {
	var errs []error
	for _, t := range d.templates {
		if err := k.strictFor(&t.Workload); err != nil && t.Apart {
			t.broken = err
		} else {
			errs = append(errs, err)
		}
	}
	d.list = slices.DeleteFunc(d.list, func(s *staged) bool {
		err := k.strictFor(s.declared)
		if of := s.memory.Container; err != nil && of != nil && templateNamed(d.templates, of.Template).broken != nil {
			s.close()
			return true
		}
		errs = append(errs, err)
		return false
	})
	return errors.Join(errs...)
}
