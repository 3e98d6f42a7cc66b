package abi

// Request is one question: may the workload do Action to the resource Path?
// Path is absolute and normalised.
type Request struct {
	Action Action
	Kind   Kind
	Path   string
	Facts
}
