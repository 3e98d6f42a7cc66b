// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What can end enforcement, denied always; no policy can grant it. Files with
 * that power are refused in file_open (boundary.h).
 *
 * bpf               our programs, maps, links and pins
 * perf_event_open   kprobes and their like
 * kernel_read_file  finit_module, kexec_file_load
 * kernel_load_data  init_module, kexec_load
 * locked_down       ports, PCI configuration and MSRs: disks and memory without a file
 * capable           whole capabilities: delete_module; raw access to devices; reboot; acct; vhangup;
 *                   audit; other modules' labels; the clock, where a policy reads it. Of CAP_SYS_ADMIN
 *                   what is asked in ioctl (frozen filesystems, stolen terminals), swapon, swapoff,
 *                   quotactl, sethostname and setdomainname of the machine; mount_setattr: mount, on
 *                   every directory
 * syslog            clearing the kernel's log, and the console's level
 * task_prctl        PR_SET_MM with an executable: the running one is what policies and events name
 */
#include "call.h"
#include "verdict.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define NEVER(hook, name, what)                                                                        \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(name)                                                                             \
	{                                                                                              \
		u32 w = who();                                                                         \
                                                                                                       \
		return w ? refuse(w, what, 0) : 0;                                                     \
	}

NEVER(bpf, bpf_syscall, BOUNDARY_BPF)
NEVER(perf_event_open, perf_event_open, BOUNDARY_PERF)
NEVER(kernel_read_file, kernel_read_file, BOUNDARY_MODULE)
NEVER(kernel_load_data, kernel_load_data, BOUNDARY_MODULE)

#define IS(what, reason) ((what) == bpf_core_enum_value(enum lockdown_reason, reason))

SEC("lsm/locked_down")
int BPF_PROG(locked_down, enum lockdown_reason what)
{
	u32 w;

	if (!IS(what, LOCKDOWN_IOPORT) && !IS(what, LOCKDOWN_PCI_ACCESS) && !IS(what, LOCKDOWN_MSR))
		return 0;
	w = who();
	return w ? refuse(w, BOUNDARY_DEVICE, 0) : 0;
}

/* Set by the loader: a policy reads the clock, so that nobody confined sets it. */
const volatile u32 keep_clock;

/* everywhere: is an action permitted on every directory there is? For what
 * changes a place that the hook does not tell. */
static __noinline int decide_everywhere(u32 w, u32 need)
{
	struct workload *wl = NULL;
	struct denial d = {};
	int state = enter(w, KIND_DIR, need, &wl, &d);

	if (state > 0)
		return count_allowed(w);
	if (!wl)
		return -EPERM;
	if (!state && d.reason != REASON_LOCKDOWN)
		d.reason = REASON_POLICY;
	return deny(&d, NULL, wl, EPERM) ? -EPERM : 0;
}

/* hosts_name: is the task in the namespace of the machine's own name? */
static __always_inline bool hosts_name(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return BPF_CORE_READ(task, nsproxy, uts_ns, ns.inum) == UTS_INIT_INO;
}

/* on_admin judges CAP_SYS_ADMIN, which guards what has hooks of its own and what
 * has none. */
static __noinline int on_admin(u32 w, u32 opts)
{
	u32 call;

	if (by_kernel())
		return 0;
	call = current_call();
	/* Since 6.14 it, or CAP_PERFMON, would make the kernel skip
	 * ptrace_access_check. */
	if (call == CALL_MADVISE)
		return -EPERM;
	if (call == CALL_MOUNT_SETATTR)
		return decide_everywhere(w, BIT(ACT_MOUNT));
	if (call != CALL_MACHINE && !(call == CALL_NAME && hosts_name()))
		return 0;
	return opts & CAP_OPT_NOAUDIT ? -EPERM : refuse(w, BOUNDARY_SYSTEM, 0);
}

static __always_inline u32 boundary_of(int cap)
{
	switch (cap) {
	case CAP_SYS_MODULE:
		return BOUNDARY_MODULE;
	case CAP_SYS_RAWIO:
		return BOUNDARY_DEVICE;
	case CAP_SYS_TIME:
		return keep_clock ? BOUNDARY_CLOCK : 0;
	case CAP_SYS_TTY_CONFIG:
		return BOUNDARY_TERMINAL;
	case CAP_SYS_BOOT:
	case CAP_SYS_PACCT:
	case CAP_AUDIT_CONTROL:
	case CAP_MAC_OVERRIDE:
	case CAP_MAC_ADMIN:
		return BOUNDARY_SYSTEM;
	}
	return 0;
}

/* The kernel asks this often: most capabilities are none of our business, and
 * cost a comparison. In a user namespace of its own a task rules over nothing of
 * the machine's. */
SEC("lsm/capable")
int BPF_PROG(capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	u32 what = boundary_of(cap), w;

	if (!what && cap != CAP_SYS_ADMIN && cap != CAP_PERFMON)
		return 0;
	w = who();
	if (!w || ns->level)
		return 0;
	if (cap == CAP_PERFMON)
		return current_call() == CALL_MADVISE ? -EPERM : 0;
	if (!what)
		return on_admin(w, opts);
	return opts & CAP_OPT_NOAUDIT ? -EPERM : refuse(w, what, 0);
}

/* Clearing the kernel's log, and what it prints on the console: reading it is no
 * change. */
SEC("lsm/syslog")
int BPF_PROG(syslog, int type)
{
	u32 w;

	if (type < SYSLOG_READ_CLEAR || type > SYSLOG_CONSOLE_LEVEL)
		return 0;
	w = who();
	return w ? refuse(w, BOUNDARY_SYSTEM, 0) : 0;
}

/* PR_SET_MM_MAP names an executable in memory that could change until the
 * kernel reads it. */
SEC("lsm/task_prctl")
int BPF_PROG(task_prctl, int option, unsigned long what)
{
	u32 w;

	if (option != PR_SET_MM || (what != PR_SET_MM_EXE_FILE && what != PR_SET_MM_MAP))
		return 0;
	w = who();
	return w ? refuse(w, BOUNDARY_IDENTITY, 0) : 0;
}
