package daemon

import (
	"errors"
	"slices"
)

// checkStrict is hooksForStrict for what was staged before the kernel side was there.
// Containers whose template a program wrote, and which is broken by it, stay as they are.
func (k *keeper) checkStrict(d *draft) error {
	var errs []error
	for _, t := range d.templates {
		if err := k.hooksForStrict(&t.Workload); err != nil && t.Apart {
			t.broken = err
		} else {
			errs = append(errs, err)
		}
	}
	d.list = slices.DeleteFunc(d.list, func(s *staged) bool {
		err := k.hooksForStrict(s.declared)
		if of := s.memory.Container; err != nil && of != nil && templateNamed(d.templates, of.Template).broken != nil {
			s.close()
			return true
		}
		errs = append(errs, err)
		return false
	})
	return errors.Join(errs...)
}
