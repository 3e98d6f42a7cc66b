/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which capabilities a confined task may use. A capability is asked about by the
 * kernel in the middle of calls, often as a fallback or a probe: so what is
 * refused is reported only in calls that are known to fail by it, and otherwise
 * counted as withheld. docs/limits.md has the table; its twin for what may be
 * granted is bpf/abi/capability.go. */
#pragma once

#include "calls.h"
#include "verdict.h"

#define CAP(n) (1ULL << CAP_##n)

/* What other hooks and a policy's actions judge, or the kernel's own permissions
 * on what the task holds. */
#define CAPS_ALWAYS                                                                                    \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | \
	 CAP(SETGID) | CAP(SETUID) | CAP(SETPCAP) | CAP(SETFCAP) | CAP(LINUX_IMMUTABLE) |              \
	 CAP(NET_BIND_SERVICE) | CAP(SYS_CHROOT) | CAP(SYS_PTRACE) | CAP(MKNOD) | CAP(LEASE))

/* In a user namespace that is not the machine's, where they reach its objects
 * alone. */
#define CAPS_NAMESPACED                                                                                \
	(CAP(NET_BROADCAST) | CAP(NET_ADMIN) | CAP(NET_RAW) | CAP(IPC_LOCK) | CAP(IPC_OWNER) |         \
	 CAP(SYS_ADMIN) | CAP(SYS_NICE) | CAP(SYS_RESOURCE) | CAP(SYS_TIME))

/* What would end enforcement, or changes the machine for all: no grant counts. */
#define CAPS_NEVER                                                                                     \
	(CAP(SYS_MODULE) | CAP(SYS_RAWIO) | CAP(SYS_PACCT) | CAP(SYS_ADMIN) | CAP(SYS_BOOT) |          \
	 CAP(AUDIT_CONTROL) | CAP(MAC_OVERRIDE) | CAP(MAC_ADMIN) | CAP(PERFMON) | CAP(BPF))

/* Set by the loader: a policy reads the clock, so that nobody confined sets it. */
const volatile u32 keep_clock;

static __always_inline bool granted(const struct workload *wl, u32 cap)
{
	if (cap > 63 || CAPS_NEVER >> cap & 1 || (cap == CAP_SYS_TIME && keep_clock))
		return false;
	return wl->caps >> cap & 1;
}

/* boundary_of tells a reader what a refused capability is about. */
static __always_inline u32 boundary_of(u32 cap)
{
	switch (cap) {
	case CAP_SYS_MODULE:
		return BOUNDARY_MODULE;
	case CAP_SYS_RAWIO:
		return BOUNDARY_DEVICE;
	case CAP_SYS_TIME:
		return keep_clock ? BOUNDARY_CLOCK : BOUNDARY_CAPABILITY;
	case CAP_SYS_ADMIN:
	case CAP_SYS_BOOT:
	case CAP_SYS_PACCT:
	case CAP_AUDIT_CONTROL:
		return BOUNDARY_SYSTEM;
	}
	return BOUNDARY_CAPABILITY;
}

/* sure_calls returns the classes of calls that fail whenever this capability is
 * refused in them. */
static __always_inline u32 sure_calls(u32 cap)
{
	switch (cap) {
	case CAP_SYS_ADMIN: /* mounts and namespaces: of a thread that has a ring */
		return BIT(CLASS_NAME) | BIT(CLASS_MADVISE) | BIT(CLASS_MACHINE) | BIT(CLASS_IPC) | BIT(CLASS_MOUNT) |
		       BIT(CLASS_TREE) | BIT(CLASS_SPACE);
	case CAP_IPC_OWNER:
		return BIT(CLASS_IPC);
	case CAP_SYS_NICE:
		return BIT(CLASS_SCHED);
	case CAP_SYS_RESOURCE:
		return BIT(CLASS_LIMIT);
	case CAP_SYS_TIME:
		return BIT(CLASS_CLOCK);
	case CAP_WAKE_ALARM:
		return BIT(CLASS_TIMER);
	case CAP_AUDIT_WRITE:
	case CAP_AUDIT_CONTROL:
		return BIT(CLASS_SEND);
	case CAP_AUDIT_READ:
		return BIT(CLASS_BIND);
	case CAP_NET_RAW:
		return BIT(CLASS_SOCKET);
	case CAP_SYSLOG:
		return BIT(CLASS_LOG);
	case CAP_SYS_MODULE:
		return BIT(CLASS_MODULE);
	case CAP_SYS_BOOT:
		return BIT(CLASS_BOOT);
	case CAP_SYS_RAWIO:
		return BIT(CLASS_PORT);
	case CAP_SYS_PACCT:
		return BIT(CLASS_ACCT);
	case CAP_SYS_TTY_CONFIG:
		return BIT(CLASS_HANGUP);
	}
	return 0;
}

