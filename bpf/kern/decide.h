/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a class means for a request: twin of compiler/table/walk.go. A class is a
 * row of verdicts, or a decision node that leads to one. */
#pragma once

#include "facts.h"

#define KIND_DIR 1U
#define OF_DEST 2U /* in a kind: the resource is s->dest, not s->path */
#define BEFORE 8U  /* in a kind: exec is not over: the executable is the one before */
#define MAY_HOLD 16U  /* in a kind: what is asked may go on, to be confirmed */
#define MUST_HOLD 32U /* in a kind: here it is confirmed */
#define IS_MAPPED 64U /* in a kind: exec maps what it was allowed */
#define SETS_ID 128U  /* in a kind: set_x_attr is about a set-user-ID or set-group-ID bit */
#define HOLD_FLAGS (MAY_HOLD | MUST_HOLD | IS_MAPPED)
#define MOVING 4U  /* in a kind: the other path is the destination of a move */
#define NEED_ANY (1U << 31)  /* in need: one of the actions suffices */
#define NEED_WALK (1U << 30) /* in need: walk, whatever is allowed everywhere */
#define NEED_FLAGS (NEED_ANY | NEED_WALK)

static __always_inline u32 rows_of(const u64 *t, u64 mask, u64 plan)
{
	return W(plan + HDR_ROWS) >> 32;
}

/* row returns allow (low) and ask (high) of a row for a kind. */
static __always_inline u64 row(const u64 *t, u64 mask, u64 plan, u32 class, u32 kind)
{
	return W(plan + (u32)W(plan + HDR_ROWS) + class * 2 + kind);
}

/* node_at returns the word at which a class that is no row stands. */
static __always_inline u64 node_at(const u64 *t, u64 mask, u64 plan, u32 class)
{
	return plan + W(plan + (u32)W(plan + HDR_NODES) + class - rows_of(t, mask, plan));
}

static __always_inline bool settles(u32 allowed, u32 need)
{
	if (need & NEED_ANY)
		return allowed & need;
	return !(need & ~allowed);
}

#define DAY_MS 86400000

static __always_inline s64 number_of(struct facts *f, u32 dim)
{
	if (dim <= DIM_GID) {
		know_user(f);
		return dim == DIM_UID ? f->uid : f->gid;
	}
	know_now(f);
	if (dim == DIM_NOW)
		return f->now;
	/* No signed division here. */
	return f->now < 0 ? DAY_MS - 1 - (u64)(-1 - f->now) % DAY_MS : (u64)f->now % DAY_MS;
}

/* feed_dest takes what a dimension tests of a destination. */
static __always_inline void feed_dest(struct feed *ctx, u32 which, u32 dim)
{
	const struct walked *p = which == TAKE_DEST ? &ctx->s->dest : &ctx->s->path;

	if (dim != DIM_DEST_NAME)
		feed_path(ctx, which, dim == DIM_DEST_DIR ? 1 : 0);
	else if (p->n)
		feed_name(ctx, &p->c[0]);
}

/* class_in returns the class of the request in a dimension. */
static __always_inline u32 class_in(struct feed *ctx, u32 dim)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask, at = s->at_node.plan + (u32)W(s->at_node.plan + HDR_DIMS + dim);
	u32 view = s->at_node.view;

	if (dim == DIM_EXE || dim == DIM_PARENT_EXE) {
		if (!(s->facts.known & KNOWN_EXE))
			s->at_node.failed = 1;
		return dim == DIM_EXE ? s->facts.exe : s->facts.parent;
	}
	if (dim >= DIM_UID && dim <= DIM_DAYTIME)
		return count(ctx, at, number_of(&s->facts, dim));
	set_up(t, s, at);
	/* A move's destination is the path that is not its resource. */
	if (dim < DIM_UID)
		feed_path(ctx, view & OF_DEST ? TAKE_DEST : TAKE_PATH, 0);
	else if (dim == DIM_XATTR)
		feed_bytes(ctx, s->facts.xattr_len, (u64)s->xattr);
	else if (view & MOVING)
		feed_dest(ctx, view & OF_DEST ? TAKE_PATH : TAKE_DEST, dim);
	return output(t, s);
}

