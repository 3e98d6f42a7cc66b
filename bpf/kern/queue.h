/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* POSIX message queues: mq_open goes through a mount of the kernel's own, on which
 * no path leads anywhere. */
#pragma once

#include "verdict.h"

struct queue_search {
	u64 next, end; /* in the chain of mounts of the filesystem */
	u64 ns;	       /* of the workload's root */
	u64 found;
	u64 many;  /* more than one is in that namespace: no count, which the verifier would follow */
	u64 whole; /* all were looked at */
};

static int look_at_mount(u64 i, struct queue_search *q)
{
	u64 this = q->next, m = this, next = 0, ns = 0;

	if (!this || this == q->end) {
		q->whole = this == q->end; /* a mount that was just removed leads nowhere */
		return 1;
	}
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		bpf_probe_read_kernel(&next, sizeof(next), &((struct mount___chain *)this)->mnt_next_for_sb);
	} else {
		m = this - bpf_core_field_offset(struct mount, mnt_instance);
		bpf_probe_read_kernel(&next, sizeof(next), &((struct mount *)m)->mnt_instance.next);
	}
	q->next = next;
	bpf_probe_read_kernel(&ns, sizeof(ns), &((struct mount *)m)->mnt_ns);
	if (ns == q->ns) {
		if (q->found)
			q->many = 1;
		q->found = m + bpf_core_field_offset(struct mount, mnt);
	}
	return 0;
}

/* place_of_queue returns the mount that shows a queue to the workload, if there is
 * just one; else the kernel's own. */
static __noinline u64 place_of_queue(u32 w, u64 mnt, u64 dentry)
{
	struct workload *wl = workload_of(w);
	struct super_block *sb = BPF_CORE_READ((struct dentry *)dentry, d_sb);
	struct queue_search q = { .found = opaque, .many = opaque, .whole = opaque };
	/* 0, but not to 6.1: it looks at the loop's first turn alone, and would remove what is
	 * only reached later. */

	if (!wl)
		return mnt;
	q.ns = namespace_of(wl->root_mnt);
	if (namespace_of(mnt) == q.ns)
		return mnt;
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		bpf_probe_read_kernel(&q.next, sizeof(q.next), &((struct super_block___chain *)sb)->s_mounts);
	} else {
		bpf_probe_read_kernel(&q.next, sizeof(q.next), &sb->s_mounts.next);
		q.end = (u64)&sb->s_mounts;
	}
	bpf_loop(MAX_SB_MOUNTS, look_at_mount, &q, 0);
	return q.whole && q.found && !q.many ? q.found : mnt;
}

/* is_queue: is it one, not the directory of them? */
static __always_inline bool is_queue(struct dentry *d)
{
	return d->d_sb->s_magic == MQUEUE_MAGIC && kind_of(d->d_inode) != KIND_DIR;
}

/* decide_queue is decide for a queue that mq_open may have opened. */
static __always_inline int decide_queue(u32 w, u64 mnt, u64 dentry, u64 need)
{
	return decide_at(w, place_of_queue(w, mnt, dentry), dentry, need);
}
