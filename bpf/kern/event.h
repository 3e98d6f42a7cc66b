/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Denials on the ring. Every denial takes a sequence number; one that finds no
 * buffer or no room on the ring, or whose workload has its share of it, is counted as
 * dropped. Neither changes the verdict. */
#pragma once

#include "facts.h"
#include "share.h"

struct denial {
	u64 plan;
	u32 workload;
	u32 missing;
	u8 kind : 4, has_dest : 4; /* small: all stacks of a call chain together have 512 bytes */
	u8 reason;
	u8 mode;
	u8 boundary;
	u32 hold; /* or the number of a capability, or of a kind of socket */
	struct inode *inode; /* or NULL */
};

static __always_inline void count_dropped(u32 w)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->dropped, 1);
}

static __always_inline struct event_buf *claim_buf(void)
{
	for (u32 i = 0; i < EVENT_SLOTS; i++) {
		u32 key = i;
		struct event_buf *e = bpf_map_lookup_elem(&event_bufs, &key);

		if (e && !__sync_lock_test_and_set(&e->busy, 1))
			return e;
	}
	return NULL;
}

struct packing {
	struct event_buf *e;
	struct walked *w;
};

/* pack_one appends component i and its NUL. State in the map: see step. */
static int pack_one(u64 i, struct packing *ctx)
{
	struct event_buf *e = ctx->e;
	struct walked *w = ctx->w;
	struct component *c = &w->c[i & (MAX_COMPONENTS - 1)];
	u64 at = e->at, len = c->len;

	if (i >= w->n)
		return 1;
	if (len > MAX_NAME || at - e->start + len + 1 > MAX_PATH || at > EVENT_BYTES - MAX_NAME - INLINE_NAME - 2) {
		w->status = PATH_CUT;
		return 1;
	}
	if (len <= INLINE_NAME) {
		*(u64 *)(e->bytes + at) = c->a;
		*(u64 *)(e->bytes + at + 8) = c->b;
	} else {
		asm volatile("%0 &= 255" : "+r"(len));
		bpf_probe_read_kernel(e->bytes + at, len, (void *)c->a);
	}
	at += len & 255;
	e->bytes[at] = 0;
	e->at = at + 1;
	return 0;
}

/* pack appends a walked path to the event and returns its length. */
static __always_inline u32 pack(struct event_buf *e, struct walked *w)
{
	struct packing ctx = { .e = e, .w = w };

	e->start = e->at;
	if (w->n)
		bpf_loop(MAX_COMPONENTS, pack_one, &ctx, 0);
	return e->at - e->start;
}

/* mode_of: audit is about policies, the boundary stays. */
static __always_inline u32 mode_of(const struct denial *d)
{
	return d->boundary && d->mode == MODE_AUDIT ? MODE_ENFORCE : d->mode;
}

static __always_inline void fill(struct event *ev, const struct denial *d, struct task_struct *task)
{
	struct inode *inode = d->inode;
	u64 ids = bpf_get_current_uid_gid();

	ev->time = bpf_ktime_get_ns();
	ev->cgroup = bpf_get_current_cgroup_id();
	ev->workload = d->workload;
	ev->generation = d->plan >> 32;
	ev->pid = task->tgid;
	ev->tid = task->pid;
	ev->uid = ids;
	ev->gid = ids >> 32;
	ev->missing = d->missing;
	ev->action = 255;
	for (u32 i = 0; i < 32; i++) {
		if (d->missing >> i & 1) {
			ev->action = i;
			break;
		}
	}
	ev->kind = d->kind;
	ev->reason = d->reason;
	ev->mode = mode_of(d);
	ev->boundary = d->boundary;
	ev->hold = d->reason == REASON_BOUNDARY ? 0 : d->hold;
	ev->inode = 0;
	ev->device = d->boundary == BOUNDARY_CAPABILITY || d->boundary == BOUNDARY_NETWORK ? d->hold : 0;
	if (inode) {
		ev->inode = BPF_CORE_READ(inode, i_ino);
		ev->device = BPF_CORE_READ(inode, i_sb, s_dev);
	}
	bpf_get_current_comm(ev->comm, sizeof(ev->comm));
}

/* fill_facts notes what the verdict knew of the request, or what is so now. */
static __always_inline void fill_facts(struct event_buf *e, struct scratch *s, struct task_struct *task)
{
	struct event *ev = &e->event;
	const struct cred *cred = cred_of(task);

	ev->euid = BPF_CORE_READ(cred, euid.val);
	ev->egid = BPF_CORE_READ(cred, egid.val);
	ev->automaton = 0;
	ev->exe_class = ev->parent_class = 0;
	ev->xattr_len = 0;
	if (s && s->facts.known & KNOWN_EXE) {
		ev->automaton = s->facts.automaton;
		ev->exe_class = s->facts.exe;
		ev->parent_class = s->facts.parent;
	}
	ev->now = s && s->facts.known & KNOWN_NOW ? s->facts.now : now_ms();
}

/* pack_xattr appends the name of the extended attribute. */
static __always_inline void pack_xattr(struct event_buf *e, struct scratch *s)
{
	u64 at = e->at, len = s->facts.xattr_len;

	asm volatile("%0 &= 255" : "+r"(len));
	if (!len || at > EVENT_BYTES - MAX_NAME - 1)
		return;
	bpf_probe_read_kernel(e->bytes + at, len, s->xattr);
	e->event.xattr_len = len;
	e->at = at + len;
}

/* emit sends one event, or a hold to the agent. s is NULL when no path was
 * walked. Returns 0 when it is on its way. */
__noinline int emit(const struct denial *d, struct scratch *s, const struct workload *wl)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 *seq, size, n = 0;
	struct event_buf *e;
	struct event *ev;
	bool held;
	long err;
	u32 w;

	if (!d || !wl)
		return -1;
	held = d->reason == REASON_HELD;
	w = d->workload;
	seq = held ? NULL : bpf_map_lookup_elem(&seqs, &w);
	if (seq)
		n = __sync_fetch_and_add(seq, 1) + 1;
	e = claim_buf();
	if (!e) {
		if (!held)
			count_dropped(w);
		return -1;
	}
	ev = &e->event;
	fill(ev, d, task);
	fill_facts(e, s, task);
	ev->seq = n;
	e->at = sizeof(struct event);
	ev->path_status = ev->dest_status = PATH_NONE;
	ev->path_len = ev->dest_len = 0;
	if (s) {
		ev->path_len = pack(e, &s->path);
		ev->path_status = s->path.status;
		if (d->has_dest) {
			ev->dest_len = pack(e, &s->dest);
			ev->dest_status = s->dest.status;
		}
	}
	walk_exe(&e->exe, task, wl);
	ev->exe_len = pack(e, &e->exe);
	ev->exe_status = e->exe.status;
	if (s)
		pack_xattr(e, s);
	size = e->at;
	if (size > EVENT_BYTES || share_lacks(w, size, held))
		err = -1;
	else if (held)
		err = bpf_ringbuf_output(&asked, e->bytes, size, 0);
	else
		err = bpf_ringbuf_output(&events, e->bytes, size, 0);
	if (err && !held)
		count_dropped(w);
	__sync_lock_test_and_set(&e->busy, 0);
	return err ? -1 : 0;
}
