package abi

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// capabilities are the names of capability.h, without CAP_, by number.
var capabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
	"SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// never are those that no workload can be granted: they would end enforcement, or
// change the machine for all. Twin: CAPS_NEVER in bpf/kern/capability.h.
var never = []string{"SYS_MODULE", "SYS_RAWIO", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "AUDIT_CONTROL", "MAC_OVERRIDE", "MAC_ADMIN", "PERFMON", "BPF"}

// always are those that every workload has. Twin: CAPS_ALWAYS.
var always = []string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "SETFCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "SYS_CHROOT", "SYS_PTRACE", "MKNOD", "LEASE"}

// CapabilityName returns the name of a capability, without CAP_.
func CapabilityName(number uint32) string {
	if int(number) < len(capabilities) {
		return capabilities[number]
	}
	return fmt.Sprint(number)
}

// What keeps a name from being that of a grant.
var (
	errNoCapability = errors.New("no capability")
	errNever        = errors.New("never granted, it would end enforcement, or change the machine for all")
)

// SysTime is the bit of SYS_TIME, a grant of which has no effect where policies
// read the clock. Twin: granted in bpf/kern/capability.h.
const SysTime uint64 = 1 << 25

// ParseCapability returns the bit of a capability that a workload can be granted.
// Names may be small and begin with CAP_. The error says what is wrong with the name,
// and no more.
func ParseCapability(name string) (uint64, error) {
	plain := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
	i := slices.Index(capabilities[:], plain)
	if i < 0 {
		return 0, errNoCapability
	}
	if slices.Contains(never, plain) {
		return 0, errNever
	}
	return 1 << i, nil
}

// Grantable is the mask of the capabilities that a grant can hold.
func Grantable() uint64 { return maskOf(capabilities[:]) &^ maskOf(never) }

// CapabilityNames lists those to which a grant adds something.
func CapabilityNames() []string {
	return slices.DeleteFunc(slices.Clone(capabilities[:]), func(name string) bool {
		return slices.Contains(never, name) || slices.Contains(always, name)
	})
}

func maskOf(names []string) (mask uint64) {
	for _, name := range names {
		mask |= 1 << slices.Index(capabilities[:], name)
	}
	return mask
}
