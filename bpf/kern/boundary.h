/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What lies beyond the workload: files that control the kernel, devices that
 * bypass every path, processes of others. */
#pragma once

#include "place.h"
#include "verdict.h"

/* own_thread: is a task the current one, or of its process? Of a runtime's process that took
 * too long, one is confined after the other. */
static __always_inline bool own_thread(u64 other)
{
	struct task_struct *task = (struct task_struct *)other;

	return BPF_CORE_READ(task, group_leader) == bpf_get_current_task_btf()->group_leader;
}

/* inside: is the other task of the same workload? Not while it is systemd's, or the
 * container's runtime's: of that, who is found by its cgroup alone is. */
static __always_inline bool inside(u32 w, struct task_struct *other)
{
	u32 of = marked(other), *found;
	u64 id;

	if (of)
		return of == w && (!is_starting((u64)other) || own_thread((u64)other));
	id = BPF_CORE_READ(other, cgroups, dfl_cgrp, kn, id);
	found = bpf_map_lookup_elem(&cgroups, &id);
	return (found && *found == w && !is_starting((u64)other) && !is_container(w)) || own_thread((u64)other);
}

/* inside_at is inside for a task known by its address: by the second index,
 * which has every task that the first has. */
static __always_inline bool inside_at(u32 w, u64 other)
{
	struct task_struct *task = (struct task_struct *)other;
	u64 leader = (u64)BPF_CORE_READ(task, group_leader), id;
	struct member *m = bpf_map_lookup_elem(&members, &other);
	u32 *found;

	if (!m)
		m = bpf_map_lookup_elem(&members, &leader);
	if (m)
		return m->workload == w && (!m->starting || own_thread(other));
	id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	found = bpf_map_lookup_elem(&cgroups, &id);
	return found && *found == w && !is_starting(other) && !is_container(w);
}

/* outsider tells whether a file of /proc/PID is about a task outside. */
static __always_inline bool outsider(u32 w, struct pid *pid)
{
	u64 node = 0;

	bpf_probe_read_kernel(&node, sizeof(node), (void *)pid + bpf_core_field_offset(struct pid, tasks));
	return node && !inside_at(w, node - bpf_core_field_offset(struct task_struct, pid_links));
}

#define NAME4(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)

/* memory_file: since 6.14 the kernel lets CAP_PERFMON open these of any
 * process, whatever ptrace_access_check answers. */
static __always_inline bool memory_file(u32 name)
{
	return name == NAME4('m', 'e', 'm', 0) || name == NAME4('m', 'a', 'p', 's') || name == NAME4('s', 'm', 'a', 'p') ||
	       name == NAME4('n', 'u', 'm', 'a') || name == NAME4('p', 'a', 'g', 'e') || name == NAME4('e', 'n', 'v', 'i') ||
	       name == NAME4('a', 'u', 'x', 'v');
}

/* in_proc judges a file in procfs. What is about a process is free inside the
 * workload; outside it is not written (oom_score_adj would choose whom the
 * kernel kills), nor is its memory read. Of the rest nothing is written, such as
 * sys, sysrq-trigger and bus/pci, and images of the kernel's memory not read. */
static __always_inline u32 in_proc(u32 w, struct dentry *d, struct inode *inode, bool write)
{
	struct proc_inode *p = (void *)((u64)inode - bpf_core_field_offset(struct proc_inode, vfs_inode));
	struct pid *pid = BPF_CORE_READ(p, pid);
	u64 name = 0;

	bpf_probe_read_kernel(&name, sizeof(name), d->d_name.name);
	if (pid && write && name == NAME8('a', 'u', 't', 'o', 'g', 'r', 'o', 'u')) /* the session's priority */
		return BOUNDARY_PROCESS;
	if (pid)
		return (write || memory_file(name)) && outsider(w, pid) ? BOUNDARY_PROCESS : 0;
	if (write || (name & 0xffffffffffff) == NAME8('k', 'c', 'o', 'r', 'e', 0, 0, 0) ||
	    (name & 0xffffffffff) == NAME8('k', 'p', 'a', 'g', 'e', 0, 0, 0))
		return BOUNDARY_CONTROL;
	return 0;
}

/* control_file tells files through which enforcement, or somebody else's
 * confinement, could be ended: ftrace_enabled switches every BPF LSM program
 * off, cgroup.kill ends the agent, core_pattern and uevent_helper run programs
 * outside, a bpffs pin is the enforcement itself. */
