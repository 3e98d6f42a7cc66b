/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Rename, exchange and link: two paths, and the no-gain rule. */
#pragma once

#include "verdict.h"

enum { OP_RENAME, OP_EXCHANGE, OP_LINK };

struct move {
	u32 op;
	u32 kind;      /* of what is moved */
	u32 overwrite; /* a target exists */
	u32 target;    /* and its kind */
};

/* missing_of returns the actions that the two places do not grant, as lacks
 * does. Only a move has a destination: what is created or deleted has none. */
static __always_inline u64 missing_of(const u64 *t, struct scratch *s, u64 plan, const struct move *mv)
{
	u32 old = s->old.class, new = s->new.class;
	u64 mask = arena_mask, missing;
	u32 handled = W(plan + HDR_HANDLED);
	u32 move = handled & BIT(ACT_MOVE), create = handled & BIT(ACT_CREATE), del = handled & BIT(ACT_DELETE);

	missing = lacks(t, s, plan, new, mv->kind | OF_DEST, create);
	if (mv->op == OP_LINK)
		return missing;
	missing |= lacks(t, s, plan, old, mv->kind | MOVING, move);
	if (!mv->overwrite)
		return missing;
	if (mv->op == OP_RENAME)
		return missing | lacks(t, s, plan, new, mv->target | OF_DEST, del);
	missing |= lacks(t, s, plan, new, mv->target | OF_DEST | MOVING, move);
	return missing | lacks(t, s, plan, old, mv->target, create);
}

static __always_inline int judge_move(struct scratch *s, const struct workload *wl, u64 plan, const struct move *mv,
				      struct denial *d)
{
	u64 *t = arena_base(), lack;

	d->reason = REASON_POLICY;
	if (s->path.status != PATH_OK || s->dest.status != PATH_OK) {
		d->reason = status_reason(s->path.status != PATH_OK ? s->path.status : s->dest.status);
		return EACCES;
	}
	if (!t || match(s, plan, false) || match(s, plan, true))
		return EACCES;
	if (ready(t, s, wl, plan, s->old.class > s->new.class ? s->old.class : s->new.class, d))
		return EACCES;
	lack = missing_of(t, s, plan, mv);
	d->missing = lack;
	d->reason = reason_of(lack);
	if (lack)
		return EACCES;
	plan = enforced(t, s, plan);
	if (!plan)
		return EACCES;
	if (gains(s, plan, mv->kind) ||
	    (mv->op == OP_EXCHANGE && gains(s, plan, mv->target | OF_DEST))) {
		d->reason = REASON_GAIN;
		d->missing = mv->op == OP_LINK ? BIT(ACT_CREATE) : BIT(ACT_MOVE);
		return EXDEV;
	}
	return 0;
}

static __always_inline u32 kind_at(struct inode *inode)
{
	return dir_kind(BPF_CORE_READ(inode, i_mode));
}

/* decide_move judges rename, exchange or link of old to new, both on mnt. Like
 * a kind, op may hold REFUSE. */
static __noinline int decide_move(u32 w, struct vfsmount *mnt, struct dentry *old, struct dentry *new, u32 op)
{
	u32 zero = opaque;
	/* 6.12 takes d_inode for never NULL and drops the test. */
	struct inode *target = BPF_CORE_READ(new, d_inode);
	struct move mv = { .op = (op + zero) & 255, .kind = kind_of(old->d_inode) + zero,
			   .overwrite = (target != NULL) + zero,
			   .target = kind_at(target) + zero };
	u32 what = op & ~255U, need = BIT(ACT_CREATE);
	struct decision c = {};
	int err;

	if (mv.op != OP_LINK)
		need |= BIT(ACT_MOVE) | BIT(ACT_DELETE);
	/* Even where these actions are allowed everywhere, others may be gained. */
	err = admit(&c, w, mv.kind | what, need | NEED_WALK, old->d_inode);
	if (err <= 0)
		return err;
	c.d.has_dest = 1;
	c.d.missing = need;
	walk(&c.s->path, mnt, old, c.wl);
	walk(&c.s->dest, mnt, new, c.wl);
	if (c.d.boundary)
		err = EPERM;
	else if (c.d.mode == MODE_LOCKDOWN)
		err = EACCES;
	else
		err = judge_move(c.s, c.wl, (u32)c.d.plan, &mv, &c.d);
	return conclude(&c, err);
}
