package abi

// Kind is the sort of a resource: its Cedar type. The numbers are wire format.
// Twin: enum kind in bpf/kern/abi.h.
type Kind uint8

// File is file_system::File, Dir is file_system::Dir. Kinds whose resources have a
// path come first.
const (
	File Kind = iota
	Dir

	NumKinds // not a kind: how many there are (at most MaxKinds)
)

// NumPaths is the number of kinds whose resources have a path.
const NumPaths = Dir + 1

// kinds has a row for each kind.
var kinds = [NumKinds]struct{ name, namespace, plural string }{
	File: {"File", "file_system", "files"},
	Dir:  {"Dir", "file_system", "directories"},
}

// String returns the name, for example "File".
func (k Kind) String() string {
	if k < NumKinds {
		return kinds[k].name
	}
	return kinds[File].name
}

// Type returns the Cedar entity type, for example "file_system::File".
func (k Kind) Type() string { return kinds[k].namespace + "::" + kinds[k].name }

// ParseKind finds the kind with a Cedar entity type.
func ParseKind(typ string) (Kind, bool) {
	for k := range NumKinds {
		if k.Type() == typ {
			return k, true
		}
	}
	return 0, false
}

// Plural names several, for example "files".
func (k Kind) Plural() string { return kinds[k].plural }

// Masks are sets of actions, one for each kind of resource.
type Masks [NumKinds]ActionMask

// All has the actions that are in the set of every kind of path.
func (m Masks) All() ActionMask {
	all := ^ActionMask(0)
	for k := range NumPaths {
		all &= m[k]
	}
	return all
}

// Any has the actions that are in the set of some kind of path.
func (m Masks) Any() ActionMask {
	var some ActionMask
	for k := range NumPaths {
		some |= m[k]
	}
	return some
}

// Each makes a value for each kind.
func Each[T any](of func(Kind) T) (list [NumKinds]T) {
	for k := range NumKinds {
		list[k] = of(k)
	}
	return list
}
