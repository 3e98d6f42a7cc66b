// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Who is confined.
 *
 * task_alloc          a confined task's child is marked before it exists, and inherits what is known of
 *                     its executables; if that fails, fork fails. So does that of a runtime's task. Into another cgroup, whose limits
 *                     would be others (CLONE_INTO_CGROUP): never. While its workload is ended, no task
 *                     makes another: so that who looks for the last one finds it
 * tp sched_process_exit, task_free
 *                     a task leaves the members; the first tells a run whether any still lives
 * tp cgroup_mkdir     a child cgroup of a workload belongs to it before a task can enter
 * tp cgroup_rmdir     forgets the cgroup
 * tp cgroup_attach    a task that is moved in is marked, so that it is not free again when it leaves
 * register_root       (called by the loader) notes the caller's root as a workload's root, or
 *                     a directory as one of ours
 * iter retire         (read by the agent) gives the tasks of a workload that ended to another
 * iter roll           (read by the agent) lists the tasks of all workloads
 */
#include "identity.h"
#include "place.h"
#include "verdict.h"

SEC("lsm/task_alloc")
int BPF_PROG(task_alloc, struct task_struct *task, unsigned long flags)
{
	u64 key = (u64)bpf_get_current_task_btf();
	struct member as = {}, *m;
	u32 w = who();

	if (!w)
		return inherit((u64)task);
	if (is_ending(w))
		return -EPERM; /* not EAGAIN: a shell would try again */
	/* The hook does not see which cgroup; such files are not written either. */
	if (flags & CLONE_INTO_CGROUP) {
		int err = refuse(w, BOUNDARY_CONTROL, 0);

		if (err)
			return err;
	}
	m = bpf_map_lookup_elem(&members, &key);
	if (m)
		as = *m;
	as.workload = w;
	as.starting = 0;
	return mark_as(task, w, &as) ? -EAGAIN : 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(task_exit, struct task_struct *task)
{
	u64 key = (u64)task;
	u32 tid = task->pid;

	bpf_map_delete_elem(&members, &key);
	/* A thread can be held that is a member by its process alone. */
	if (!bpf_map_delete_elem(&holds, &key))
		bpf_map_delete_elem(&waits, &tid);
	return 0;
}

SEC("lsm/task_free")
int BPF_PROG(task_free, struct task_struct *task)
{
	u64 key = (u64)task;

	bpf_map_delete_elem(&members, &key);
	return 0;
}

static __always_inline bool on_v2(struct cgroup *cgrp)
{
	return cgrp->root->hierarchy_id == 0;
}

SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id, parent, *full;
	u32 zero = 0, *w;

	if (!on_v2(cgrp) || !cgrp->self.parent)
		return 0;
	parent = cgrp->self.parent->cgroup->kn->id;
	w = bpf_map_lookup_elem(&cgroups, &parent);
	if (!w || !bpf_map_update_elem(&cgroups, &id, w, BPF_ANY))
		return 0;
	full = bpf_map_lookup_elem(&degraded, &zero);
	if (full)
		*full = 1;
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgrp)
{
	u64 id = cgrp->kn->id;

	if (on_v2(cgrp))
		bpf_map_delete_elem(&cgroups, &id);
	return 0;
}

SEC("tp_btf/cgroup_attach_task")
int BPF_PROG(cgroup_attach_task, struct cgroup *dst, const char *path, struct task_struct *task)
{
	u64 id = dst->kn->id;
	u32 *w;

	if (!on_v2(dst))
		return 0;
	w = bpf_map_lookup_elem(&cgroups, &id);
	if (w && !mark_of(task))
		found_in(*w, task);
	return 0;
}

struct register_args {
	u32 workload;
	u32 result; /* 1 when done */
	u32 place;  /* the flags of a directory, in place of a workload */
	u32 fd;	    /* the directory: a descriptor of the caller */
};

/* note_place notes one of our directories. */
static __noinline int note_place(u32 fd, u32 flags)
{
	struct file **files = BPF_CORE_READ(bpf_get_current_task_btf(), files, fdt, fd), *file = NULL;
	struct place key = {};

	if (bpf_probe_read_kernel(&file, sizeof(file), files + fd) || !file)
		return 1;
	key.inode = BPF_CORE_READ(file, f_inode, i_ino);
	key.device = BPF_CORE_READ(file, f_inode, i_sb, s_dev);
	return bpf_map_update_elem(&places, &key, &flags, BPF_ANY) ? 1 : 0;
}

SEC("syscall")
int register_root(struct register_args *args)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 key = args->workload;
	struct workload *wl = bpf_map_lookup_elem(&workloads, &key);

	if (args->place)
		return note_place(args->fd, args->place);
	if (!wl)
		return 1;
	wl->root_mnt = (u64)BPF_CORE_READ(task, fs, root.mnt);
	wl->root_dentry = (u64)BPF_CORE_READ(task, fs, root.dentry);
	args->result = 1;
	return 0;
}

/* What retire is to do. */
struct retirement {
	u32 from, to;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct retirement);
} retirement SEC(".maps");

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* retire sees every thread that has a number. The mark that decides comes first: where
 * it cannot be had for a moment, the member tells that the task is still to be moved. */
SEC("iter/task")
int retire(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	u32 zero = 0, *slot;
	struct retirement *r = bpf_map_lookup_elem(&retirement, &zero);
	u64 key = (u64)task;
	struct member *m;

	if (!task || !r)
		return 0;
	slot = bpf_task_storage_get(&tasks, task, 0, 0);
	m = bpf_map_lookup_elem(&members, &key);
	if (!slot) { /* a runtime's */
		if (m && m->workload == r->from && m->starting >= STARTING_RUNTIME)
			m->workload = r->to;
		return 0;
	}
	if (*slot == r->from)
		*slot = r->to;
	if (m && m->workload == r->from && *slot == r->to)
		m->workload = r->to;
	return 0;
}

/* A thread of a workload: twin of rollEntry in bpf/roll.go. */
struct roll_entry {
	u64 started; /* CLOCK_BOOTTIME, in nanoseconds */
	u32 pid, tgid, workload;
	u32 dead; /* it has ended, and nobody has asked how */
};

/* roll tells of every thread that has a number, whatever cgroup it is in. */
SEC("iter/task")
int roll(struct bpf_iter__task *ctx)
{
	struct task_struct *task = ctx->task;
	struct roll_entry e = {};

	if (!task)
		return 0;
	e.workload = marked(task);
	if (!e.workload)
		return 0;
	e.started = task->start_boottime;
	e.pid = task->pid;
	e.tgid = task->tgid;
	e.dead = task->exit_state != 0;
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}
