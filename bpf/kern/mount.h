/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who sees what is mounted, and what of it is everybody's. */
#pragma once

#include "boundary.h"

static __always_inline u64 own_namespace(void)
{
	return (u64)BPF_CORE_READ(bpf_get_current_task_btf(), nsproxy, mnt_ns);
}

/* at_home: is the task in the mount namespace of the workload's root? */
static __always_inline bool at_home(u32 w)
{
	struct workload *wl = workload_of(w);

	return !wl || namespace_of(wl->root_mnt) == own_namespace();
}

/* seen_outside: do others see what is mounted on a mount, or in its place? */
static __always_inline bool seen_outside(u32 w, struct vfsmount *mnt)
{
	struct mount *m = (struct mount *)((u64)mnt - bpf_core_field_offset(struct mount, mnt));

	return at_home(w) || BPF_CORE_READ(m, mnt_group_id) || BPF_CORE_READ(m, mnt_parent, mnt_group_id);
}

/* hides: would a change of what is mounted there hide what is ours from others? */
static __always_inline bool hides(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 flags)
{
	return place_of(dentry->d_inode) & flags && seen_outside(w, mnt);
}

/* shows_kernel: is it a filesystem by which all others, and whoever stops a workload, look
 * at the kernel? */
static __always_inline bool shows_kernel(struct dentry *d)
{
	return d->d_sb->s_magic == PROC_MAGIC || d->d_sb->s_magic == SYSFS_MAGIC;
}

/* own_options: does each mount of a kind of filesystem, which is known by the beginning of
 * its name, have options of its own? Of debugfs, tracefs, devtmpfs, cgroups and their like
 * there is one, and a new mount changes it for all. What is not known is as these. */
static __noinline u32 own_options_at(u64 type)
{
	u64 name = 0;

	bpf_probe_read_kernel_str(&name, sizeof(name), (void *)type);
	switch (name) {
	case NAME8('t', 'm', 'p', 'f', 's', 0, 0, 0):
	case NAME8('r', 'a', 'm', 'f', 's', 0, 0, 0):
	case NAME8('h', 'u', 'g', 'e', 't', 'l', 'b', 0):
	case NAME8('o', 'v', 'e', 'r', 'l', 'a', 'y', 0):
	case NAME8('p', 'r', 'o', 'c', 0, 0, 0, 0):
	case NAME8('d', 'e', 'v', 'p', 't', 's', 0, 0):
	case NAME8('m', 'q', 'u', 'e', 'u', 'e', 0, 0):
	case NAME8('f', 'u', 's', 'e', 0, 0, 0, 0):
	case NAME8('v', 'i', 'r', 't', 'i', 'o', 'f', 0):
	case NAME8('9', 'p', 0, 0, 0, 0, 0, 0):
	case NAME8('n', 'f', 's', 0, 0, 0, 0, 0):
	case NAME8('n', 'f', 's', '4', 0, 0, 0, 0):
	case NAME8('c', 'i', 'f', 's', 0, 0, 0, 0):
	case NAME8('s', 'm', 'b', '3', 0, 0, 0, 0):
	case NAME8('c', 'e', 'p', 'h', 0, 0, 0, 0):
		return 1;
	}
	return (name & 0xffffffffff) == NAME8('f', 'u', 's', 'e', '.', 0, 0, 0);
}

static __always_inline bool own_options(const char *type) { return own_options_at((u64)type); }

/* resets: does mount(2) change options of a filesystem that others have mounted, too? In a
 * user namespace that is not the machine's there is none of these. */
static __always_inline bool resets(const char *type, void *data)
{
	char first = 0;

	if (!type || !data || bpf_probe_read_kernel(&first, sizeof(first), data) || !first)
		return false;
	return !own_options(type) && !BPF_CORE_READ(bpf_get_current_task_btf(), nsproxy, mnt_ns, user_ns, level);
}
