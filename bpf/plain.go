package bpf

import "strings"

// advice is what the library adds to every EPERM, for its callers; those do it
// already, and have advice of their own.
const advice = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// plainError is an error of the library without that.
type plainError struct{ error }

func (e plainError) Error() string { return strings.ReplaceAll(e.error.Error(), advice, "") }
func (e plainError) Unwrap() error { return e.error }

// plain takes the library's advice from an error.
func plain(err error) error {
	if err == nil {
		return nil
	}
	return plainError{err}
}
