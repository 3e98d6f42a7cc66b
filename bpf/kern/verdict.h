/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From an operation to a verdict. Every failure here denies: these functions
 * run for confined tasks only. */
#pragma once

#include "identity.h"
#include "path.h"
#include "match.h"
#include "event.h"

#define KIND_DIR 1U
#define NEED_ANY (1U << 31) /* in need: one of the actions suffices */

static __always_inline struct scratch *claim(void)
{
	for (u32 i = 0; i < SCRATCH_SLOTS; i++) {
		u32 key = i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &key);

		if (s && !__sync_lock_test_and_set(&s->busy, 1))
			return s;
	}
	return NULL;
}

static __always_inline void release(struct scratch *s)
{
	__sync_lock_test_and_set(&s->busy, 0);
}

static __always_inline int count_allowed(u32 w)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->allowed, 1);
	return 0;
}

/* deny counts and reports a refusal. Returns err, or 0 in audit mode. */
static __noinline int deny(const struct denial *d, struct scratch *s, const struct workload *wl, int err)
{
	u32 w = d->workload;
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->denied, 1);
	emit(d, s, wl);
	if (d->mode == MODE_AUDIT)
		return 0;
	return err == EXDEV ? -EXDEV : err == EPERM ? -EPERM : -EACCES;
}

static __always_inline u32 kind_of(struct inode *inode)
{
	return inode && (inode->i_mode & S_IFMT) == S_IFDIR ? KIND_DIR : 0;
}

/* layer tells the private mount through which overlayfs opens its layers: it
 * is in no namespace, and its superblock is a real one. Nobody can hold a
 * descriptor on such a mount; the operation on the overlay itself was judged. */
static __always_inline bool layer(u64 mnt)
{
	struct mount *m = (struct mount *)(mnt - bpf_core_field_offset(struct mount, mnt));
	u64 ns = 0;
	unsigned long flags = SB_KERNMOUNT;
	struct super_block *sb = NULL;

	bpf_probe_read_kernel(&ns, sizeof(ns), &m->mnt_ns);
	if (ns != MNT_NS_INTERNAL)
		return false;
	bpf_probe_read_kernel(&sb, sizeof(sb), &((struct vfsmount *)mnt)->mnt_sb);
	bpf_probe_read_kernel(&flags, sizeof(flags), &sb->s_flags);
	return !(flags & SB_KERNMOUNT);
}

static __always_inline u32 status_reason(u32 status)
{
	switch (status) {
	case PATH_OUTSIDE:
		return REASON_OUTSIDE;
	case PATH_TOO_DEEP:
		return REASON_TOO_DEEP;
	}
	return REASON_TORN;
}

/* lacks returns the actions of need that class does not allow. */
static __always_inline u32 lacks(const u64 *t, u64 mask, u64 plan, u32 class, u32 kind, u32 need)
{
	u32 allow = row(t, mask, plan, class, kind & 1);

	if (need & NEED_ANY)
		return allow & need ? 0 : need & ~NEED_ANY;
	return need & ~allow;
}

/* judge decides a path that s->path holds. Returns 0 or the denial's errno,
 * and fills in what the event needs. */
static __always_inline int judge(struct scratch *s, u64 plan, u32 need, struct denial *d)
{
	u64 mask = arena_mask, *t = arena_base();
	struct matched m = {};

	d->missing = need & ~NEED_ANY;
	d->reason = REASON_POLICY;
	if (s->path.status != PATH_OK) {
		d->reason = status_reason(s->path.status);
		return EACCES;
	}
	if (!t || match(s, &s->path, plan, &m))
		return EACCES;
	d->missing = lacks(t, mask, plan, m.class, d->kind, need);
	return d->missing ? EACCES : 0;
}

/* enter reads what a decision about w needs. Returns 0 to go on, 1 when the
 * operation is allowed whatever its path, -1 when nothing can allow it. */
