/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Denials on the ring. Every denial is counted and takes a sequence number; one that
 * finds no buffer or no room on the ring, or whose workload has its share of it, is
 * counted as dropped, too. Neither changes the verdict. */
#pragma once

#include "facts.h"
#include "late.h"

struct denial {
	u64 plan;
	u64 missing;
	struct inode *inode; /* or NULL */
	u32 workload;
	u8 kind : 3, has_dest : 1, late : 1, trips : 1; /* small: all stacks of a call chain together have 512 bytes */
	u8 reason;
	u8 mode;
	u8 boundary;
	u32 hold; /* or the number of a capability, or of a kind of socket */
};

static __always_inline struct event_buf *claim_buf(u32 w)
{
	u32 first = w * EVENT_SHARE & (EVENT_SLOTS - 1);

	for (u32 i = 0; i < EVENT_SHARE; i++) {
		u32 key = first + i;
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
	u64 at = e->out.size, len = c->len;

	if (i >= w->n)
		return 1;
	if (len > MAX_NAME || at - e->start + len + 1 > MAX_PATH || at > EVENT_BYTES - MAX_NAME - INLINE_NAME - 2) {
		w->status = PATH_CUT;
		return 1;
	}
	if (len <= INLINE_NAME) {
		*(u64 *)(e->out.bytes + at) = c->a;
		*(u64 *)(e->out.bytes + at + 8) = c->b;
	} else {
		asm volatile("%0 &= 255" : "+r"(len));
		bpf_probe_read_kernel(e->out.bytes + at, len, (void *)c->a);
	}
	at += len & 255;
	e->out.bytes[at] = 0;
	e->out.size = at + 1;
	return 0;
}

/* pack appends a walked path to the event and returns its length. */
static __always_inline u32 pack(struct event_buf *e, struct walked *w)
{
	struct packing ctx = { .e = e, .w = w };

	e->start = e->out.size;
	if (w->n)
		bpf_loop(MAX_COMPONENTS, pack_one, &ctx, 0);
	return e->out.size - e->start;
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
	for (u32 i = 0; i < 64; i++) {
		if (d->missing >> i & 1) {
			ev->action = i;
			break;
		}
	}
	ev->kind = d->kind;
	ev->reason = d->reason;
	ev->mode = mode_of(d);
	ev->boundary = d->boundary;
	ev->trips = d->trips;
	ev->unsure = 0;
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
	struct event *ev = &e->out.event;
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
	ev->now = s && s->facts.known & KNOWN_NOW ? s->facts.number[DIM_NOW] : now_ms();
}

/* pack_xattr appends the name of the extended attribute. */
static __always_inline void pack_xattr(struct event_buf *e, struct scratch *s)
{
	u64 at = e->out.size, len = s->facts.xattr_len;

	asm volatile("%0 &= 255" : "+r"(len));
	if (!len || at > EVENT_BYTES - MAX_NAME - 1)
		return;
	bpf_probe_read_kernel(e->out.bytes + at, len, s->xattr);
	e->out.event.xattr_len = len;
	e->out.size = at + len;
}

/* send passes on what emit made: to the agent, or to the ring, at once or later. */
static __always_inline int send(struct event_buf *e, const struct denial *d)
{
	u64 size = e->out.size;

	if (d->reason == REASON_HELD)
		return size <= EVENT_BYTES && !share_lacks(d->workload, size, true) &&
			       !bpf_ringbuf_output(&asked, e->out.bytes, size, 0) ? 0 : -1;
	e->out.call.err = d->boundary ? -EPERM : -EACCES;
	if (d->late && keep(&e->out))
		return 0;
	e->out.event.unsure = d->late;
	if (d->late && !d->trips)
		disclaim();
	else if (d->late && owe(e->out.call.err, d->workload))
		e->out.event.trips = 0;
	return publish(d->workload, &e->out);
}

/* emit counts a denial and sends its event, or a hold to the agent. s is NULL when no
 * path was walked. Returns 0 when it is on its way. */
__noinline int emit(const struct denial *d, struct scratch *s, const struct workload *wl)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct event_buf *e;
	struct event *ev;
	int err;

	if (!d || !wl)
		return -1;
	e = claim_buf(d->workload);
	if (!e) {
		if (d->reason != REASON_HELD) {
			number_event(d->workload);
			count_dropped(d->workload);
			if (d->trips && !(d->late && owe(-EACCES, d->workload)))
				trip(d->workload);
		}
		return -1;
	}
	ev = &e->out.event;
	fill(ev, d, task);
	fill_facts(e, s, task);
	ev->seq = 0;
	e->out.size = sizeof(struct event);
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
	err = send(e, d);
	__sync_lock_test_and_set(&e->busy, 0);
	return err;
}
