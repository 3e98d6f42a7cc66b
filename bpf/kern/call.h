/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who calls: the task itself, or a filesystem in its place; and which system
 * call it is in, for what no hook tells apart. 32-bit callers open and execute as
 * others: what they ask about is not held. The number is what the kernel
 * dispatched: the caller cannot change it during the call. */
#pragma once

#include "identity.h"
#include "ring.h"

/* by_kernel: does a filesystem act under its own credentials, as overlayfs does
 * on its layers? The operation on the overlay itself was judged. What io_uring does
 * for a task is under the credentials of who submitted it, in a worker or, where a
 * chain of requests had to wait, in the task itself: so whoever has a ring is judged. */
static __always_inline bool by_kernel(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return task->cred != task->real_cred && !in_ring(task);
}

enum { CALL_OTHER, CALL_OPEN, CALL_EXEC };

#define AT_EXECVE_CHECK 0x10000 /* of execveat: nothing is executed */
#define NO_CALL 0x7fffffffU
#define NR_PIDFD_SEND_SIGNAL 424 /* everywhere */
#define NR_MOUNT_SETATTR 442
#define NR_OPEN_TREE_ATTR 467
#define MOVE_MOUNT_SET_GROUP 0x100 /* of move_mount */
#define COMPAT_CALL 0x80000000U /* beside the number: by the table of 32-bit programs */

#define LAST_CALL 471		 /* the highest number that is known; from 424 on all architectures have the same */

/* Tests know fewer. */
const volatile u32 known_calls = LAST_CALL;

/* newer: is it a call that this build knows nothing of? */
static __always_inline bool newer(u32 nr)
{
	nr &= ~COMPAT_CALL;
	return nr > known_calls && nr != NO_CALL;
}

#if defined(__TARGET_ARCH_x86)

#define TS_COMPAT 2
#define NR_USERFAULTFD 323
#define NR_KILL 62
#define READS(nr) ((nr) == 0 || (nr) == 17 || (nr) == 19 || (nr) == 295 || (nr) == 327) /* read, pread64, readv, preadv, preadv2 */
#define MAKES_NODE(nr) ((nr) == 133 || (nr) == 259 || (nr) == (COMPAT_CALL | 14) || (nr) == (COMPAT_CALL | 297)) /* mknod, mknodat */
#define X32 0x40000000UL

/* call_number returns the number of the system call, NO_CALL in a worker of
 * io_uring: its registers are those of whatever call its maker was in. */
static __always_inline u32 call_number(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
	u32 nr;

	if (task->flags & PF_IO_WORKER)
		return NO_CALL;
	nr = BPF_CORE_READ(regs, orig_ax) & ~X32;
	return BPF_CORE_READ(task, thread_info.status) & TS_COMPAT ? nr | COMPAT_CALL : nr;
}

/* call_arg returns the first argument or, for which 1, the second. */
static __always_inline u32 call_arg(u32 nr, u32 which)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	if (nr & COMPAT_CALL)
		return which ? BPF_CORE_READ(regs, cx) : BPF_CORE_READ(regs, bx);
	return which ? BPF_CORE_READ(regs, si) : BPF_CORE_READ(regs, di);
}

/* call_fifth returns the fifth argument. */
static __always_inline u32 call_fifth(u32 nr)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	return nr & COMPAT_CALL ? BPF_CORE_READ(regs, di) : BPF_CORE_READ(regs, r8);
}

static __always_inline u32 current_call(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());

	switch (call_number()) {
	case 2:	  /* open */
	case 85:  /* creat */
	case 257: /* openat */
	case 437: /* openat2 */
		return CALL_OPEN;
	case 59: /* execve */
		return CALL_EXEC;
	case 322: /* execveat */
		return BPF_CORE_READ(regs, r8) & AT_EXECVE_CHECK ? CALL_OTHER : CALL_EXEC;
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
#define NR_USERFAULTFD 282
#define NR_KILL 129
#define READS(nr) ((nr) == 63 || (nr) == 67 || (nr) == 65 || (nr) == 69 || (nr) == 286)
#define MAKES_NODE(nr) ((nr) == 33 || (nr) == (COMPAT_CALL | 14) || (nr) == (COMPAT_CALL | 324)) /* mknodat, mknod */

static __always_inline u32 call_number(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct pt_regs_arm64 *regs = (struct pt_regs_arm64 *)bpf_task_pt_regs(task);
	u32 nr = NO_CALL;

	if (task->flags & PF_IO_WORKER || bpf_probe_read_kernel(&nr, sizeof(nr), &regs->syscallno))
		return NO_CALL;
	return BPF_CORE_READ(task, thread_info.flags) & TIF_32BIT ? nr | COMPAT_CALL : nr;
}

static __always_inline u32 call_arg(u32 nr, u32 which)
{
	struct pt_regs_arm64 *regs = (struct pt_regs_arm64 *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u64 arg = 0;

	/* Not orig_x0, which a tracer that changes the argument leaves as it was. */
	bpf_probe_read_kernel(&arg, sizeof(arg), &regs->user.regs[which]);
	return arg;
}

static __always_inline u32 call_fifth(u32 nr) { return call_arg(nr, 4); }

static __always_inline u32 current_call(void)
{
	struct pt_regs_arm64 *regs = (struct pt_regs_arm64 *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u64 flags = 0;

	switch (call_number()) {
	case 56:  /* openat */
	case 437: /* openat2 */
		return CALL_OPEN;
	case 221: /* execve */
		return CALL_EXEC;
	case 281: /* execveat */
		return bpf_probe_read_kernel(&flags, sizeof(flags), &regs->user.regs[4]) || flags & AT_EXECVE_CHECK ? CALL_OTHER : CALL_EXEC;
	}
	return CALL_OTHER;
}

#endif
