/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* From an operation to a verdict. Every failure here denies: these functions
 * run for confined tasks only. */
#pragma once

#include "identity.h"
#include "path.h"
#include "decide.h"
#include "how.h"
#include "event.h"
#include "hold.h"

/* claim takes a slot of this processor for the workload w, out of its share: whoever
 * is preempted in many verdicts at once leaves the others theirs. */
static __always_inline struct scratch *claim(u32 w)
{
	u32 first = w * SCRATCH_SHARE & (SCRATCH_SLOTS - 1);

	for (u32 i = 0; i < SCRATCH_SHARE; i++) {
		u32 key = first + i;
		struct scratch *s = bpf_map_lookup_elem(&scratches, &key);

		if (s && !__sync_lock_test_and_set(&s->busy, 1)) {
			s->facts.known = 0;
			s->facts.xattr_len = 0;
			s->facts.before = 0;
			s->reported = 0;
			s->tripped = 0;
			return s;
		}
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

/* bounded returns err as a hook may answer it: above -128 and never 0. It is
 * subtracted: of constants the verifier would follow each by itself. */
static __always_inline int bounded(int err)
{
	u64 errno = -err & 127;
	s64 answer;

	if (!errno)
		errno = EACCES;
	asm volatile("%0 = 0; %0 -= %1" : "=&r"(answer) : "r"(errno));
	return answer;
}

static __always_inline int withhold(u32 w)
{
	struct counters *c = bpf_map_lookup_elem(&counts, &w);

	if (c)
		__sync_fetch_and_add(&c->withheld, 1);
	return -EPERM;
}

/* deny counts and reports a refusal. Returns err, or 0 in audit mode. */
static __noinline int deny(const struct denial *d, struct scratch *s, const struct workload *wl, int err)
{
	emit(d, s, wl);
	if (mode_of(d) == MODE_AUDIT)
		return 0;
	return bounded(err);
}

/* dir_kind is KIND_DIR of a directory's mode, and 0 of others: by the bits of the type,
 * since the verifier would follow a branch through the whole decision. */
static __always_inline u32 dir_kind(u32 mode)
{
	u32 type = mode >> 12;

	return type >> 2 & ~(type >> 1) & ~(type >> 3) & 1;
}
_Static_assert(KIND_DIR == 1 && S_IFDIR >> 12 == 4 && S_IFBLK >> 12 == 6 && S_IFSOCK >> 12 == 12 && S_IFMT >> 12 == 15,
	       "bits of dir_kind");

static __always_inline u32 kind_of(struct inode *inode)
{
	return inode ? dir_kind(inode->i_mode) : 0;
}

/* nameless: memory, pipes, sockets and other objects lie on mounts that only the
 * kernel has, and have no path. Other filesystems that it mounts for itself show in
 * some place, too: POSIX message queues, debugfs, selinuxfs, smackfs and more. */
static __always_inline bool nameless(struct dentry *d)
{
	if (!(d->d_sb->s_flags & SB_KERNMOUNT))
		return false;
	switch (d->d_sb->s_magic) {
	case PIPEFS_MAGIC:
	case SOCKFS_MAGIC:
	case ANON_INODE_FS_MAGIC:
	case PIDFS_MAGIC:
	case NSFS_MAGIC:
	case TMPFS_MAGIC:
	case HUGETLBFS_MAGIC:
	case SECRETMEM_MAGIC:
	case DMA_BUF_MAGIC:
	case AIO_RING_MAGIC:
		return true;
	}
	return false;
}

/* layer tells the private mount through which overlayfs opens its layers: it
 * is in no namespace, and its superblock is a real one. Nobody can hold a
 * descriptor on such a mount; the operation on the overlay itself was judged. */
static __always_inline bool layer(u64 mnt)
{
	struct super_block *sb = NULL;
	unsigned long flags = 0;

	if (namespace_of(mnt) != MNT_NS_INTERNAL)
		return false;
	/* A read that fails leaves zeros: it must not pass for a layer. */
	if (bpf_probe_read_kernel(&sb, sizeof(sb), &((struct vfsmount *)mnt)->mnt_sb) ||
	    bpf_probe_read_kernel(&flags, sizeof(flags), &sb->s_flags))
		return false;
	return !(flags & SB_KERNMOUNT);
}

static __always_inline u32 status_reason(u32 status)
{
	switch (status) {
	case PATH_OUTSIDE:
		return REASON_OUTSIDE;
	case PATH_TOO_DEEP:
		return REASON_TOO_DEEP;
	case PATH_FOLDED:
		return REASON_FOLDED;
	}
	return REASON_TORN;
}

/* ready gathers what a verdict on class may need to know of the executables.
 * Returns 0 or the denial's errno. */
static __always_inline int ready(const u64 *t, struct scratch *s, const struct workload *wl, u64 plan, u32 class,
				 struct denial *d)
{
	u64 mask = arena_mask;
	int status;

	if (class < rows_of(t, mask, plan) || !W(plan + HDR_EXE))
		return 0;
	status = know_exe(s, wl, plan);
	if (status == PATH_OK)
		return 0;
	d->reason = status_reason(status);
	return -EACCES;
}

/* judge decides a path that s->path holds. Returns 0 or the denial's errno,
 * and fills in what the event needs. */
static __always_inline int judge(struct scratch *s, const struct workload *wl, u64 plan, u64 need, struct denial *d)
{
	u64 *t = arena_base(), lack;

	d->missing = need & ~NEED_ANY;
	d->reason = REASON_POLICY;
	if (s->path.status != PATH_OK) {
		d->reason = status_reason(s->path.status);
		return -EACCES;
	}
	s->denied = 0;
	if (!t || match(s, plan, false) || ready(t, s, wl, plan, s->old.class, d))
		return -EACCES;
	lack = lacks(t, s, plan, s->old.class, d->kind, need);
	d->missing = lack;
	d->reason = reason_of(s, lack);
	return lack ? -EACCES : 0;
}

/* enter reads what a decision about w needs. Returns 0 to go on, 1 when the
 * operation is allowed whatever its path, -1 when nothing can allow it. */
static __always_inline int enter(u32 w, u32 how, u64 need, struct workload **wl, struct denial *d)
{
	u64 mask = arena_mask, *t = arena_base(), plan, handled;
	u32 key = w & (MAX_WORKLOADS - 1);

	d->workload = key;
	d->kind = how & KIND_MASK;
	d->boundary = how >> 8;
	d->late = how / LATE;
	d->missing = need & ~NEED_FLAGS;
	d->reason = REASON_NO_PLAN;
	*wl = bpf_map_lookup_elem(&workloads, &key);
	if (!*wl || !t)
		return -1;
	d->plan = (*wl)->plan;
	d->mode = (*wl)->mode & ~(how / FIRM & MODE_AUDIT); /* no branch, for the verifier */
	plan = (u32)d->plan;
	if (!plan)
		return -1;
	if (d->boundary) {
		d->reason = REASON_BOUNDARY;
		return 0;
	}
	if (d->mode == MODE_LOCKDOWN) { /* of what the policies do not handle, too */
		d->reason = REASON_LOCKDOWN;
		return 0;
	}
	handled = W(plan + HDR_HANDLED);
	if (!(need & handled))
		return 1;
	need &= handled | NEED_FLAGS;
	if (!(need & NEED_WALK) && settles(W(plan + HDR_EVERYWHERE + d->kind), need))
		return 1;
	return 0;
}

static __always_inline u64 handled_of(u64 need, u64 plan)
{
	u64 mask = arena_mask, *t = arena_base();

	return t ? need & (W((u32)plan + HDR_HANDLED) | NEED_ANY) : need;
}

/* A decision in progress. */
struct decision {
	struct workload *wl;
	struct scratch *s;
	u64 need;
	struct denial d;
};

/* lifted: do the enforced policies allow the operation on every path? Then it was
 * judged for policies in audit alone, and whatever failed is only reported. */
static __noinline bool lifted(const struct decision *c)
{
	u64 mask = arena_mask, *t = arena_base(), plan = (u32)c->d.plan, at;

	if (!t || c->d.boundary || c->d.mode != MODE_ENFORCE || c->need & NEED_WALK)
		return false;
	at = W(plan + HDR_ENFORCED);
	return at && settles(W(plan + at + HDR_EVERYWHERE + c->d.kind), handled_of(c->need, plan));
}

/* admit begins a decision. Returns 1 when there is a path to judge, with
 * scratch memory claimed; else 0 or the errno that settles it. */
static __always_inline int admit(struct decision *c, u32 w, u32 how, u64 need, struct inode *inode)
{
	int state;

	c->need = need + opaque_mask;
	state = enter(w, how + opaque, c->need, &c->wl, &c->d);

	if (state > 0)
		return count_allowed(w);
	if (!c->wl)
		return -EACCES;
	c->d.inode = inode;
	if (state < 0)
		return deny(&c->d, NULL, c->wl, -EACCES);
	c->s = claim(c->d.workload);
	if (c->s)
		return 1;
	c->d.reason = REASON_BUSY;
	if (lifted(c))
		c->d.mode = MODE_AUDIT;
	return deny(&c->d, NULL, c->wl, -EACCES);
}

/* conclude ends a decision: err is 0 or the denial's errno. */
static __always_inline int conclude(struct decision *c, int err)
{
	if (err ? lifted(c) : c->s->reported)
		c->d.mode = MODE_AUDIT;
	if (!err && c->s->reported) {
		c->d.missing = c->s->reported;
		c->d.reason = REASON_POLICY;
		err = -EACCES; /* which audit lifts */
	}
	c->d.trips = err && c->s->tripped && c->d.mode == MODE_ENFORCE; /* what is asked trips nothing */
	if (err)
		err = deny(&c->d, c->s, c->wl, err);
	else
		count_allowed(c->d.workload);
	release(c->s);
	return err ? bounded(err) : 0;
}

static __always_inline int judge_walked(struct decision *c)
{
	if (c->d.boundary)
		return -EPERM;
	if (c->d.mode == MODE_LOCKDOWN)
		return -EACCES;
	return judge(c->s, c->wl, (u32)c->d.plan, handled_of(c->need, c->d.plan), &c->d);
}

#define SET_ID_NAME "security.capability"

/* set_id: a program that runs with its owner's rights, whoever executes it, is what
 * the attribute of file capabilities makes, too: it is judged by that name. On a
 * directory the bits give no rights. Without branches, each of which the verifier
 * would follow through the whole decision. */
static __always_inline u32 set_id(u32 mode, u32 before, u32 kind)
{
	u32 bits = mode & ~before;

	bits |= mode & (bits & S_IXGRP) << 7; /* set-group-ID counts with it alone */
	return ((bits & S_ISUID) >> 4 | (bits & S_ISGID) >> 3) & ~(kind << 7);
}
_Static_assert(S_ISUID >> 4 == SETS_ID && S_ISGID >> 3 == SETS_ID && KIND_DIR << 7 == SETS_ID, "bits of set_id");

#define NEED_OF(how) (((how) & SETS_ID) << 1)
_Static_assert(SETS_ID << 1 == BIT(ACT_SET_X_ATTR), "action of set_id");

static __always_inline void name_set_id(struct scratch *s)
{
	__builtin_memcpy(s->xattr, SET_ID_NAME, sizeof(SET_ID_NAME));
	s->facts.xattr_len = sizeof(SET_ID_NAME) - 1;
}

/* decide judges one operation on one path. */
static __noinline int decide(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 how, u64 need)
{
	struct decision c = {};
	int err = admit(&c, w, how, need, dentry->d_inode);

	if (err <= 0)
		return err;
	c.s->facts.before = how & BEFORE;
	if (how & SETS_ID)
		name_set_id(c.s);
	walk(&c.s->path, mnt, dentry, c.wl);
	err = judge_walked(&c);
	if (err && c.d.reason == REASON_OUTSIDE && layer((u64)mnt))
		err = 0;
	if (err && c.d.reason == REASON_ASK && how & HOLD_FLAGS) {
		if (how & MAY_HOLD && !hold(&c.d, c.s, c.wl, need)) {
			release(c.s);
			return 0;
		}
		if (how & MUST_HOLD)
			err = confirm(&c.d);
		else if (how & IS_MAPPED)
			err = proven(c.d.inode) ? 0 : -EACCES;
	}
	return conclude(&c, err);
}

/* decide_at is decide for a path known by its addresses. */
static __noinline int decide_at(u32 w, u64 mnt, u64 dentry, u64 need)
{
	struct decision c = {};
	int err = admit(&c, w, 0, need, BPF_CORE_READ((struct dentry *)dentry, d_inode));

	if (err <= 0)
		return err;
	walk_addr(&c.s->path, mnt, dentry, c.wl);
	return conclude(&c, judge_walked(&c));
}

/* decide_file is decide for a file that may be overlayfs's inner one: its path
 * is then the one the user opened. */
static __always_inline int decide_file(u32 w, struct file *file, u64 need)
{
	u64 mnt = (u64)file->f_path.mnt, dentry = (u64)file->f_path.dentry;

	if (bpf_core_type_exists(struct backing_file) && layer(mnt)) {
		struct backing_file *b = (struct backing_file *)file;

		bpf_probe_read_kernel(&mnt, sizeof(mnt), &b->user_path.mnt);
		bpf_probe_read_kernel(&dentry, sizeof(dentry), &b->user_path.dentry);
	}
	return decide_at(w, mnt, dentry, need);
}

/* decide_exe judges an operation that has no path of its own: its resource is
 * the executable that asks for it. */
static __noinline int decide_exe(u32 w, u64 need)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct decision c = {};
	int err = admit(&c, w, 0, need, NULL);

	if (err <= 0)
		return err;
	walk_exe(&c.s->path, task, c.wl);
	return conclude(&c, judge_walked(&c));
}

/* refuse_number denies what no policy can grant and has no path, with an errno
 * after which programs fall back; the event tells the number of what would have to
 * be granted. */
static __noinline int refuse_number(u32 w, u32 what, u64 actions, u32 number, int err)
{
	struct workload *wl = NULL;
	struct denial d = {};

	if (enter(w, what << 8, actions, &wl, &d) || !wl)
		return bounded(err);
	d.hold = number;
	return deny(&d, NULL, wl, err) ? bounded(err) : 0;
}

static __always_inline int refuse_as(u32 w, u32 what, u64 actions, int err)
{
	return refuse_number(w, what, actions, 0, err);
}

/* refuse denies what would end or bypass enforcement and has no path. */
static __always_inline int refuse(u32 w, u32 what, u64 actions)
{
	return refuse_number(w, what, actions, 0, -EPERM);
}

/* open_need returns what an open asks. */
static __always_inline u64 open_need(struct file *file)
{
	u32 flags = file->f_flags, mode = file->f_mode;
	u64 need = BIT(ACT_OPEN);

	if (flags & FMODE_EXEC)
		return BIT(ACT_EXECUTE);
	if (mode & FMODE_READ)
		need |= BIT(ACT_READ);
	if (mode & FMODE_WRITE || flags & O_TRUNC)
		need |= BIT(ACT_WRITE);
	if (flags & O_TMPFILE_BIT)
		need |= BIT(ACT_CREATE);
	return need;
}
