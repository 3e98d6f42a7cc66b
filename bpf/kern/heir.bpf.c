// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* A set that takes the place of another build's: these are loaded with the marks of that one
 * in the places of old_tasks and old_members, and only until all are taken over.
 *
 * iter heir_marks  (read by the agent) gives every task the mark that it has there
 * tp task_newtask  what is made meanwhile has it before it runs
 */
#include "identity.h"

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u32);
} old_tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TASKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct member);
} old_members SEC(".maps");

/* What came of it: twin of inherited in bpf/heir.go. */
struct inherited {
	u64 changed; /* marks that were another, or none */
	u64 missed;  /* and that could not be had for a moment */
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct inherited);
} inherited SEC(".maps");

/* take_facts gives a member what the old set knows of the task. Where the task is in the middle
 * of an exec, one of the two may know of it first: then they differ once more the next time.
 * Classes of another automaton are no classes of ours: what we found out ourselves stays. */
static __always_inline u64 take_facts(struct member *m, const struct member *old)
{
	u64 changed = 0;

	if (m->starting != old->starting || (old->starting >= STARTING_RUNTIME && m->until != old->until)) {
		m->starting = old->starting;
		m->until = old->until;
		changed = 1;
	}
	if (m->automaton && m->automaton != old->automaton)
		return changed;
	if (m->automaton == old->automaton && m->exe == old->exe && m->parent == old->parent &&
	    m->old_exe == old->old_exe && m->old_parent == old->old_parent && m->unread == old->unread)
		return changed;
	m->exe = old->exe;
	m->parent = old->parent;
	m->old_exe = old->old_exe;
	m->old_parent = old->old_parent;
	m->unread = old->unread;
	m->automaton = old->automaton;
	return 1;
}

static __always_inline void take_mark(struct task_struct *task)
{
	u64 key = (u64)task, changed = 0, missed = 0;
	u32 zero = 0, *theirs, *ours;
	struct inherited *sum = bpf_map_lookup_elem(&inherited, &zero);
	struct member *old = bpf_map_lookup_elem(&old_members, &key), *m;

	theirs = bpf_task_storage_get(&old_tasks, task, 0, 0);
	if (!sum)
		return;
	barrier_var(old); /* pointers are no numbers: they are asked one by one */
	if (!theirs) {
		if (!old)
			return;
		if (old->starting < STARTING_RUNTIME)
			missed = 1; /* its mark is busy */
	} else if (*theirs) {
		ours = bpf_task_storage_get(&tasks, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
		if (!ours) {
			missed = 1;
		} else if (*ours != *theirs) {
			*ours = *theirs;
			changed = 1;
		}
	}
	if (old) {
		m = bpf_map_lookup_elem(&members, &key);
		if (m) {
			changed |= take_facts(m, old);
		} else {
			changed = 1;
			if (bpf_map_update_elem(&members, &key, old, BPF_NOEXIST) && !bpf_map_lookup_elem(&members, &key))
				missed = 1;
		}
	}
	if (changed)
		__sync_fetch_and_add(&sum->changed, 1);
	if (missed)
		__sync_fetch_and_add(&sum->missed, 1);
}

SEC("iter/task")
int heir_marks(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;

	if (task)
		take_mark(task);
	return 0;
}

SEC("tp_btf/task_newtask")
int BPF_PROG(heir_newtask, struct task_struct *task)
{
	take_mark(task);
	return 0;
}