/* sure_ioctl is the same for ioctls, of which most ask in order to do less. */
static __always_inline bool sure_ioctl(u32 cap, u32 cmd)
{
	switch (cmd) {
	case FIFREEZE:
	case FITHAW:
	case FITRIM:
	case TIOCSCTTY:
		return cap == CAP_SYS_ADMIN;
	case FIBMAP:
		return cap == CAP_SYS_RAWIO;
	case SIOCADDRT:
	case SIOCDELRT:
	case SIOCSIFFLAGS:
	case SIOCSIFADDR:
	case SIOCSIFDSTADDR:
	case SIOCSIFBRDADDR:
	case SIOCSIFNETMASK:
	case SIOCSIFMTU:
	case SIOCSIFNAME:
	case SIOCSIFHWADDR:
		return cap == CAP_NET_ADMIN;
	}
	return false;
}

static __always_inline bool sure(u32 cap, u32 nr, u32 class)
{
	return class == CLASS_IOCTL ? sure_ioctl(cap, call_arg(nr, 1)) : sure_calls(cap) >> (class & 31) & 1;
}

/* everywhere: is an action permitted on every directory there is? For what
 * changes a place that the hook does not tell. */
static __noinline int decide_everywhere(u32 w, u32 how, u64 need)
{
	struct workload *wl = NULL;
	struct denial d = {};
	int state = enter(w, how, need, &wl, &d);

	if (state > 0)
		return count_allowed(w);
	if (!wl)
		return -EPERM;
	if (!state && d.reason != REASON_LOCKDOWN)
		d.reason = REASON_POLICY;
	return deny(&d, NULL, wl, -EPERM) ? -EPERM : 0;
}

/* attributes: does the call change those of mounts? They may be of one that controls the
 * kernel or workloads. */
static __always_inline u32 attributes(u32 nr)
{
	nr &= ~COMPAT_CALL;
	return nr == NR_MOUNT_SETATTR || nr == NR_OPEN_TREE_ATTR;
}

/* hosts_mounts: is the task in the mount namespace of process 1? Where that is not found it is. */
static __always_inline bool hosts_mounts(void) { return mounts_of_first(1); }

/* hosts_name: is the task in the namespace of the machine's own name? */
static __always_inline bool hosts_name(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return BPF_CORE_READ(task, nsproxy, uts_ns, ns.inum) == UTS_INIT_INO;
}

/* judged: is what the call does with the capability decided by another hook? */
static __always_inline bool judged(u32 cap, u32 nr, u32 class)
{
	switch (cap) {
	case CAP_SYS_ADMIN:
		if (class == CLASS_NAME)
			return !hosts_name();
		if (class == CLASS_PRCTL)
			return call_arg(nr, 0) == PR_SET_SECCOMP;
		return (BIT(CLASS_MOUNT) | BIT(CLASS_SPACE) | BIT(CLASS_XATTR) | BIT(CLASS_FILTER) | BIT(CLASS_WATCH) |
			BIT(CLASS_BPF)) >> (class & 31) & 1;
	case CAP_BPF:
	case CAP_PERFMON:
		return class == CLASS_BPF;
	case CAP_SYS_NICE: /* asked after ptrace_access_check; since 6.13 only for another's memory */
		return class == CLASS_ADVISE;
	}
	return false;
}

/* on_capability judges what not every confined task has. A request of a ring is done
 * at the end of any call, which its maker chooses: where one may be, the call tells
 * nothing, and lets nothing through. */
static __noinline int on_capability(u32 w, u32 cap, u32 opts, u32 level)
{
	u32 key = w & (MAX_WORKLOADS - 1), nr, class, how;
	struct workload *wl = bpf_map_lookup_elem(&workloads, &key);
	bool ring = in_ring(bpf_get_current_task_btf());

	if (!wl)
		return -EPERM;
	if (granted(wl, cap))
		return 0;
	nr = call_number();
	if (cap == CAP_SYS_ADMIN && newer(nr))
		return withhold(key);
	class = class_of(nr) + opaque;
	if (cap == CAP_SYS_ADMIN && class == CLASS_TREE && (level || !ring)) {
		how = attributes(nr);
		/* Of which mount, no hook tells: of the host's, nothing is read-only or noexec by a workload. */
		if (how && hosts_mounts())
			return refuse(w, BOUNDARY_CONTROL, BIT(ACT_MOUNT));
		return decide_everywhere(w, KIND_DIR | (how * FIRM + opaque), BIT(ACT_MOUNT));
	}
	if (cap > 63 || (level && CAPS_NAMESPACED >> cap & 1))
		return cap > 63 ? withhold(key) : 0;
	if (!ring && judged(cap, nr, class))
		return 0;
	if (opts & CAP_OPT_NOAUDIT || !sure(cap, nr, class))
		return withhold(key);
	return refuse_number(w, boundary_of(cap), 0, cap, -EPERM);
}
