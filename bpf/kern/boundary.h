/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What lies beyond the workload: files that control the kernel, devices that
 * bypass every path, processes of others. */
#pragma once

#include "verdict.h"

/* top_name returns the first 8 bytes of the component right below the root of
 * the dentry's filesystem. */
static __always_inline u64 top_name(struct dentry *d)
{
	struct dentry *parent, *grand;
	u64 name = 0;

	for (int i = 0; i < MAX_PROC_DEPTH; i++) {
		parent = d->d_parent;
		grand = parent->d_parent;
		if (parent == grand) {
			if (parent != d)
				bpf_probe_read_kernel(&name, sizeof(name), d->d_name.name);
			return name;
		}
		d = parent;
	}
	return ~0ULL;
}

#define NAME8(a, b, c, d, e, f, g, h)                                                                  \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 | \
	 (u64)(g) << 48 | (u64)(h) << 56)
#define MASK4 0xffffffffULL

/* proc_control: /proc/sys, /proc/sysrq-trigger and the memory images. */
static __always_inline bool proc_control(struct dentry *d, bool write)
{
	u64 top = top_name(d);

	if (top == NAME8('k', 'c', 'o', 'r', 'e', 0, 0, 0) || (top & 0xffffffffff) == NAME8('k', 'p', 'a', 'g', 'e', 0, 0, 0))
		return true;
	if (!write)
		return false;
	return top == ~0ULL || (top & MASK4) == NAME8('s', 'y', 's', 0, 0, 0, 0, 0) ||
	       top == NAME8('s', 'y', 's', 'r', 'q', '-', 't', 'r');
}

/* control_file tells files through which enforcement, or somebody else's
 * confinement, could be ended: ftrace_enabled switches every BPF LSM program
 * off, cgroup.kill ends the agent, core_pattern and uevent_helper run programs
 * outside, a bpffs pin is the enforcement itself. */
static __always_inline bool control_file(struct dentry *d, bool write)
{
	switch (d->d_sb->s_magic) {
	case BPF_FS_MAGIC:
		return true;
	case PROC_MAGIC:
		return proc_control(d, write);
	case CGROUP_MAGIC:
	case CGROUP2_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SYSFS_MAGIC:
	case BINFMTFS_MAGIC:
		return write;
	}
	return false;
}

/* raw_device: a block device, or /dev/mem, /dev/kmem, /dev/port: they reach
 * file contents under any path. */
static __always_inline bool raw_device(struct inode *inode)
{
	u32 mode, rdev, minor;

	if (!inode)
		return false;
	mode = inode->i_mode & S_IFMT;
	if (mode == S_IFBLK)
		return true;
	if (mode != S_IFCHR)
		return false;
	rdev = inode->i_rdev;
	minor = rdev & 0xfffff;
	return rdev >> 20 == 1 && (minor == 1 || minor == 2 || minor == 4);
}

/* forbidden returns the boundary that opening or changing a file would cross,
 * 0 if none. */
static __always_inline u32 forbidden(struct dentry *d, struct inode *inode, bool write)
{
	if (control_file(d, write))
		return BOUNDARY_CONTROL;
	if (raw_device(inode))
		return BOUNDARY_DEVICE;
	return 0;
}

/* inside: is the other task of the same workload? */
static __always_inline bool inside(u32 w, struct task_struct *other)
{
	u32 of = marked(other), *found;
	u64 id;

	if (of)
		return of == w;
	id = BPF_CORE_READ(other, cgroups, dfl_cgrp, kn, id);
	found = bpf_map_lookup_elem(&cgroups, &id);
	return found && *found == w;
}
