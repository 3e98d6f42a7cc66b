/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What two places grant, compared: the no-gain and the no-loss rule of moves, and
 * places that policy sets apart. Twin of compiler/table/move.go. */
#pragma once

#include "decide.h"

/* bounds returns the actions that a class allows or asks somewhere (low) and
 * those that it allows everywhere (high). */
static __always_inline u64 bounds(const u64 *t, u64 mask, u64 plan, u32 class, u32 kind)
{
	u64 r;

	if (class >= rows_of(t, mask, plan))
		return W(node_at(t, mask, plan, class) + 1 + kind);
	r = row(t, mask, plan, class, kind);
	return (u32)(r | r >> 32) | r << 32;
}

/* sub_bounds is bounds for a match and everything beneath it. */
static __always_inline u64 sub_bounds(const u64 *t, u64 mask, u64 plan, const struct matched *m, u32 kind)
{
	if (m->sub >= 0)
		return W(plan + (u32)W(plan + HDR_SUBS) + (u32)m->sub * 2 + kind);
	return bounds(t, mask, plan, m->class, kind);
}

/* exceeds: does one place offer what the other does not grant everywhere? */
static __always_inline bool exceeds(u64 now, u64 old)
{
	return (u32)now & ~(u32)(old >> 32);
}

/* after returns the state of a path's automaton after s->path (or s->dest) and
 * one more slash; -1 on failure. Not static: the verifier looks at it once. */
__noinline int after(struct scratch *s, u64 at, u32 of_dest)
{
	struct feed ctx = { .t = arena_base(), .s = s };

	if (!s || !ctx.t)
		return -1;
	s->at_node.failed = 0;
	set_up(ctx.t, s, at);
	feed_path(&ctx, of_dest ? TAKE_DEST : TAKE_PATH, 0);
	if (s->at_node.failed)
		return -1;
	return taken(s)->n ? take(ctx.t, arena_mask, s, s->run.state, '/') : s->run.state;
}

/* same_states: have the automata that read paths the same to come beneath both
 * places? */
static __noinline bool same_states(struct scratch *s, u64 plan)
{
	u64 mask = arena_mask, *t = arena_base();

	if (!t)
		return false;
	for (u32 dim = DIM_GLOB0; dim < DIM_UID; dim++) {
		u64 where = W(plan + HDR_DIMS + dim);
		int state;

		if (!where)
			continue;
		state = after(s, plan + (u32)where, 0);
		if (state < 0 || state != after(s, plan + (u32)where, 1))
			return false;
	}
	return true;
}

#define GAIN_BENEATH 1U
#define LOST_BENEATH 8U
#define GAIN_ITSELF(kind) (2U << ((kind) & KIND_DIR))

/* gain returns the bits of a pair of the gain matrix. */
static __always_inline u64 gain(const u64 *t, u64 mask, u64 plan, u32 old, u32 now)
{
	u64 head = W(plan + HDR_GAINS), pair = ((u64)old * (head >> 32) + now) * 4;

	return W(plan + (u32)head + pair / 64) >> pair % 64;
}

/* gains_itself judges a resource, bound to both places, without what is beneath
 * it. Not inline: gains has no room on its stack. */
static __noinline bool gains_itself(u64 plan, u32 view, u32 old, u32 now)
{
	u64 mask = arena_mask, *t = arena_base(), subs;

	if (!t)
		return true;
	subs = W(plan + HDR_SUBS) >> 32;
	if (W(plan + HDR_GAINS))
		return gain(t, mask, plan, subs + old, subs + now) & GAIN_ITSELF(view);
	return (old != now || W(plan + HDR_HANDLED) >> 32) && exceeds(bounds(t, mask, plan, now, view & KIND_DIR), bounds(t, mask, plan, old, view & KIND_DIR));
}

static __always_inline u32 shape_of(u64 subs, const struct matched *m)
{
	return m->sub >= 0 ? (u32)m->sub : (u32)(subs >> 32) + m->class;
}

/* lost: what fills a directory. What may be had beneath the old place, and not beneath
 * the new one, would come along. */
#define LOST (BIT(ACT_CREATE) | BIT(ACT_WRITE))

/* differ compares the bounds of two places for a kind. */
static __always_inline u32 differ(u64 old, u64 now)
{
	return (exceeds(now, old) ? GAIN_BENEATH : 0) | (exceeds(old & LOST, now) ? LOST_BENEATH : 0);
}

/* beneath judges what is beneath a directory; same: in equal states. Returns
 * GAIN_BENEATH and LOST_BENEATH. */