/* follow takes one decision node. */
static int follow(u64 i, struct feed *ctx)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask, at, head;
	u32 class = s->at_node.class, dim, child;

	if (class < s->at_node.rows)
		return 1;
	at = node_at(t, mask, s->at_node.plan, class);
	head = W(at);
	dim = head;
	if (dim >= s->at_node.upto)
		return 1;
	if (settles(W(at + 1 + (s->at_node.kind & 1)) >> 32, s->at_node.need)) {
		s->at_node.settled = 1;
		return 1;
	}
	child = class_in(ctx, dim);
	if (child >= head >> 32)
		s->at_node.failed = 1;
	if (s->at_node.failed)
		return 1;
	s->at_node.class = W(at + 3 + (child >> 2)) >> (child & 3) * 16 & 0xffff;
	return 0;
}

/* resolve follows decision nodes from s->at_node.class, while their dimensions
 * are below upto and they leave open whether need is allowed. Returns 0, or -1
 * if a fact could not be had or the table is broken. */
__noinline int resolve(struct scratch *s)
{
	struct feed ctx = { .t = arena_base(), .s = s };

	if (!s || !ctx.t)
		return -1;
	s->at_node.settled = 0;
	s->at_node.failed = 0;
	bpf_loop(NUM_DIMS, follow, &ctx, 0);
	if (s->at_node.failed)
		return -1;
	if (s->at_node.upto == NUM_DIMS && s->at_node.class >= s->at_node.rows && !s->at_node.settled)
		return -1;
	return 0;
}

/* ask sets up what resolve is asked. */
static __always_inline void ask(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 kind, u32 need, u32 upto)
{
	u64 mask = arena_mask;

	s->at_node.plan = plan;
	s->at_node.class = class;
	s->at_node.rows = rows_of(t, mask, plan);
	s->at_node.kind = kind & KIND_DIR;
	s->at_node.view = kind;
	s->at_node.need = need;
	s->at_node.upto = upto;
}

/* short_of returns the actions of need that a row does not allow (low), and of
 * these those that it denies, rather than asks of the agent (high). What a row
 * allows and reports it notes. */
static __always_inline u64 short_of(struct scratch *s, u64 r, u32 need)
{
	u32 allow = r, ask = r >> 32, missing;

	if (settles(allow & ~ask, need))
		return 0;
	missing = need & ~NEED_FLAGS;
	if (settles(allow, need)) {
		s->reported |= need & NEED_ANY ? missing : missing & ask;
		return 0;
	}
	ask &= ~allow;
	if (need & NEED_ANY)
		return missing | (u64)(ask & need ? 0 : missing) << 32;
	missing &= ~allow;
	return missing | (u64)(missing & ~ask) << 32;
}

/* lacks_resolved is lacks for a decision node: what ask noted. */
__noinline u64 lacks_resolved(struct scratch *s)
{
	u64 mask = arena_mask, *t = arena_base(), all;

	if (!s)
		return ~0ULL;
	all = s->at_node.need & ~NEED_FLAGS;
	if (!t || resolve(s))
		return all | all << 32;
	if (s->at_node.settled)
		return 0;
	return short_of(s, row(t, mask, s->at_node.plan, s->at_node.class, s->at_node.kind), s->at_node.need);
}

/* lacks returns what short_of does, for the row to which class leads. */
static __always_inline u64 lacks(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 kind, u32 need)
{
	u64 mask = arena_mask;

	if (class >= rows_of(t, mask, plan)) {
		ask(t, s, plan, class, kind, need, NUM_DIMS);
		return lacks_resolved(s);
	}
	return short_of(s, row(t, mask, plan, class, kind & KIND_DIR), need);
}

