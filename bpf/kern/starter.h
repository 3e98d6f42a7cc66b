/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Service managers put the process of a new service into its cgroup first, and let
 * it prepare the rest there: it writes itself to cgroup.procs once more, and fails
 * where that is refused. systemd's is process 1 forked, since 254 its executor. Both
 * are known by what nobody inside can bring about: a task that came in from outside,
 * as a child of process 1 that ran process 1's own executable. */
#pragma once

#include "maps.h"

#define NAME8(a, b, c, d, e, f, g, h)                                                                  \
	((u64)(a) | (u64)(b) << 8 | (u64)(c) << 16 | (u64)(d) << 24 | (u64)(e) << 32 | (u64)(f) << 40 | \
	 (u64)(g) << 48 | (u64)(h) << 56)

#define STARTING_FORKED 1
#define STARTING_EXECUTOR 2
#define STARTING_RUNTIME 3 /* see runtime.h: from here on */
#define STARTING_ENTRY 4   /* what it executes next confines it */

/* manager_exe returns the dentry of process 1's executable, for a child of it. */
static __always_inline struct dentry *manager_exe(struct task_struct *task)
{
	struct task_struct *parent = BPF_CORE_READ(task, real_parent);

	return BPF_CORE_READ(parent, pid) == 1 ? BPF_CORE_READ(parent, mm, exe_file, f_path.dentry) : NULL;
}

/* starting_of is for a task that becomes a member now, by its address. */
static __noinline u32 starting_of(u64 addr)
{
	struct task_struct *task = (struct task_struct *)addr, *parent = BPF_CORE_READ(task, real_parent);
	struct dentry *exe = manager_exe(task);

	if (!exe || exe != BPF_CORE_READ(task, mm, exe_file, f_path.dentry))
		return 0;
	return BPF_CORE_READ(task, self_exec_id) == BPF_CORE_READ(parent, self_exec_id) ? STARTING_FORKED : 0; /* no systemd --user */
}

/* starting_after is what remains after an exec: systemd's executor, which lies
 * beside it, is its own code still. */
static __noinline u32 starting_after(u64 addr)
{
	struct task_struct *task = (struct task_struct *)addr;
	struct dentry *exe = manager_exe(task), *d = BPF_CORE_READ(task, mm, exe_file, f_path.dentry);
	u64 name[2] = {};

	if (!exe || !d || BPF_CORE_READ(exe, d_parent) != BPF_CORE_READ(d, d_parent) || BPF_CORE_READ(d, d_name.len) != 16)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name), BPF_CORE_READ(d, d_name.name));
	return name[0] == NAME8('s', 'y', 's', 't', 'e', 'm', 'd', '-') && name[1] == NAME8('e', 'x', 'e', 'c', 'u', 't', 'o', 'r') ?
		       STARTING_EXECUTOR :
		       0;
}

/* is_starting is for any task, by its address, a member yet or not. Until its exec it
 * shares process 1's memory: nobody of the workload but itself may touch it. */
static __noinline u32 is_starting(u64 task)
{
	struct member *m = bpf_map_lookup_elem(&members, &task);

	if (task == (u64)bpf_get_current_task_btf())
		return 0;
	return m ? m->starting : starting_of(task);
}

/* own_procs: does a starting task open the cgroup.procs of the cgroup that it is
 * in? There it moves itself to where it is. */
static __noinline u32 own_procs(u64 file)
{
	struct dentry *d = (struct dentry *)file;
	u64 key = (u64)bpf_get_current_task_btf(), name[2] = {};
	struct member *m = bpf_map_lookup_elem(&members, &key);

	if (!m || !m->starting)
		return 0;
	bpf_probe_read_kernel(name, 13, BPF_CORE_READ(d, d_name.name));
	return name[0] == NAME8('c', 'g', 'r', 'o', 'u', 'p', '.', 'p') && name[1] == NAME8('r', 'o', 'c', 's', 0, 0, 0, 0) &&
	       BPF_CORE_READ(d, d_parent, d_inode, i_ino) == bpf_get_current_cgroup_id();
}
