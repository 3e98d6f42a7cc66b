/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a class means for a request: twin of compiler/table/walk.go. A class is a
 * row of verdicts, or a decision node that leads to one. */
#pragma once

#include "facts.h"

/* In a view, beside the kind of the resource: */
#define OF_DEST 8U /* the resource is s->dest, not s->path */
#define MOVING 16U /* the other path is the destination of a move */

#define NEED_ANY (1ULL << 63)  /* in need: one of the actions suffices */
#define NEED_WALK (1ULL << 62) /* in need: walk, whatever is allowed everywhere */
#define NEED_FLAGS (NEED_ANY | NEED_WALK)

/* Words of a row, and of a sum of many: each for all kinds. */
#define ROW_GRANTED 0
#define ROW_ASKED NUM_KINDS
#define ROW_REPORTED (2 * NUM_KINDS)
#define ROW_TRIPS (3 * NUM_KINDS)
#define ROW_WORDS (4 * NUM_KINDS)
#define SUM_ALL 0
#define SUM_ANY NUM_KINDS
#define SUM_WORDS (2 * NUM_KINDS)

static __always_inline u32 rows_of(const u64 *t, u64 mask, u64 plan)
{
	return W(plan + HDR_ROWS) >> 32;
}

/* row_at returns the word at which a row stands, for a kind. */
static __always_inline u64 row_at(const u64 *t, u64 mask, u64 plan, u32 class, u32 kind)
{
	return plan + (u32)W(plan + HDR_ROWS) + class * ROW_WORDS + kind;
}

/* node_at returns the word at which a class that is no row stands. */
static __always_inline u64 node_at(const u64 *t, u64 mask, u64 plan, u32 class)
{
	return plan + W(plan + (u32)W(plan + HDR_NODES) + class - rows_of(t, mask, plan));
}

static __always_inline bool settles(u64 allowed, u64 need)
{
	if (need & NEED_ANY)
		return allowed & need;
	return !(need & ~allowed);
}

/* feed takes what a dimension tests. A path is taken in one place: the verifier follows
 * each. */
static __always_inline void feed(struct feed *ctx, u32 dim, u32 view)
{
	struct scratch *s = ctx->s;
	const struct walked *p;
	/* A move's destination is the path that is not its resource. */
	u32 which = !(view & OF_DEST) == (dim < DIM_UID) ? TAKE_PATH : TAKE_DEST;

	if (dim == DIM_XATTR) {
		feed_bytes(ctx, s->facts.xattr_len, (u64)s->xattr);
	} else if (dim == DIM_DEST_NAME) {
		p = which == TAKE_DEST ? &s->dest : &s->path;
		if (view & MOVING && p->n)
			feed_name(ctx, &p->c[0]);
	} else if (dim < DIM_UID || view & MOVING) {
		feed_path(ctx, which, dim == DIM_DEST_DIR ? 1 : 0);
	}
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
	if (NUMBERS >> dim & 1)
		return count(ctx, at, number_of(&s->facts, dim));
	set_up(t, s, at);
	feed(ctx, dim, view);
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
	if (settles(W(at + 1 + SUM_ALL + s->at_node.kind), s->at_node.need)) {
		s->at_node.settled = 1;
		return 1;
	}
	child = class_in(ctx, dim);
	if (child >= head >> 32)
		s->at_node.failed = 1;
	if (s->at_node.failed)
		return 1;
	s->at_node.class = W(at + 1 + SUM_WORDS + (child >> 2)) >> (child & 3) * 16 & 0xffff;
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
static __always_inline void ask(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 view, u64 need, u32 upto)
{
	u64 mask = arena_mask;

	s->at_node.plan = plan;
	s->at_node.class = class;
	s->at_node.rows = rows_of(t, mask, plan);
	s->at_node.kind = view & KIND_MASK;
	s->at_node.view = view;
	s->at_node.need = need;
	s->at_node.upto = upto;
}

/* short_of returns the actions of need that the row at a word does not allow; what of
 * these it denies, rather than asks of the agent, it adds to s->denied, and what trips a
 * wire to s->tripped. What a row allows and reports it notes. */
static __always_inline u64 short_of(const u64 *t, struct scratch *s, u64 at, u64 need)
{
	u64 mask = arena_mask, granted = W(at + ROW_GRANTED), asked, reported, missing;

	if (settles(granted, need))
		return 0;
	asked = W(at + ROW_ASKED);
	reported = W(at + ROW_REPORTED);
	missing = need & ~NEED_FLAGS;
	if (settles(granted | reported, need)) {
		s->reported |= need & NEED_ANY ? missing : missing & reported;
		return 0;
	}
	if (!(need & NEED_ANY)) {
		missing &= ~(granted | reported);
		s->denied |= missing & ~asked;
	} else if (!(asked & need)) {
		s->denied |= missing;
	}
	s->tripped |= s->denied & missing & W(at + ROW_TRIPS);
	return missing;
}

/* lacks_resolved is lacks for a decision node: what ask noted. */
__noinline u64 lacks_resolved(struct scratch *s)
{
	u64 mask = arena_mask, *t = arena_base(), all;

	if (!s)
		return ~0ULL;
	all = s->at_node.need & ~NEED_FLAGS;
	if (!t || resolve(s)) {
		s->denied |= all;
		return all;
	}
	if (s->at_node.settled)
		return 0;
	return short_of(t, s, row_at(t, mask, s->at_node.plan, s->at_node.class, s->at_node.kind), s->at_node.need);
}

/* lacks returns what short_of does, for the row to which class leads. */
static __always_inline u64 lacks(const u64 *t, struct scratch *s, u64 plan, u32 class, u32 view, u64 need)
{
	u64 mask = arena_mask;

	if (class >= rows_of(t, mask, plan)) {
		ask(t, s, plan, class, view, need, NUM_DIMS);
		return lacks_resolved(s);
	}
	return short_of(t, s, row_at(t, mask, plan, class, view & KIND_MASK), need);
}

static __always_inline u32 reason_of(const struct scratch *s, u64 lack)
{
	return lack && !s->denied ? REASON_ASK : REASON_POLICY;
}
