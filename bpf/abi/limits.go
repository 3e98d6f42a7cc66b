package abi

// Limits of one path walk and one plan. Twin: bpf/kern/limits.h.
const (
	// MaxComponents is the deepest path the walk follows; a deeper one is
	// denied with ReasonTooDeep.
	MaxComponents = 128
	// MaxName is the longest component in bytes (NAME_MAX).
	MaxName = 255
	// MaxPath is the longest path, in bytes, that an event or a policy holds.
	MaxPath = 4096
	// InlineName is the longest component that a table slot holds itself.
	InlineName = 16
	// MaxClasses is the most verdict classes, decision nodes included, that one
	// plan may have.
	MaxClasses = 1 << 16
	// MaxThresholds is the most bounds that a plan may set on one number, such
	// as the user id.
	MaxThresholds = 1024
	// MaxImage is the most bytes of arguments and environment that are compared
	// with those that were judged.
	MaxImage = 128 << 10
	// MaxWorkloads is the most workloads one set of maps can hold.
	MaxWorkloads = 4096
)
