// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Strict workloads; attached only where there is one. Code comes from files that
 * policy lets be mapped, and never changes; and every use of a descriptor is
 * judged as if the file were opened now, whoever opened it.
 *
 * mmap_file           executable: a file's, not writable; never memory, of a memfd neither. Else a
 *                     use of the descriptor: read, and write where it is shared
 * file_mprotect       executable: not writable at once, nor written before
 * file_open           /proc/PID/mem for writing: it writes what is not writable
 * ptrace_access_check, ptrace_traceme
 *                     attaching to a task inside: it could do the same
 * fentry personality  READ_IMPLIES_EXEC makes the heap executable, which no hook sees: killed
 * file_permission     read and write        file_ioctl, file_lock   read and write, as it was opened
 */
#include "boundary.h"
#include "queue.h"
#include "terminal.h"

/* strict_workload returns the current task's workload if it is a strict one. */
static __always_inline u32 strict_workload(void)
{
	u32 w = who();

	return w && is_strict(w) ? w : 0;
}

/* is_memory: does it only look like a file? Whatever the kernel mounts for itself does. */
static __always_inline bool is_memory(u64 file)
{
	return BPF_CORE_READ((struct file *)file, f_path.dentry, d_sb, s_flags) & SB_KERNMOUNT;
}

/* on_use judges a file that somebody opened. Pipes, sockets and their like have
 * no path; the workload's own terminals need none. What exec reads was judged as
 * execute; what overlayfs reads of its layers, as the overlay's. */
static __always_inline int on_use(u32 w, struct file *file, u32 need)
{
	struct dentry *dentry = file->f_path.dentry;

	if (nameless(dentry) || file->f_flags & FMODE_EXEC || layer((u64)file->f_path.mnt) ||
	    own_terminal(w, dentry))
		return 0;
	if (is_queue(dentry))
		return decide_queue(w, (u64)file->f_path.mnt, (u64)dentry, need);
	return decide(w, file->f_path.mnt, dentry, kind_of(file->f_inode), need);
}

#define MAY_WRITE 2
#define MAY_READ 4
#define MAY_APPEND 8

SEC("lsm/file_permission")
int BPF_PROG(strict_file_permission, struct file *file, int mask)
{
	u32 need = 0, w;

	if (mask & MAY_READ)
		need |= BIT(ACT_READ);
	if (mask & (MAY_WRITE | MAY_APPEND))
		need |= BIT(ACT_WRITE);
	if (!need)
		return 0;
	w = strict_workload();
	return w ? on_use(w, file, need) : 0;
}

/* as_opened judges what may read or write, by how the file was opened. */
static __always_inline int as_opened(struct file *file)
{
	u32 need = 0, mode = file->f_mode, w;

	if (mode & FMODE_READ)
		need |= BIT(ACT_READ);
	if (mode & FMODE_WRITE)
		need |= BIT(ACT_WRITE);
	if (!need)
		return 0;
	w = strict_workload();
	return w ? on_use(w, file, need) : 0;
}

#define AS_OPENED(hook)                                      \
	SEC("lsm/" #hook)                                    \
	int BPF_PROG(strict_##hook, struct file *file)       \
	{                                                    \
		return as_opened(file);                      \
	}

AS_OPENED(file_ioctl)
AS_OPENED(file_ioctl_compat)
AS_OPENED(file_lock)

#define MAP_TYPE 0xf
#define MAP_PRIVATE 2

SEC("lsm/mmap_file")
int BPF_PROG(strict_mmap_file, struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
{
	u32 w = strict_workload(), need = 0;
	u64 raw = 0;

	if (!w)
		return 0;
	bpf_get_func_arg(ctx, 0, &raw); /* see mmap_file in exec.bpf.c */
	if (prot & PROT_EXEC && (!raw || prot & PROT_WRITE || is_memory(raw)))
		return refuse(w, BOUNDARY_MEMORY, BIT(ACT_MAP));
	if (!raw || !file)
		return 0;
	if (prot & PROT_READ && !(prot & PROT_EXEC))
		need |= BIT(ACT_READ);
	if (prot & PROT_WRITE && (flags & MAP_TYPE) != MAP_PRIVATE)
		need |= BIT(ACT_WRITE);
	return need ? on_use(w, file, need) : 0;
}

SEC("lsm/file_mprotect")
int BPF_PROG(strict_file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	bool written;
	u64 file;
	u32 w;

	if (!(prot & PROT_EXEC))
		return 0;
	w = strict_workload();
	if (!w)
		return 0;
	file = (u64)BPF_CORE_READ(vma, vm_file);
	/* A private page of a file that was written has this. */
	written = !(vma->vm_flags & VM_EXEC) && BPF_CORE_READ(vma, anon_vma);
	if (!file || prot & PROT_WRITE || written || is_memory(file))
		return refuse(w, BOUNDARY_MEMORY, BIT(ACT_MAP));
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(strict_file_open, struct file *file)
{
	struct dentry *d = file->f_path.dentry;
	u64 name = 0;
	u32 w;

	if (d->d_sb->s_magic != PROC_MAGIC || !(file->f_mode & FMODE_WRITE))
		return 0;
	bpf_probe_read_kernel(&name, sizeof(name), d->d_name.name);
	if ((u32)name != NAME4('m', 'e', 'm', 0))
		return 0;
	w = strict_workload();
	return w ? decide(w, file->f_path.mnt, d, REFUSE(BOUNDARY_MEMORY), BIT(ACT_OPEN) | BIT(ACT_WRITE)) : 0;
}

/* Outside the workload the other program refuses. */
SEC("lsm/ptrace_access_check")
int BPF_PROG(strict_ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	u32 w;

	if (!(mode & PTRACE_MODE_ATTACH))
		return 0;
	w = strict_workload();
	return w && inside(w, child) ? refuse(w, BOUNDARY_MEMORY, BIT(ACT_TRACE)) : 0;
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(strict_ptrace_traceme, struct task_struct *parent)
{
	u32 w = strict_workload();

	return w && inside(w, parent) ? refuse(w, BOUNDARY_MEMORY, BIT(ACT_TRACE)) : 0;
}

#define READ_IMPLIES_EXEC 0x0400000
#define PERSONALITY_ASKED 0xffffffff
#define SIGKILL 9

static __always_inline int on_personality(u32 personality)
{
	u32 w;

	if (personality == PERSONALITY_ASKED || !(personality & READ_IMPLIES_EXEC))
		return 0;
	w = strict_workload();
	if (w && refuse(w, BOUNDARY_MEMORY, BIT(ACT_MAP)))
		bpf_send_signal(SIGKILL);
	return 0;
}

#if defined(__TARGET_ARCH_x86)

SEC("fentry/__x64_sys_personality")
int BPF_PROG(strict_personality, struct pt_regs *regs)
{
	return on_personality(BPF_CORE_READ(regs, di));
}

SEC("fentry/__ia32_sys_personality")
int BPF_PROG(strict_personality32, struct pt_regs *regs)
{
	return on_personality(BPF_CORE_READ(regs, bx));
}

#else

SEC("fentry/__arm64_sys_personality")
int BPF_PROG(strict_personality, u64 *regs)
{
	u64 first = 0; /* regs[0] of struct pt_regs */

	bpf_probe_read_kernel(&first, sizeof(first), regs);
	return on_personality(first);
}

#endif
