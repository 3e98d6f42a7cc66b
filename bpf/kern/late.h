/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Refusals that need not fail their call. The kernel asks whether a file may be
 * created before it looks whether there is one, and goes on to the next process of a
 * group where one may not be signalled. Such a denial's event is kept until the call
 * ends: it is counted, numbered and sent if the call failed by it, and else forgotten.
 * Where there is no room to keep it, it is sent at once, and says so; whether it trips a
 * wire waits for the end of the call even then.
 *
 * An open that finds its file ends at file_open. One that fails gives back the number
 * that was to be the file's, which costs opens that succeed nothing; by io_uring it may
 * have none, but a function of its own. Signals end with their system calls. */
#pragma once

#include "share.h"

/* Set by the loader: the kernel has the functions in which opens and signals end. */
const volatile u32 late_opens, late_signals;

/* Events kept: while there are none, who ends a call pays one load. */
volatile u32 undecided;

/* struct task_struct * → the event of the call that it is in. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_LATE);
	__type(key, u64);
	__type(value, struct kept);
} lates SEC(".maps");

/* struct task_struct * → a denial that trips a wire if its call fails by it, and whose
 * event is sent. */
struct owed {
	struct call call;
	u32 workload;
	u32 pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TASKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct owed);
} owing SEC(".maps");

static __always_inline void count_denied(u32 w)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->denied, 1);
}

static __always_inline void count_dropped(u32 w)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->dropped, 1);
}

/* number_event counts a denial and returns its number. */
static __always_inline u64 number_event(u32 w)
{
	u64 *seq = bpf_map_lookup_elem(&seqs, &w);

	count_denied(w);
	return seq ? __sync_fetch_and_add(seq, 1) + 1 : 0;
}

/* trip locks a workload down: whatever it does next is denied. It takes effect with the
 * denial, whether or not there is room for its event. */
static __always_inline void trip(u32 w)
{
	struct workload *wl = workload_of(w);

	if (wl)
		wl->mode = MODE_LOCKDOWN;
}

/* publish sends a denial's event. */
static __always_inline int publish(u32 w, struct kept *k)
{
	u64 size = k->size;
	long err = -1;

	k->event.seq = number_event(w);
	if (k->event.trips)
		trip(w);
	if (size <= EVENT_BYTES && !share_lacks(w, size, false))
		err = bpf_ringbuf_output(&events, k->bytes, size, 0);
	if (err)
		count_dropped(w);
	return err ? -1 : 0;
}

/* disclaim is for a call that goes on to another denial: what it owes is not why it fails. */
static __noinline void disclaim(void)
{
	u64 key = bpf_get_current_task();

	if (undecided && !bpf_map_delete_elem(&owing, &key))
		__sync_fetch_and_add(&undecided, -1);
}

/* keep keeps the event of the current task's call, which asks again where it tries
 * again. Returns whether there was room. */
static __always_inline bool keep(struct kept *k)
{
	u64 key = bpf_get_current_task();
	bool again = bpf_map_lookup_elem(&lates, &key);

	if (bpf_map_update_elem(&lates, &key, k, BPF_ANY))
		return false;
	disclaim();
	if (!again)
		__sync_fetch_and_add(&undecided, 1);
	return true;
}

/* owe is keep for what there was no room for, and that trips: the call is remembered. */
static __noinline bool owe(s64 err, u32 w)
{
	u64 key = bpf_get_current_task();
	struct owed o = { .call = { .err = err }, .workload = w };
	bool again = bpf_map_lookup_elem(&owing, &key);

	if (bpf_map_update_elem(&owing, &key, &o, BPF_ANY))
		return false;
	if (!again)
		__sync_fetch_and_add(&undecided, 1);
	return true;
}

static __always_inline struct owed *owed(void)
{
	u64 key = bpf_get_current_task();

	return bpf_map_lookup_elem(&owing, &key);
}

static __always_inline bool kept(void)
{
	u64 key = bpf_get_current_task();

	return undecided && (bpf_map_lookup_elem(&lates, &key) || owed());
}

/* settled ends what the current task's call owes. */
static __always_inline void settled(s64 ret)
{
	u64 key = bpf_get_current_task();
	struct owed *o = owed();

	if (!o)
		return;
	if (ret == o->call.err)
		trip(o->workload);
	bpf_map_delete_elem(&owing, &key);
	__sync_fetch_and_add(&undecided, -1);
}

/* ended ends what the current task's call left open: ret is what it returns. Returns
 * the workload whose event is forgotten, 0 if none is. */
static __noinline u32 ended(s64 ret)
{
	u64 key = bpf_get_current_task();
	struct kept *k = bpf_map_lookup_elem(&lates, &key);
	u32 w;

	if (!k) {
		settled(ret);
		return 0;
	}
	w = k->event.workload;
	if (ret == k->call.err) {
		publish(w, k);
		w = 0;
	}
	bpf_map_delete_elem(&lates, &key);
	__sync_fetch_and_add(&undecided, -1);
	return w;
}

static __always_inline void name_of(struct call *c, struct dentry *dentry)
{
	c->dentry = (u64)dentry;
	c->dir = (u64)dentry->d_parent;
	c->name = BPF_CORE_READ(dentry, d_name.hash_len); /* 6.1 follows no pointer into a union */
}

/* note_name notes which name the current task's call may not create. */
static __always_inline void note_name(struct dentry *dentry)
{
	u64 key = bpf_get_current_task();
	struct kept *k = undecided ? bpf_map_lookup_elem(&lates, &key) : NULL;
	struct owed *o = undecided && !k ? owed() : NULL;

	if (k)
		name_of(&k->call, dentry);
	if (o)
		name_of(&o->call, dentry);
}

/* exists: has the file that was not to be created a name, after all? */
static __always_inline bool exists(const struct call *c)
{
	struct dentry *dentry = (struct dentry *)c->dentry; /* read with care: it may be gone */

	return (u64)BPF_CORE_READ(dentry, d_parent) == c->dir && BPF_CORE_READ(dentry, d_name.hash_len) == c->name &&
	       BPF_CORE_READ(dentry, d_inode);
}

/* open_failed ends an open that found no file, or may not open it for another reason.
 * What audit would refuse counts only where it was done. */
static __noinline int open_failed(void)
{
	u64 key = bpf_get_current_task();
	struct kept *k = bpf_map_lookup_elem(&lates, &key);
	struct owed *o;

	if (k) {
		ended(k->event.mode == MODE_AUDIT || exists(&k->call) ? 0 : k->call.err);
		return 0;
	}
	o = owed();
	if (o)
		settled(exists(&o->call) ? 0 : o->call.err);
	return 0;
}

static __always_inline u32 ended_by(void *ctx)
{
	u64 ret = 0;

	if (!undecided || bpf_get_func_ret(ctx, &ret))
		return 0;
	return ended(ret);
}
