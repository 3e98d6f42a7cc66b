// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What can end enforcement, denied always; no policy can grant it. Files with
 * that power are refused in file_open (boundary.h).
 *
 * bpf               our programs, maps, links and pins
 * perf_event_open   kprobes and their like
 * kernel_read_file  finit_module, kexec_file_load
 * kernel_load_data  init_module, kexec_load
 * locked_down       ports, PCI configuration and MSRs: disks and memory without a file
 * capable           CAP_SYS_TIME, where a policy reads the clock: clock_settime, settimeofday, adjtimex
 * task_prctl        PR_SET_MM with an executable: the running one is what policies and events name
 */
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

/* Attached only where a policy reads the clock. */
SEC("lsm/capable")
int BPF_PROG(capable, const struct cred *cred, void *ns, int cap)
{
	u32 w;

	if (cap != CAP_SYS_TIME)
		return 0;
	w = who();
	return w ? refuse(w, BOUNDARY_CLOCK, 0) : 0;
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
