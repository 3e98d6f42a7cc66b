/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* A container's runtime prepares it from inside its cgroup: it mounts, sets credentials
 * and limits up, and lists its descriptors, by what lies outside of the container's root.
 * So in a workload that is a container's a task that is found by its cgroup, and so came
 * from outside, is starting: not judged, nor what it makes, until it executes a program
 * elsewhere than in the host's mount namespace. That is judged, and from then on the task
 * is confined; so it is where it takes too long. Only the second index knows of it:
 * neither who is confined nor who is not pays for it. */
#pragma once

#include "path.h"
#include "starter.h"

/* Set by the loader: nanoseconds. */
const volatile u64 starting_limit = STARTING_SECONDS * 1000000000ULL;

static __always_inline bool is_container(u32 w)
{
	struct workload *wl = workload_of(w);

	return wl && wl->flags & WORKLOAD_CONTAINER;
}

/* is_preparing: is it a runtime's task, and may it still be one? */
static __always_inline bool is_preparing(const struct member *m)
{
	return m->starting >= STARTING_RUNTIME && bpf_ktime_get_ns() < m->until;
}

static __always_inline struct member *member_of(u64 task)
{
	return bpf_map_lookup_elem(&members, &task);
}

/* until_when is when a task that is found in a container's cgroup is confined at the latest:
 * with its process, which may have been moved there with all its threads. */
static __always_inline u64 until_when(u64 addr)
{
	struct task_struct *task = (struct task_struct *)addr;
	struct member *leader = member_of((u64)BPF_CORE_READ(task, group_leader));

	return leader && leader->starting >= STARTING_RUNTIME ? leader->until : bpf_ktime_get_ns() + starting_limit;
}

/* prepares: is a task that is found in the cgroup of w, and bears no mark, the runtime's? Who
 * moves it there may note it at the same time. */
static __always_inline bool prepares(u64 task, u32 w)
{
	struct member *m = member_of(task), as = { .workload = w, .starting = STARTING_RUNTIME };

	if (!is_container(w))
		return false;
	if (!m) {
		as.until = until_when(task);
		bpf_map_update_elem(&members, &task, &as, BPF_NOEXIST);
		m = member_of(task);
	}
	if (!m)
		return false;
	m->workload = w;
	return is_preparing(m);
}

struct ascent {
	u64 task, mounts;
	u32 same;
};

static int is_first(u64 i, struct ascent *a)
{
	struct task_struct *task = (struct task_struct *)a->task;

	if (BPF_CORE_READ(task, tgid) != 1) {
		a->task = (u64)BPF_CORE_READ(task, real_parent);
		return 0;
	}
	a->same = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns) == a->mounts;
	return 1;
}

/* mounts_of_first: is the task in the mount namespace of process 1, from which every task
 * descends? otherwise is for where that is not found. */
static __noinline u32 mounts_of_first(u32 otherwise)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct ascent a = { .task = (u64)task, .same = otherwise };

	a.mounts = (u64)BPF_CORE_READ(task, nsproxy, mnt_ns);
	bpf_loop(MAX_PARENTS, is_first, &a, 0);
	return a.same;
}

/* entry_of returns the workload that judges what the current task, which no workload has,
 * is about to execute: the one that it prepares, 0 if there is none, or if it is still where the
 * host is. Where a container's process has gone, to another namespace or root, is no such place. */
static __noinline u32 entry_of(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct member *m = member_of((u64)task);
	struct workload *wl;

	if (!m || !is_preparing(m))
		return 0;
	m->starting = STARTING_RUNTIME;
	wl = workload_of(m->workload);
	if (wl && (u64)BPF_CORE_READ(task, fs, root.mnt) != wl->root_mnt && mounts_of_first(0))
		return 0;
	return m->workload;
}

/* inherit is for a child of a task that is not judged. */
static __always_inline int inherit(u64 child)
{
	struct member *m = member_of((u64)bpf_get_current_task_btf());

	if (!m || !is_preparing(m))
		return 0;
	if (is_ending(m->workload))
		return -EPERM;
	return bpf_map_update_elem(&members, &child, m, BPF_ANY) ? -EAGAIN : 0;
}