static __noinline u32 beneath(struct scratch *s, u64 plan, u32 view, bool same)
{
	const struct matched *old = view & OF_DEST ? &s->new : &s->old, *now = view & OF_DEST ? &s->old : &s->new;
	u64 mask = arena_mask, *t = arena_base(), subs;

	if (!t)
		return GAIN_BENEATH | LOST_BENEATH;
	subs = W(plan + HDR_SUBS);
	if (same) {
		if (W(plan + HDR_GAINS))
			return gain(t, mask, plan, shape_of(subs, old), shape_of(subs, now)) & (GAIN_BENEATH | LOST_BENEATH);
		if (old->sub < 0 && now->sub < 0 && old->class == now->class && !(W(plan + HDR_HANDLED) >> 32))
			return 0;
	}
	return differ(sub_bounds(t, mask, plan, old, 0), sub_bounds(t, mask, plan, now, 0)) |
	       differ(sub_bounds(t, mask, plan, old, 1), sub_bounds(t, mask, plan, now, 1));
}

/* bind follows the nodes of a class that ask for the path alone. Returns a
 * class, or -1. */
static __noinline int bind(struct scratch *s, u64 plan, u32 class, u32 view)
{
	const u64 *t = arena_base();

	if (!t)
		return -1;
	ask(t, s, plan, class, view, ~NEED_ANY, DIM_UID);
	return resolve(s) ? -1 : (int)s->at_node.class;
}

enum { GAINS = 1, LOSES = 2, HOLDS = 4, LEADS = 8 }; /* what speaks against a move */

/* enforced finds both places of a move in the table that the no-gain rule looks
 * at: that of the enforced policies. Returns where it stands, 0 on failure. */
static __always_inline u64 enforced(const u64 *t, struct scratch *s, u64 plan)
{
	u64 mask = arena_mask, at = W(plan + HDR_ENFORCED);

	if (!at)
		return plan;
	plan += at;
	asm volatile("" : "+r"(s)); /* addresses kept since the first match would take stack that 6.1 has not */
	return match(s, plan, false) || match(s, plan, true) ? 0 : plan;
}

/* gains: could the resource, or anything beneath it, do more at s->dest than at
 * s->path? And may something be made or written beneath s->path that may not be
 * beneath s->dest? The no-gain and the no-loss rule: GAINS and LOSES. With OF_DEST in
 * view, the other way round. */
__noinline int gains(struct scratch *s, u32 plan, u32 view)
{
	int from, to, bits = 0;
	u32 found;

	if (!s)
		return GAINS | LOSES;
	from = bind(s, plan, view & OF_DEST ? s->new.class : s->old.class, view);
	to = bind(s, plan, view & OF_DEST ? s->old.class : s->new.class, view ^ OF_DEST);
	if (from < 0 || to < 0)
		return GAINS | LOSES;
	if (view & KIND_DIR) {
		found = beneath(s, plan, view, same_states(s, plan));
		bits = (found & GAIN_BENEATH ? GAINS : 0) | (found & LOST_BENEATH ? LOSES : 0);
	}
	return gains_itself(plan, view, from, to) ? bits | GAINS : bits;
}

/* named: do patterns tell what is beneath a path from what is beneath another name in
 * its place? */
static __noinline bool named(struct scratch *s, u64 plan, u32 of_dest)
{
	struct component *leaf = of_dest ? &s->dest.c[0] : &s->path.c[0];
	struct component c = *leaf;
	bool found = false;

	for (u32 dim = DIM_GLOB0; dim < DIM_UID; dim++) {
		u64 mask = arena_mask, *t = arena_base(), where;
		int state;

		if (!t)
			return true;
		where = W(plan + HDR_DIMS + dim);
		if (!where)
			continue;
		state = after(s, plan + (u32)where, of_dest);
		leaf->len = 1; /* a zero: no file has that name */
		leaf->a = 0;
		leaf->b = 0;
		if (state < 0 || state != after(s, plan + (u32)where, of_dest))
			found = true;
		*leaf = c;
	}
	return found;
}

/* guards: is a place one that policy sets apart? At or beneath it some of need is not
 * allowed, and that is for its own name, or so for everything there. What patterns
 * forbid under any name does not count: in that, no place differs from another beside
 * it. */
__noinline int guards(struct scratch *s, u32 plan, u32 of_dest, u32 need)
{
	u64 mask = arena_mask, *t = arena_base(), files, dirs;
	const struct matched *m;

	if (!s || !t)
		return true;
	m = of_dest ? &s->new : &s->old;
	need &= W(plan + HDR_HANDLED);
	files = sub_bounds(t, mask, plan, m, 0);
	dirs = sub_bounds(t, mask, plan, m, 1);
	if (!(need & ~(u32)((files & dirs) >> 32)))
		return false;
	if (m->sub >= 0 || need & ~(u32)(files & dirs))
		return true;
	return named(s, plan, of_dest);
}
