//go:build !faults

package fault

// At does nothing: this build has no faults.
func At(string) error { return nil }

// Leaves reports false: this build loads everything.
func Leaves(string) bool { return false }
