/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Rename, exchange and link: two paths, and what a move may not bring about; and
 * symbolic links, which show at one place what lies at another. */
#pragma once

#include "verdict.h"
#include "gain.h"

enum { OP_RENAME, OP_EXCHANGE, OP_LINK };

/* missing_of returns the actions that the two places do not grant, as lacks
 * does. Only a move has a destination: what is created or deleted has none. */
static __always_inline u64 missing_of(const u64 *t, struct scratch *s, u64 plan)
{
	const struct move *mv = &s->move;
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

/* against returns what speaks against a move that is permitted. A symbolic link brings
 * along whatever it leads to. Whoever is told that a move goes across devices deletes
 * the target, copies, and deletes what was copied: not where that would end half way. */
static __always_inline int against(struct scratch *s, u64 full)
{
	const struct move *mv = &s->move;
	u64 mask = arena_mask, *t = arena_base(), plan, lack;
	u32 create;
	int bits;

	if (!t)
		return GAINS;
	create = W(full + HDR_HANDLED) & BIT(ACT_CREATE);
	lack = lacks(t, s, full, s->new.class, KIND_DIR | OF_DEST, create & -(mv->links & 1)) |
	       lacks(t, s, full, s->old.class, KIND_DIR, create & -(mv->links >> 1));
	if (lack)
		return LEADS;
	plan = enforced(t, s, full);
	if (!plan)
		return GAINS;
	bits = gains(s, plan, mv->kind);
	if (mv->op == OP_EXCHANGE)
		bits |= gains(s, plan, mv->target | OF_DEST);
	if ((mv->links & 1 && guards(s, plan, true, LOST)) || (mv->links & 2 && guards(s, plan, false, LOST)))
		bits |= LEADS;
	if (bits && mv->op == OP_RENAME && mv->kind & KIND_DIR && guards(s, plan, false, BIT(ACT_MOVE) | BIT(ACT_DELETE)))
		bits |= HOLDS;
	return bits;
}

static __always_inline int judge_move(struct scratch *s, const struct workload *wl, u64 plan, struct denial *d)
{
	u64 *t = arena_base(), lack;
	int bits;

	d->reason = REASON_POLICY;
	if (s->path.status != PATH_OK || s->dest.status != PATH_OK) {
		d->reason = status_reason(s->path.status != PATH_OK ? s->path.status : s->dest.status);
		return -EACCES;
	}
	if (!t || match(s, plan, false) || match(s, plan, true))
		return -EACCES;
	if (ready(t, s, wl, plan, s->old.class > s->new.class ? s->old.class : s->new.class, d))
		return -EACCES;
	lack = missing_of(t, s, plan);
	d->missing = lack;
	d->reason = reason_of(lack);
	if (lack)
		return -EACCES;
	bits = against(s, plan);
	if (!bits)
		return 0;
	/* Where patterns tell places apart both seem so, and what would gain mostly HOLDS. */
	d->reason = REASON_GAIN;
	if (bits & (LOSES | LEADS) && (s->move.op != OP_EXCHANGE || !(bits & GAINS)))
		d->reason = REASON_LOSS;
	if (bits & HOLDS)
		d->reason = REASON_HOLDS;
	d->missing = s->move.op == OP_LINK ? BIT(ACT_CREATE) : BIT(ACT_MOVE);
	return bits & (HOLDS | LEADS) ? -EACCES : -EXDEV;
}

/* format_of returns the kind of file of a name, 0 where there is none. Verifiers differ
 * in whether d_inode may be NULL; what is read so, they ask nothing about. */
static __always_inline u32 format_of(struct dentry *d)
{
	return BPF_CORE_READ(d, d_inode, i_mode) & S_IFMT;
}

/* note_move notes what is to be judged. Not inline, for the stack of decide_move. */
static __noinline int note_move(struct move *mv, struct dentry *old, struct dentry *new, u32 op)
{
	u32 format = format_of(old), target = format_of(new);

	mv->op = op & 255;
	mv->kind = dir_kind(format);
	mv->overwrite = BPF_CORE_READ(new, d_inode) != NULL;
	mv->target = dir_kind(target);
	mv->links = format == S_IFLNK;
	if (mv->op == OP_EXCHANGE && target == S_IFLNK)
		mv->links |= 2;
	return 0;
}

/* decide_move judges rename, exchange or link of old to new, both on mnt. op may
 * hold REFUSE, too. */
static __noinline int decide_move(u32 w, struct vfsmount *mnt, struct dentry *old, struct dentry *new, u32 op)
{
	u32 need = BIT(ACT_CREATE);
	struct decision c = {};
	int err;

	if ((op & 255) != OP_LINK)
		need |= BIT(ACT_MOVE) | BIT(ACT_DELETE);
	/* Even where these actions are allowed everywhere, others may be gained. */
	err = admit(&c, w, kind_of(old->d_inode) | (op & ~255U), need | NEED_WALK, old->d_inode);
	if (err <= 0)
		return err;
	note_move(&c.s->move, old, new, op);
	c.d.has_dest = 1;
	c.d.missing = need;
	walk(&c.s->path, mnt, old, c.wl);
	walk(&c.s->dest, mnt, new, c.wl);
	if (c.d.boundary)
		err = -EPERM;
	else if (c.d.mode == MODE_LOCKDOWN)
		err = -EACCES;
	else
		err = judge_move(c.s, c.wl, (u32)c.d.plan, &c.d);
	return conclude(&c, err);
}

/* shows judges a symbolic link at s->path, where a file may be made: what a directory
 * there would be asked, and what lies beneath. */
static __always_inline int shows(struct scratch *s, u64 plan, struct denial *d)
{
	u64 mask = arena_mask, *t = arena_base(), at, lack;

	if (!t)
		return -EACCES;
	lack = lacks(t, s, plan, s->old.class, KIND_DIR, W(plan + HDR_HANDLED) & BIT(ACT_CREATE));
	if (lack) {
		d->kind = KIND_DIR;
		d->missing = lack;
		d->reason = reason_of(lack);
		return -EACCES;
	}
	at = W(plan + HDR_ENFORCED);
	if (at && match(s, plan + at, false))
		return -EACCES;
	if (!guards(s, plan + at, false, LOST))
		return 0;
	d->missing = BIT(ACT_CREATE);
	d->reason = REASON_LOSS;
	return -EACCES;
}

/* link_need returns what a symbolic link asks: no walk, where everything may be filled. */
static __always_inline u32 link_need(u32 w)
{
	u64 mask = arena_mask, *t = arena_base(), plan, all;
	u32 need = BIT(ACT_CREATE) | NEED_WALK;
	struct workload *wl = workload_of(w);

	if (!wl || !t)
		return need;
	plan = (u32)wl->plan;
	all = W(plan + W(plan + HDR_ENFORCED) + HDR_FILE);
	return LOST & W(plan + HDR_HANDLED) & ~(all & all >> 32) ? need : BIT(ACT_CREATE);
}

/* decide_link judges a new symbolic link. */
static __noinline int decide_link(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 how)
{
	struct decision c = {};
	int err = admit(&c, w, how, link_need(w), dentry->d_inode);

	if (err <= 0)
		return err;
	walk(&c.s->path, mnt, dentry, c.wl);
	err = judge_walked(&c);
	if (!err)
		err = shows(c.s, (u32)c.d.plan, &c.d);
	return conclude(&c, err);
}