static __always_inline int enter(u32 w, u32 kind, u32 need, struct workload **wl, struct denial *d)
{
	u64 mask = arena_mask, *t = arena_base(), plan;
	u32 key = w & (MAX_WORKLOADS - 1), handled;

	d->workload = key;
	d->kind = kind & 1;
	d->missing = need & ~NEED_ANY;
	d->reason = REASON_NO_PLAN;
	*wl = bpf_map_lookup_elem(&workloads, &key);
	if (!*wl || !t)
		return -1;
	d->plan = (*wl)->plan;
	d->mode = (*wl)->mode;
	plan = (u32)d->plan;
	if (!plan)
		return -1;
	handled = W(plan + HDR_HANDLED);
	if (!(need & handled))
		return 1;
	if (d->mode == MODE_LOCKDOWN) {
		d->reason = REASON_LOCKDOWN;
		return 0;
	}
	need &= handled | NEED_ANY;
	if (!(need & NEED_ANY) && !(need & ~(u32)(W(plan + HDR_FILE) >> 32 * d->kind)))
		return 1;
	return 0;
}

static __always_inline u32 handled_of(u64 need, u64 plan)
{
	u64 mask = arena_mask, *t = arena_base();

	return t ? need & (W((u32)plan + HDR_HANDLED) | NEED_ANY) : need;
}

/* decide judges one operation on one path. */
static __noinline int decide(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 kind, u32 need)
{
	struct workload *wl = NULL;
	struct denial d = {};
	struct scratch *s;
	int err;

	err = enter(w, kind, need, &wl, &d);
	if (err > 0)
		return count_allowed(w);
	if (!wl)
		return -EACCES;
	d.inode = dentry->d_inode;
	if (err < 0)
		return deny(&d, NULL, wl, EACCES);
	s = claim();
	if (!s) {
		d.reason = REASON_BUSY;
		return deny(&d, NULL, wl, EACCES);
	}
	walk(&s->path, mnt, dentry, wl);
	if (d.mode == MODE_LOCKDOWN)
		err = EACCES;
	else
		err = judge(s, (u32)d.plan, handled_of(need, d.plan), &d);
	if (err && d.reason == REASON_OUTSIDE && layer((u64)mnt))
		err = 0;
	if (err)
		err = deny(&d, s, wl, err);
	else
		count_allowed(w);
	release(s);
	return err < 0 ? (err == -EXDEV ? -EXDEV : -EACCES) : 0;
}

/* decide_file is decide for a file that may be overlayfs's inner one: its path
 * is then the one the user opened. */
static __noinline int decide_file(u32 w, struct file *file, u32 need)
{
	struct workload *wl = NULL;
	struct denial d = {};
	struct scratch *s;
	u64 mnt = (u64)file->f_path.mnt, dentry = (u64)file->f_path.dentry;
	int err;

	if (bpf_core_type_exists(struct backing_file) && layer(mnt)) {
		struct backing_file *b = (struct backing_file *)file;

		bpf_probe_read_kernel(&mnt, sizeof(mnt), &b->user_path.mnt);
		bpf_probe_read_kernel(&dentry, sizeof(dentry), &b->user_path.dentry);
	}
	err = enter(w, 0, need, &wl, &d);
	if (err > 0)
		return count_allowed(w);
	if (!wl)
		return -EACCES;
	d.inode = file->f_inode;
	if (err < 0)
		return deny(&d, NULL, wl, EACCES);
	s = claim();
	if (!s) {
		d.reason = REASON_BUSY;
		return deny(&d, NULL, wl, EACCES);
	}
	walk_addr(&s->path, mnt, dentry, wl);
	err = d.mode == MODE_LOCKDOWN ? EACCES : judge(s, (u32)d.plan, handled_of(need, d.plan), &d);
	if (err)
		err = deny(&d, s, wl, err);
	else
		count_allowed(w);
	release(s);
	return err < 0 ? -EACCES : 0;
}