static __always_inline u32 control_file(u32 w, struct dentry *d, struct inode *inode, bool write)
{
	switch (d->d_sb->s_magic) {
	case BPF_FS_MAGIC:
		return BOUNDARY_CONTROL;
	case PROC_MAGIC:
		return in_proc(w, d, inode, write);
	case CGROUP2_MAGIC:
		return write && !own_procs((u64)d) ? BOUNDARY_CONTROL : 0;
	case CGROUP_MAGIC:
	case DEBUGFS_MAGIC:
	case TRACEFS_MAGIC:
	case SECURITYFS_MAGIC:
	case SYSFS_MAGIC:
	case BINFMTFS_MAGIC:
	case EFIVARFS_MAGIC:
	case CONFIGFS_MAGIC:
	case PSTOREFS_MAGIC:
	case RDTGROUP_MAGIC:
	case FUSECTL_MAGIC:
	case NFSD_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
		return write ? BOUNDARY_CONTROL : 0;
	}
	return 0;
}

/* kernel_names: what is made or removed in these filesystems is an object of the
 * kernel: a pin, a firmware variable, an instance of tracing, a device. */
static __always_inline bool kernel_names(struct dentry *dir)
{
	switch (dir->d_sb->s_magic) {
	case BPF_FS_MAGIC:
	case TRACEFS_MAGIC:
	case DEBUGFS_MAGIC:
	case SECURITYFS_MAGIC:
	case EFIVARFS_MAGIC:
	case CONFIGFS_MAGIC:
	case PSTOREFS_MAGIC:
	case RDTGROUP_MAGIC:
	case SELINUX_MAGIC:
	case SMACK_MAGIC:
		return true;
	}
	return false;
}

/* controls: does a filesystem hold what controls the kernel, or workloads? It stays
 * where it is, as it is. */
static __always_inline bool controls(struct dentry *d)
{
	u64 magic = d->d_sb->s_magic;

	return kernel_names(d) || magic == CGROUP2_MAGIC || magic == CGROUP_MAGIC;
}

/* raw_device: a block device, or a character device that reaches file contents
 * or the kernel under any path: mem, kmem, port, SCSI generic, the hibernation
 * image, MSRs; uinput types in the user's place. */
static __always_inline bool raw_device(struct inode *inode)
{
	u32 mode, rdev, minor;

	mode = inode->i_mode & S_IFMT;
	if (mode == S_IFBLK)
		return true;
	if (mode != S_IFCHR)
		return false;
	rdev = inode->i_rdev;
	minor = rdev & 0xfffff;
	switch (rdev >> 20) {
	case MEM_MAJOR:
		return minor == 1 || minor == 2 || minor == 4;
	case MISC_MAJOR:
		return minor == SNAPSHOT_MINOR || minor == UINPUT_MINOR;
	case SCSI_GENERIC_MAJOR:
	case MSR_MAJOR:
		return true;
	}
	return false;
}

/* odd_device: is it a device that is not known to be harmless? A watchdog that was opened
 * reboots the machine. Policies that name it decide, in audit mode, too. */
static __always_inline bool odd_device(struct inode *inode)
{
	u32 rdev = inode->i_rdev, minor = rdev & 0xfffff;

	if ((inode->i_mode & S_IFMT) != S_IFCHR)
		return false;
	if (rdev >> 20 == MEM_MAJOR) /* null, zero, full, random, urandom */
		return minor != 3 && minor != 5 && (minor < 7 || minor > 9);
	return rdev >> 20 != TTYAUX_MAJOR || minor == 1; /* tty and ptmx, not the console */
}

/* crossed returns the boundary that opening or changing a file would cross, 0 if none. */
static __always_inline u32 crossed(u32 w, struct dentry *d, struct inode *inode, bool write)
{
	u32 what;

	if (!inode)
		return 0;
	what = control_file(w, d, inode, write);
	if (what)
		return what;
	if (ours(d))
		return BOUNDARY_CONTROL;
	return raw_device(inode) ? BOUNDARY_DEVICE : 0;
}

/* forbidden is crossed with a stack of its own, where that of who decides has no room. */
static __noinline u32 forbidden(u32 w, struct dentry *d, struct inode *inode, bool write)
{
	return crossed(w, d, inode, write);
}

/* by_executable: do enforced policies ask which executable acts? */
static __always_inline bool by_executable(u32 w)
{
	u64 mask = arena_mask, *t = arena_base(), plan;
	struct workload *wl = workload_of(w);

	if (!wl || !t)
		return true;
	plan = (u32)wl->plan;
	if (!plan)
		return true;
	plan += W(plan + HDR_ENFORCED);
	return W(plan + HDR_EXE);
}

/* dumps: is this a task's end that writes its memory to a file, for its siblings to
 * read? Not where the policies ask which executable acts. */
static __always_inline u32 dumps(u32 w)
{
	return bpf_get_current_task_btf()->flags & PF_DUMPCORE && by_executable(w) ? BOUNDARY_IDENTITY : 0;
}
