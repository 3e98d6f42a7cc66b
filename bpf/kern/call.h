/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who calls: the task itself, or a filesystem in its place; and which system
 * call it is in, for what no hook tells apart. 32-bit callers open and execute as
 * others: what they ask about is not held. The number is what the kernel
 * dispatched: the caller cannot change it during the call. */
#pragma once

#include "identity.h"

/* by_kernel: does a filesystem act under its own credentials, as overlayfs does
 * on its layers? The operation on the overlay itself was judged. Tasks cannot
 * make this: io_uring's personalities are refused to them. Its workers act under
 * the credentials of who submitted, and are judged. */
static __always_inline bool by_kernel(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->cred != task->real_cred && !(task->flags & PF_IO_WORKER);
}

enum { CALL_OTHER, CALL_MACHINE, CALL_NAME, CALL_MOUNT_SETATTR, CALL_MADVISE, CALL_OPEN, CALL_EXEC };

#define AT_EXECVE_CHECK 0x10000 /* of execveat: nothing is executed */

#if defined(__TARGET_ARCH_x86)

#define TS_COMPAT 2
#define X32 0x40000000UL

static __always_inline u32 current_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	unsigned long nr = BPF_CORE_READ(regs, orig_ax) & ~X32;

	if (nr == 440)
		return CALL_MADVISE; /* process_madvise */
	if (nr == 442)
		return CALL_MOUNT_SETATTR;
	if (nr == 443)
		return CALL_MACHINE; /* quotactl_fd */
	if (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) {
		switch (nr) {
		case 54:  /* ioctl */
		case 87:  /* swapon */
		case 115: /* swapoff */
		case 131: /* quotactl */
			return CALL_MACHINE;
		case 74:  /* sethostname */
		case 121: /* setdomainname */
			return CALL_NAME;
		}
		return CALL_OTHER;
	}
	switch (nr) {
	case 2:	  /* open */
	case 85:  /* creat */
	case 257: /* openat */
	case 437: /* openat2 */
		return CALL_OPEN;
	case 59: /* execve */
		return CALL_EXEC;
	case 322: /* execveat */
		return BPF_CORE_READ(regs, r8) & AT_EXECVE_CHECK ? CALL_OTHER : CALL_EXEC;
	case 16:  /* ioctl */
	case 514: /* ioctl of the x32 ABI */
	case 167: /* swapon */
	case 168: /* swapoff */
	case 179: /* quotactl */
		return CALL_MACHINE;
	case 170: /* sethostname */
	case 171: /* setdomainname */
		return CALL_NAME;
	}
	return CALL_OTHER;
}

#else

struct user_pt_regs_arm64 {
	u64 regs[31], sp, pc, pstate;
};
struct pt_regs_arm64 { /* as in arch/arm64/include/asm/ptrace.h since 4.17 */
	struct user_pt_regs_arm64 user;
	u64 orig_x0;
	s32 syscallno;
};

#define TIF_32BIT (1UL << 22)

static __always_inline u32 current_call(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs_arm64 *regs = (struct pt_regs_arm64 *)bpf_task_pt_regs(task);
	u64 flags = 0;
	s32 nr = -1;

	if (bpf_probe_read_kernel(&nr, sizeof(nr), &regs->syscallno))
		return CALL_MACHINE;
	if (nr == 440)
		return CALL_MADVISE; /* process_madvise */
	if (nr == 442)
		return CALL_MOUNT_SETATTR;
	if (nr == 443)
		return CALL_MACHINE;
	if (BPF_CORE_READ(task, thread_info.flags) & TIF_32BIT) {
		switch (nr) {
		case 54:
		case 87:
		case 115:
		case 131:
			return CALL_MACHINE;
		case 74:
		case 121:
			return CALL_NAME;
		}
		return CALL_OTHER;
	}
	switch (nr) {
	case 56:  /* openat */
	case 437: /* openat2 */
		return CALL_OPEN;
	case 221: /* execve */
		return CALL_EXEC;
	case 281: /* execveat */
		return bpf_probe_read_kernel(&flags, sizeof(flags), &regs->user.regs[4]) || flags & AT_EXECVE_CHECK ? CALL_OTHER : CALL_EXEC;
	case 29:  /* ioctl */
	case 60:  /* quotactl */
	case 224: /* swapon */
	case 225: /* swapoff */
		return CALL_MACHINE;
	case 161: /* sethostname */
	case 162: /* setdomainname */
		return CALL_NAME;
	}
	return CALL_OTHER;
}

#endif
