/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Which workload does the current task belong to? A task once confined stays
 * so, whatever cgroup it goes to. An unconfined task costs one hash lookup:
 * without any task storage (one load tells) it cannot be marked, and its
 * cgroup decides. */
#pragma once

#include "maps.h"
#include "runtime.h"

/* mark makes w's hold on a task permanent, with the classes of the executables
 * that it starts with. -EAGAIN unless both indices took it: without storage the
 * second would never be looked at. */
static __always_inline int mark_as(struct task_struct *task, u32 w, const struct member *as)
{
	u64 key = (u64)task;
	u32 *slot = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);

	if (!slot)
		return -EAGAIN;
	*slot = w;
	return bpf_map_update_elem(&members, &key, as, BPF_ANY) ? -EAGAIN : 0;
}

static __always_inline int mark(struct task_struct *task, u32 w)
{
	struct member as = { .workload = w, .starting = starting_of((u64)task) }, *m = member_of((u64)task);

	/* A runtime's that took too long stays so, for others, until it executes. */
	if (m && m->starting >= STARTING_RUNTIME)
		as.starting = m->starting;
	return mark_as(task, w, &as);
}

/* mark_in is mark_of for a task that has storage. */
static __always_inline u32 mark_in(struct task_struct *task)
{
	u64 key = (u64)task;
	struct member *m;
	u32 *w;

	w = bpf_task_storage_get(&tasks, task, 0, 0);
	if (w)
		return *w;
	m = bpf_map_lookup_elem(&members, &key);
	return m ? m->workload : 0;
}

static __always_inline u32 mark_of(struct task_struct *task)
{
	return task->bpf_storage ? mark_in(task) : 0;
}

/* marked asks the thread and its process: who is moved into a cgroup with all
 * its threads is marked by its leader. Pointers are read before anything branches: on
 * 6.12 the verifier looks long for what one leads to, on each way by which it comes. */
static __always_inline u32 marked(struct task_struct *task)
{
	struct task_struct *leader = task->group_leader;
	void *own = task->bpf_storage, *leaders = leader->bpf_storage;
	u32 w;

	barrier_var(leaders);
	w = own ? mark_in(task) : 0;
	return w || !leaders ? w : mark_in(leader);
}

/* by_ancestor is the workload of a cgroup above the current task's, 0 if there is none.
 * Not static: the verifier looks at it once, not at each call. */
__noinline u32 by_ancestor(void)
{
	for (int level = 0; level < MAX_ANCESTORS; level++) {
		u64 id = bpf_get_current_ancestor_cgroup_id(level);
		u32 *w;

		if (!id)
			break;
		w = bpf_map_lookup_elem(&cgroups, &id);
		if (w)
			return *w;
	}
	return 0;
}

/* found_in returns the workload of a task that bears no mark, and is in a cgroup of w. */
static __always_inline u32 found_in(u32 w, struct task_struct *task)
{
	if (prepares((u64)task, w))
		return 0;
	mark(task, w);
	return w;
}

/* entered is found_in for the current task. Not static, as by_ancestor. */
__noinline u32 entered(u32 w) { return found_in(w, bpf_get_current_task_btf()); }

/* who returns the current task's workload, 0 if it is not confined. */
static __always_inline u32 who(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 zero = 0, w = marked(task), *found;
	u64 id, *full;

	if (w)
		return w;
	id = bpf_get_current_cgroup_id();
	found = bpf_map_lookup_elem(&cgroups, &id);
	if (found) {
		w = *found;
	} else {
		full = bpf_map_lookup_elem(&degraded, &zero);
		if (!full || *full)
			w = by_ancestor();
	}
	return w ? entered(w) : 0;
}

/* who_apart is who for a hook whose stack has no room left: Linux 6.1 rounds up each
 * function's. */
static __noinline u32 who_apart(void)
{
	return who();
}
