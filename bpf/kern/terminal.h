/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Terminals in devpts that are the workload's own, to be opened without asking
 * policy: those whose other side it unlocked, for which it must hold that side, and
 * the one that controls the task. They are known by their tty_struct, under whatever
 * path or mount. */
#pragma once

#include "identity.h"

/* owns_tty: d_fsdata of a name in devpts is the tty_struct while the other side is
 * open, and 0 from then on; of the folder and of ptmx it is 0. Not inline: on 6.1
 * file_open has no room on its stack. */
static __noinline bool owns_tty(u32 w, struct dentry *dentry)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 tty = (u64)dentry->d_fsdata;
	u32 *of;

	if (!tty)
		return false;
	if (tty == (u64)BPF_CORE_READ(task, signal, tty))
		return true;
	of = bpf_map_lookup_elem(&terminals, &tty);
	return of && *of == w;
}

static __always_inline bool own_terminal(u32 w, struct dentry *dentry)
{
	return dentry->d_sb->s_magic == DEVPTS_MAGIC && owns_tty(w, dentry);
}

/* on_unlock notes whose a terminal is. Nobody can open it before its other side was
 * unlocked: an address that is used again has its new owner by then, or none. Not
 * when it is made, for which there is no LSM hook: where a tracing program is
 * preempted, the kernel leaves it out for others on that processor. */
static __always_inline int on_unlock(struct file *file)
{
	struct inode *inode = file->f_inode;
	struct tty_file_private *p = file->private_data;
	u64 tty;
	u32 w;

	if ((inode->i_mode & S_IFMT) != S_IFCHR || inode->i_rdev != PTMX_DEVICE)
		return 0;
	tty = (u64)BPF_CORE_READ(p, tty, link);
	if (!tty)
		return 0;
	w = who();
	if (!w || bpf_map_update_elem(&terminals, &tty, &w, BPF_ANY))
		bpf_map_delete_elem(&terminals, &tty);
	return 0;
}
