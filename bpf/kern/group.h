/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Process groups. One has the number of its first process: of the process that joins it,
 * of one that has the same parent, as in a shell's pipelines, or of the parent. */
#pragma once

#include "boundary.h"

/* number_of_task returns a task's number as the current task sees it. */
static __always_inline int number_of_task(u64 task)
{
	struct pid *own = BPF_CORE_READ(bpf_get_current_task_btf(), thread_pid);
	struct pid *pid = BPF_CORE_READ((struct task_struct *)task, thread_pid);
	u64 at = bpf_core_field_offset(struct pid, numbers) + BPF_CORE_READ(own, level) * bpf_core_type_size(struct upid);
	int number = 0;

	if (BPF_CORE_READ(pid, level) < BPF_CORE_READ(own, level) || bpf_probe_read_kernel(&number, sizeof(number), (void *)pid + at))
		return 0;
	return number;
}

struct family {
	u64 head, at;
	int number;
	u32 w;
	bool found;
};

static int is_sibling(u64 i, struct family *f)
{
	u64 task = f->at - bpf_core_field_offset(struct task_struct, sibling);

	if (f->at == f->head)
		return 1;
	if (number_of_task(task) == f->number) {
		f->found = inside_at(f->w, task);
		return 1;
	}
	return bpf_probe_read_kernel(&f->at, sizeof(f->at), (void *)f->at) ? 1 : 0;
}

/* group_inside: is the first process of the group that p is to join p itself, or known to
 * be of the workload? */
static __always_inline bool group_inside(u32 w, struct task_struct *p, int number)
{
	u64 parent = (u64)BPF_CORE_READ(p, real_parent), leader = (u64)BPF_CORE_READ(p, real_parent, group_leader);
	struct family f = { .number = number, .w = w, .found = opaque };

	if (!number || number_of_task((u64)p) == number)
		return true;
	if (number_of_task(leader) == number)
		return inside_at(w, leader);
	f.head = parent + bpf_core_field_offset(struct task_struct, children);
	if (bpf_probe_read_kernel(&f.at, sizeof(f.at), (void *)f.head))
		return false;
	bpf_loop(MAX_SIBLINGS, is_sibling, &f, 0);
	return f.found;
}
