/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The automata and thresholds of a table: from a string or a number to its
 * class in a dimension. The state of every loop is in s: see step in path.h. */
#pragma once

#include "match.h"

#define AUTOMATON_OUTPUTS 33 /* words before the outputs */

struct feed {
	const u64 *t;
	struct scratch *s;
};

/* The paths of a scratch, in their order there. */
enum { TAKE_PATH, TAKE_DEST, TAKE_EXE };
#define PLACE_OF(field) ((__builtin_offsetof(struct scratch, field) - __builtin_offsetof(struct scratch, path)) / sizeof(struct walked))
_Static_assert(PLACE_OF(path) == TAKE_PATH && PLACE_OF(dest) == TAKE_DEST && PLACE_OF(exe) == TAKE_EXE, "paths of a scratch");

/* taken returns the path that is taken: small stacks have no room for it. By its place,
 * since the verifier would follow each branch through all that takes it. */
static __always_inline const struct walked *taken(const struct scratch *s)
{
	u32 which = s->run.which;

	if (which > TAKE_EXE)
		which = TAKE_PATH;
	barrier_var(which);
	return &s->path + which;
}

/* take returns the state after one more byte. */
static __always_inline u32 take(const u64 *t, u64 mask, const struct scratch *s, u32 state, u32 byte)
{
	u64 class = W(s->run.at + 1 + (byte >> 3)) >> (byte & 7) * 8 & 0xff;
	u64 i = (u64)state * s->run.classes + class;

	return W(s->run.next + (i >> 2)) >> (i & 3) * 16 & 0xffff;
}

/* feed_word takes up to eight bytes of s->name; run.high is their number in all. */
static int feed_word(u64 i, struct feed *ctx)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask, w = s->name[i & (NAME_WORDS - 1)];
	u32 state = s->run.state, left = s->run.high - (u32)i * 8;

	if ((u32)i * 8 >= s->run.high)
		return 1;
	for (u32 j = 0; j < 8; j++) {
		if (j >= left)
			break;
		state = take(t, mask, s, state, w & 0xff);
		w >>= 8;
	}
	s->run.state = state;
	return 0;
}

/* feed_bytes takes len bytes at an address. */
static __always_inline void feed_bytes(struct feed *ctx, u64 len, u64 address)
{
	struct scratch *s = ctx->s;

	if (len > MAX_NAME) {
		s->at_node.failed = 1;
		return;
	}
	asm volatile("%0 &= 255" : "+r"(len));
	if (bpf_probe_read_kernel(s->name, len, (void *)address)) {
		s->at_node.failed = 1;
		return;
	}
	s->run.high = len;
	bpf_loop(NAME_WORDS, feed_word, ctx, 0);
}

/* feed_name takes the name of a component. */
static __always_inline void feed_name(struct feed *ctx, const struct component *c)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask, len = c->len, w = c->a;
	u32 state = s->run.state;

	if (len > INLINE_NAME) {
		feed_bytes(ctx, len, c->a);
		return;
	}
	for (u32 i = 0; i < INLINE_NAME; i++) {
		if (i >= len)
			break;
		if (i == 8)
			w = c->b;
		state = take(t, mask, s, state, w & 0xff);
		w >>= 8;
	}
	s->run.state = state;
}

/* feed_component takes a slash and the next component from the root, down to
 * number run.first from the leaf. */
static int feed_component(u64 i, struct feed *ctx)
{
	struct scratch *s = ctx->s;
	const struct walked *p = taken(s);
	u32 left = p->n - (u32)i;

	if (i >= p->n || left <= s->run.first)
		return 1;
	s->run.state = take(ctx->t, arena_mask, s, s->run.state, '/');
	feed_name(ctx, &p->c[(left - 1) & (MAX_COMPONENTS - 1)]);
	return 0;
}

/* set_up puts the automaton at a word into its first state. */
static __always_inline void set_up(const u64 *t, struct scratch *s, u64 at)
{
	u64 mask = arena_mask, size = W(at);

	s->run.at = at;
	s->run.classes = size >> 32;
	s->run.next = at + AUTOMATON_OUTPUTS + (((u32)size + 3) >> 2);
	s->run.state = 0;
}

/* feed_path takes a path without its last components, first of them. */
static __always_inline void feed_path(struct feed *ctx, u32 which, u32 first)
{
	struct scratch *s = ctx->s;

	s->run.which = which;
	s->run.first = first;
	if (taken(s)->n > first)
		bpf_loop(MAX_COMPONENTS, feed_component, ctx, 0);
	else
		s->run.state = take(ctx->t, arena_mask, s, s->run.state, '/');
}

/* output returns the class of what was taken. */
static __always_inline u32 output(const u64 *t, const struct scratch *s)
{
	u64 mask = arena_mask;
	u32 state = s->run.state;

	return W(s->run.at + AUTOMATON_OUTPUTS + (state >> 2)) >> (state & 3) * 16 & 0xffff;
}

/* halve takes one step of a binary search for run.value among the thresholds
 * after run.at. */
static int halve(u64 i, struct feed *ctx)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask;
	u32 low = s->run.low, high = s->run.high, middle = (low + high) >> 1;

	if (low >= high)
		return 1;
	if ((s64)W(s->run.at + 1 + middle) <= s->run.value)
		s->run.low = middle + 1;
	else
		s->run.high = middle;
	return 0;
}

/* count returns how many of the thresholds at a word are not above value. */
static __always_inline u32 count(struct feed *ctx, u64 at, s64 value)
{
	struct scratch *s = ctx->s;
	const u64 *t = ctx->t;
	u64 mask = arena_mask, n = W(at);

	if (n > MAX_THRESHOLDS) {
		s->at_node.failed = 1;
		return 0;
	}
	s->run.at = at;
	s->run.value = value;
	s->run.low = 0;
	s->run.high = n;
	bpf_loop(11, halve, ctx, 0);
	return s->run.low;
}