static __always_inline u32 reason_of(u64 lack)
{
	return lack && !(lack >> 32) ? REASON_ASK : REASON_POLICY;
}

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
 * one more slash; -1 on failure. */
static __noinline int after(struct scratch *s, u64 at, u32 of_dest)
{
	struct feed ctx = { .t = arena_base(), .s = s };

	if (!ctx.t)
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

#define GAIN_BENEATH 1
#define GAIN_ITSELF(kind) (2U << ((kind) & KIND_DIR))

/* gain returns the bits of a pair of the gain matrix. */
static __always_inline u64 gain(const u64 *t, u64 mask, u64 plan, u32 old, u32 now)
{
	u64 head = W(plan + HDR_GAINS), pair = ((u64)old * (head >> 32) + now) * 4;

	return W(plan + (u32)head + pair / 64) >> pair % 64;
}

/* gains_itself judges a resource, bound to both places, without what is beneath
 * it. Not inline: gains has no room on its stack. */
static __noinline bool gains_itself(u64 plan, u32 kind, u32 old, u32 now)
{
	u64 mask = arena_mask, *t = arena_base(), subs;

	if (!t)
		return true;
	subs = W(plan + HDR_SUBS) >> 32;
	if (W(plan + HDR_GAINS))
		return gain(t, mask, plan, subs + old, subs + now) & GAIN_ITSELF(kind);
	return (old != now || W(plan + HDR_HANDLED) >> 32) && exceeds(bounds(t, mask, plan, now, kind & KIND_DIR), bounds(t, mask, plan, old, kind & KIND_DIR));
}

static __always_inline u32 shape_of(u64 subs, const struct matched *m)
{
	return m->sub >= 0 ? (u32)m->sub : (u32)(subs >> 32) + m->class;
}

/* gains_beneath judges what is beneath a directory; same: in equal states. */
static __noinline bool gains_beneath(struct scratch *s, u64 plan, u32 kind, bool same)
{
	const struct matched *old = kind & OF_DEST ? &s->new : &s->old, *now = kind & OF_DEST ? &s->old : &s->new;
	u64 mask = arena_mask, *t = arena_base(), subs;

	if (!t)
		return true;
	subs = W(plan + HDR_SUBS);
	if (same) {
		if (W(plan + HDR_GAINS))
			return gain(t, mask, plan, shape_of(subs, old), shape_of(subs, now)) & GAIN_BENEATH;
		if (old->sub < 0 && now->sub < 0 && old->class == now->class && !(W(plan + HDR_HANDLED) >> 32))
			return false;
	}
	return exceeds(sub_bounds(t, mask, plan, now, 0), sub_bounds(t, mask, plan, old, 0)) ||
	       exceeds(sub_bounds(t, mask, plan, now, 1), sub_bounds(t, mask, plan, old, 1));
}

/* bind follows the nodes of a class that ask for the path alone. Returns a
 * class, or -1. */
static __noinline int bind(struct scratch *s, u64 plan, u32 class, u32 kind)
{
	const u64 *t = arena_base();

	if (!t)
		return -1;
	ask(t, s, plan, class, kind, ~NEED_ANY, DIM_UID);
	return resolve(s) ? -1 : (int)s->at_node.class;
}

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
 * s->path? The no-gain rule. With OF_DEST in kind, the other way round. */
__noinline int gains(struct scratch *s, u32 plan, u32 kind)
{
	int from, to;

	if (!s)
		return true;
	from = bind(s, plan, kind & OF_DEST ? s->new.class : s->old.class, kind);
	to = bind(s, plan, kind & OF_DEST ? s->old.class : s->new.class, kind ^ OF_DEST);
	if (from < 0 || to < 0 || gains_itself(plan, kind, from, to))
		return true;
	return kind & KIND_DIR && gains_beneath(s, plan, kind, same_states(s, plan));
}
