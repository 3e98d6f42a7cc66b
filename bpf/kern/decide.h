/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a class means for a request: twin of compiler/table/walk.go. A class is a
 * row of verdicts, or a decision node that leads to one. */
#pragma once

#include "facts.h"

#define KIND_DIR 1U

/* In a view, beside the kind of the resource: */
#define OF_DEST 2U /* the resource is s->dest, not s->path */
#define MOVING 4U  /* the other path is the destination of a move */

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
static __always_inline void ask(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 view, u32 need, u32 upto)
{
	u64 mask = arena_mask;

	s->at_node.plan = plan;
	s->at_node.class = class;
	s->at_node.rows = rows_of(t, mask, plan);
	s->at_node.kind = view & KIND_DIR;
	s->at_node.view = view;
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
static __always_inline u64 lacks(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 view, u32 need)
{
	u64 mask = arena_mask;

	if (class >= rows_of(t, mask, plan)) {
		ask(t, s, plan, class, view, need, NUM_DIMS);
		return lacks_resolved(s);
	}
	return short_of(s, row(t, mask, plan, class, view & KIND_DIR), need);
}

static __always_inline u32 reason_of(u64 lack)
{
	return lack && !(lack >> 32) ? REASON_ASK : REASON_POLICY;
}
