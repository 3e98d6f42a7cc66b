// Package abi holds what the kernel side and user space share: action and
// verdict codes, limits and wire structures. Its C twin is bpf/kern/abi.h; a
// test compares the two through the BTF of the compiled objects.
package abi

import (
	"math/bits"
	"strings"
)

// Action is the code of one Cedar action that a kernel hook can decide.
// The code is the action's bit in an ActionMask.
type Action uint8

// The actions of the design's table of operations. Codes are wire format:
// append only.
const (
	Open Action = iota
	Read
	Write
	Create
	Delete
	Chmod
	Chown
	Touch
	SetXattr
	Stat
	Execute
	Map
	Move
	Mount
	Unmount
	Chroot
	Userns
	Trace
	Interrupt
	Kill
	ConnectUnix

	NumActions // not an action: how many there are (at most MaxActions)
)

var actionNames = [NumActions]string{
	Open: "open", Read: "read", Write: "write", Create: "create", Delete: "delete",
	Chmod: "chmod", Chown: "chown", Touch: "touch", SetXattr: "set_x_attr", Stat: "stat",
	Execute: "execute", Map: "map", Move: "move", Mount: "mount", Unmount: "unmount",
	Chroot: "chroot", Userns: "userns", Trace: "trace", Interrupt: "interrupt", Kill: "kill",
	ConnectUnix: "connect_unix",
}

// String returns the action's Cedar id, for example "set_x_attr".
func (a Action) String() string {
	if a < NumActions {
		return actionNames[a]
	}
	return "unknown"
}

// Type returns the Cedar entity type of the action, for example
// "file_system::Action".
func (a Action) Type() string {
	switch a {
	case Trace, Interrupt, Kill:
		return "process_system::Action"
	}
	return "file_system::Action"
}

// Cedar returns the action as Cedar text, for example
// file_system::Action::"read".
func (a Action) Cedar() string { return a.Type() + `::"` + a.String() + `"` }

// ParseAction finds the action with the given Cedar entity type and id.
func ParseAction(typ, id string) (Action, bool) {
	for a := Action(0); a < NumActions; a++ {
		if a.String() == id && a.Type() == typ {
			return a, true
		}
	}
	return 0, false
}

// ParseEnforced finds the action of files with the given id, if it can be enforced.
func ParseEnforced(id string) (Action, bool) {
	a, ok := ParseAction("file_system::Action", id)
	return a, ok && EnforcedActions.Has(a)
}

// ActionMask is a set of actions, one bit each.
type ActionMask uint64

// MaxActions is how many actions a mask has room for, beside what hooks ask with them.
const MaxActions = 60

// Masks used by the compiler and the hooks.
const (
	// PathActions are the actions whose resource is a path.
	PathActions = ActionMask(1)<<Trace - 1 | 1<<ConnectUnix
	// EnforcedActions are the actions that the hooks of this version can
	// decide. A policy on any other action compiles and is reported as not
	// enforced.
	EnforcedActions = ActionMask(1)<<Open | 1<<Read | 1<<Write | 1<<Create | 1<<Delete |
		1<<Chmod | 1<<Chown | 1<<Execute | 1<<Map | 1<<Move |
		1<<Touch | 1<<SetXattr | 1<<Stat | 1<<Mount | 1<<Unmount | 1<<Chroot | 1<<Userns |
		1<<ConnectUnix
	// DefaultActions are those that are handled unless told otherwise: stat is
	// asked for too often, and hides little, so it must be opted in.
	DefaultActions = EnforcedActions &^ (1 << Stat)
)

// MaskOf returns the set of the given actions.
func MaskOf(actions ...Action) ActionMask {
	var m ActionMask
	for _, a := range actions {
		m |= 1 << a
	}
	return m
}

// Has reports whether a is in the set.
func (m ActionMask) Has(a Action) bool { return m>>a&1 == 1 }

// Actions lists the set in code order.
func (m ActionMask) Actions() []Action {
	list := make([]Action, 0, bits.OnesCount64(uint64(m)))
	for a := Action(0); a < NumActions; a++ {
		if m.Has(a) {
			list = append(list, a)
		}
	}
	return list
}

// String joins the action ids with commas.
func (m ActionMask) String() string {
	names := make([]string, 0, NumActions)
	for _, a := range m.Actions() {
		names = append(names, a.String())
	}
	return strings.Join(names, ",")
}

// Verdict is the answer to one request.
type Verdict uint8

// Deny is zero so that forgotten memory denies.
const (
	Deny Verdict = iota
	Allow
	Ask
)

// String returns "deny", "allow" or "ask".
func (v Verdict) String() string {
	switch v {
	case Allow:
		return "allow"
	case Ask:
		return "ask"
	}
	return "deny"
}
