/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The walk of a table's trie: twin of compiler/table/walk.go; docs/table-format.md
 * specifies the words. What a class means is in decide.h. From the root down, one hash and at most two buckets
 * of two slots a component; slots compare every byte. */
#pragma once

#include "maps.h"

#define HDR_SIZE 1
#define HDR_SEED 2
#define HDR_EDGES 3
#define HDR_ROWS 4
#define HDR_SUBS 5
#define HDR_ROOT 6
#define HDR_HANDLED 7
#define HDR_EVERYWHERE 8 /* a word for each kind */
#define HDR_WANDERS 16
#define HDR_NODES 17
#define HDR_EXE 20
#define HDR_GAINS 21
#define HDR_ENFORCED 22 /* where the table of the enforced policies alone stands, or 0 */
#define HDR_DIMS 24	/* a word for each dimension */
#define ROOT_NODE 1
#define SLOT_CHILDREN (1ULL << 56)
#define HASH_MUL 0x9E3779B97F4A7C15ULL
#define HASH_END 0xD6E8FEB86659FD93ULL

#define W(i) (t[((u64)(i)) & mask])

static __always_inline u64 hash_word(u64 h, u64 w)
{
	h = (h ^ w) * HASH_MUL;
	return h ^ h >> 32;
}

/* hash_end lets the last word's high bytes choose both buckets. */
static __always_inline u64 hash_end(u64 h)
{
	h *= HASH_END;
	return h ^ h >> 32;
}

struct rest {
	const u64 *t;
	struct scratch *s;
	u64 at;
};

/* differs compares one word of a long name with the pool. State in s: see step
 * in path.h. */
static int differs(u64 i, struct rest *ctx)
{
	u64 mask = arena_mask;
	const u64 *t = ctx->t;

	if (W(ctx->at + i) == ctx->s->name[(i + 1) & (NAME_WORDS - 1)])
		return 0;
	ctx->s->at.differs = 1;
	return 1;
}

/* long_rest compares the name in s, from its second word on, with the pool. */
static __always_inline bool long_rest(const u64 *t, struct scratch *s, u64 at, u32 words)
{
	struct rest ctx = { .t = t, .s = s, .at = at };

	s->at.differs = 0;
	bpf_loop(words - 1, differs, &ctx, 0);
	return !s->at.differs;
}

/* load_long reads a long name into s->name, padded, and hashes it. */
static __always_inline u64 load_long(struct scratch *s, const struct component *c, u64 h)
{
	u32 len = c->len, words = (len + 7) / 8;

	if (len > MAX_NAME || len <= INLINE_NAME)
		return 0;
	s->name[(words - 1) & (NAME_WORDS - 1)] = 0;
	asm volatile("%0 &= 255" : "+r"(len));
	if (bpf_probe_read_kernel(s->name, len, (void *)c->a))
		return 0;
	for (u32 i = 0; i < NAME_WORDS; i++) {
		if (i >= words)
			break;
		h = hash_word(h, s->name[i]);
	}
	return hash_end(h);
}

static __always_inline u64 slot_at(u64 h, u64 buckets, int i)
{
	return (((i < 2 ? h & 0xffffffff : h >> 32) * buckets) >> 32) * 8 + (i & 1) * 4;
}

/* long_edge is edge for a name that no slot holds whole. Not static: the verifier looks
 * at it once, not at each call. */
__noinline int long_edge(struct scratch *s, const struct component *c)
{
	u64 mask = arena_mask, *t = arena_base(), plan, node, len, edges, buckets, h;

	if (!s || !c || !t)
		return false;
	plan = s->at.plan;
	node = s->at.node;
	len = c->len;
	edges = W(plan + HDR_EDGES);
	buckets = W(plan + HDR_SIZE) >> 32;
	h = load_long(s, c, (W(plan + HDR_SEED) ^ (node | len << 32)) * HASH_MUL);
	for (int i = 0; i < 4; i++) {
		u64 at = plan + (u32)edges + slot_at(h, buckets, i);

		if ((u32)W(at) != node || W(at + 2) != s->name[0] || (W(at + 1) >> 48 & 0xff) != len)
			continue;
		if (!long_rest(t, s, plan + (edges >> 32) + W(at + 3), (len + 7) / 8))
			continue;
		s->at.meta = W(at + 1);
		s->at.node = W(at) >> 32;
		return true;
	}
	return false;
}

/* edge looks for the child of s->at.node with component c. On a hit s->at
 * becomes the child. */
static __always_inline bool edge(const u64 *t, struct scratch *s, const struct component *c)
{
	u64 mask = arena_mask, plan = s->at.plan, node = s->at.node, a = c->a, b = c->b, len = c->len;
	u64 edges, buckets, h;

	if (len > INLINE_NAME)
		return long_edge(s, c);
	edges = plan + (u32)W(plan + HDR_EDGES);
	buckets = W(plan + HDR_SIZE) >> 32;
	h = hash_end(hash_word(hash_word((W(plan + HDR_SEED) ^ (node | len << 32)) * HASH_MUL, a), b));
#pragma unroll
	for (int i = 0; i < 4; i++) {
		u64 at = edges + slot_at(h, buckets, i);

		if ((u32)W(at) != node || W(at + 2) != a || W(at + 3) != b)
			continue;
		if ((W(at + 1) >> 48 & 0xff) != len)
			continue;
		s->at.meta = W(at + 1);
		s->at.node = W(at) >> 32;
		return true;
	}
	return false;
}

struct descent {
	const u64 *t;
	struct scratch *s;
	const struct walked *p;
};

/* descend takes one component. s->at.hit counts those that matched. */
static int descend(u64 i, struct descent *ctx)
{
	struct scratch *s = ctx->s;
	const struct walked *p = ctx->p;
	u32 n = p->n - 1 - (u32)i;

	if (i >= p->n || !(s->at.meta & SLOT_CHILDREN))
		return 1;
	if (!edge(ctx->t, s, &p->c[n & (MAX_COMPONENTS - 1)]))
		return 1;
	s->at.hit++;
	return 0;
}

/* match walks the table along s->path, whose status is PATH_OK, into s->old; along
 * s->dest into s->new. The state of the loop is in s: see step in path.h. Not
 * static: the verifier looks at it once, not at each call. */
__noinline int match(struct scratch *s, u32 plan, u32 of_dest)
{
	u64 mask = arena_mask, *t = arena_base();
	struct descent ctx = { .t = t, .s = s };
	struct matched *m;

	if (!s || !t)
		return -1;
	ctx.p = of_dest ? &s->dest : &s->path;
	m = of_dest ? &s->new : &s->old;
	s->at.plan = plan;
	s->at.node = ROOT_NODE;
	s->at.meta = W(s->at.plan + HDR_ROOT);
	s->at.hit = 0;
	if (ctx.p->n && s->at.meta & SLOT_CHILDREN)
		bpf_loop(MAX_COMPONENTS, descend, &ctx, 0);
	if (s->at.hit == ctx.p->n) {
		m->class = s->at.meta & 0xffff;
		m->sub = s->at.meta >> 32 & 0xffff;
	} else {
		m->class = s->at.meta >> 16 & 0xffff;
		m->sub = -1;
	}
	return 0;
}
