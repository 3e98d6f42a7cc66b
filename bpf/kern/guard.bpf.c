// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What can end enforcement, denied always; no policy can grant it. Files with
 * that power are refused in file_open (boundary.h).
 *
 * bpf               our programs, maps, links and pins
 * perf_event_open   kprobes and their like
 * kernel_read_file  finit_module, kexec_file_load
 * kernel_load_data  init_module, kexec_load
 * locked_down       ports, PCI configuration and MSRs: disks and memory without a file
 * capable           capabilities, but those that capability.h allows; of CAP_SYS_ADMIN what other hooks
 *                   judge; calls on mounts and superblocks that have no hook: mount, on every directory
 * syslog            clearing the kernel's log, and the console's level
 * inode_init_security_anon
 *                   userfaultfd of faults in the kernel: who reads the task's memory would wait; and
 *                   any in strict workloads: it fills mappings of files that may be executed
 * key_alloc         request_key of what is not there: /sbin/request-key would run, as root, outside
 * cred_alloc_blank  the parent, who may be outside, would use the workload's keys from now on
 *                   (KEYCTL_SESSION_TO_PARENT)
 * shm_alloc_security, msg_queue_alloc_security, sem_alloc_security
 *                   System V objects outlive who makes them: half of what the namespace has room for is
 *                   for others
 * task_prctl        PR_SET_MM with an executable: the running one is what policies and events name
 */
#include "capability.h"

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

/* The kernel asks this often: what every task may have costs a test of a mask.
 * By the credentials of a filesystem nothing is judged: see by_kernel. */
SEC("lsm/capable")
int BPF_PROG(capable, const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
{
	u32 w, number = cap;

	if (number < 64 && CAPS_ALWAYS >> number & 1)
		return 0;
	w = who();
	if (!w || by_kernel())
		return 0;
	return on_capability(w, number, opts, ns->level);
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

#define USER_MODE_ONLY 1 /* UFFD_USER_MODE_ONLY */

/* By its device it is refused as a command that is not known. */
SEC("lsm/inode_init_security_anon")
int BPF_PROG(inode_init_security_anon, struct inode *inode, struct qstr *name)
{
	u32 w, nr;
	u64 text = 0;

	bpf_probe_read_kernel(&text, sizeof(text), name->name);
	if (text != NAME8('[', 'u', 's', 'e', 'r', 'f', 'a', 'u'))
		return 0;
	w = who();
	if (!w)
		return 0;
	if (is_strict(w))
		return refuse(w, BOUNDARY_MEMORY, 0);
	nr = call_number();
	return nr == NR_USERFAULTFD && call_arg(nr, 0) & USER_MODE_ONLY ? 0 : refuse(w, BOUNDARY_LEASE, 0);
}

/* In that call a key is made for the program's answer alone. */
SEC("lsm/key_alloc")
int BPF_PROG(key_alloc)
{
	u32 w = who();

	if (!w || class_of(call_number()) != CLASS_KEY)
		return 0;
	return refuse_as(w, BOUNDARY_SYSTEM, 0, -ENOKEY);
}

SEC("lsm/cred_alloc_blank")
int BPF_PROG(cred_alloc_blank)
{
	u32 w = who();

	return w ? refuse(w, BOUNDARY_PROCESS, 0) : 0;
}

/* A kind of objects, and the greatest number of them. */
#define OF_SYSTEM_V(hook, kind, most)                                                                  \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook)                                                                             \
	{                                                                                              \
		struct ipc_namespace *ns = BPF_CORE_READ(bpf_get_current_task_btf(), nsproxy, ipc_ns); \
		u32 w = who();                                                                         \
                                                                                                       \
		if (!w || (u32)BPF_CORE_READ(ns, ids[kind].in_use) < (u32)BPF_CORE_READ(ns, most) / 2) \
			return 0;                                                                      \
		return refuse_as(w, BOUNDARY_SYSTEM, 0, -ENOSPC);                                       \
	}

OF_SYSTEM_V(sem_alloc_security, 0, sem_ctls[3])
OF_SYSTEM_V(msg_queue_alloc_security, 1, msg_ctlmni)
OF_SYSTEM_V(shm_alloc_security, 2, shm_ctlmni)

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
