/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The walk from a dentry to the workload's registered root.
 *
 * bpf_d_path is relative to the caller's root, which the caller can choose, so
 * the walk goes dentry → parent and mount → mountpoint itself and accepts only
 * a path that ends at the registered (mount, dentry). A chroot below the root
 * is walked through; a detached mount, another mount namespace and a deleted
 * mount never reach the root. Renames that race with the walk change the
 * sequence of rename_lock: the walk is done again. A directory that hashes names
 * by itself takes several spellings for one file (casefold, vfat): which one the
 * walk would see is the caller's choice, so no path through it is accepted. */
#pragma once

#include "maps.h"

#define DCACHE_OP_HASH 1

extern void rename_lock __ksym __weak;

/* What stands for the sequence where the kernel does not show rename_lock: an
 * odd number, so that every walk counts as torn. Only the walker for tests,
 * which judges nothing, sets 0. */
const volatile u32 without_rename_lock = 1;

static __always_inline u32 rename_seq(void)
{
	u32 seq = 1;

	if (!&rename_lock)
		return without_rename_lock;
	if (bpf_probe_read_kernel(&seq, sizeof(seq), &rename_lock))
		return 1;
	return seq;
}

/* The bytes of a name of each length in its two words: a table, for every
 * branch in the walk's loop multiplies the verifier's work. */
#define ONES(n) ((n) >= 8 ? ~0ULL : (1ULL << ((n) & 7) * 8) - 1)
#define MASK(n) { ONES(n), (n) > 8 ? ONES((n) - 8) : 0 }
const volatile u64 name_masks[32][2] = {
	MASK(0),  MASK(1),  MASK(2),  MASK(3),	MASK(4),  MASK(5),  MASK(6),  MASK(7),	MASK(8),
	MASK(9),  MASK(10), MASK(11), MASK(12), MASK(13), MASK(14), MASK(15), MASK(16),
};

static __always_inline void put_name(struct component *c, u64 len, u64 a, u64 b)
{
	c->len = len;
	c->a = a & name_masks[len & 31][0];
	c->b = b & name_masks[len & 31][1];
}

/* put_remote notes a name that is not in its dentry, or is too long for two
 * words: a long one by its address. */
static __always_inline void put_remote(struct component *c, u64 len, u64 name)
{
	u64 w[2] = {};

	if (len > INLINE_NAME) {
		c->len = len;
		c->a = name;
		return;
	}
	bpf_probe_read_kernel(w, sizeof(w), (void *)name);
	put_name(c, len, w[0], w[1]);
}

/* put_short reads a short name whose address is noted. Not static: the verifier looks at
 * it once, not at each step of a walk. */
__noinline int put_short(struct component *c)
{
	u64 w[2] = {};

	if (!c)
		return -1;
	bpf_probe_read_kernel(w, sizeof(w), (void *)c->a);
	put_name(c, c->len, w[0], w[1]);
	return 0;
}

/* note_direct notes the name of a typed dentry. */
static __always_inline void note_direct(struct component *c, struct dentry *d)
{
	u64 len = d->d_name.len, name = (u64)d->d_name.name;
	const u64 *words;

	/* The barriers keep each relocation on its own branch: one of the fields
	 * does not exist on this kernel. */
	if (bpf_core_field_exists(d->d_iname)) {
		words = (const u64 *)d->d_iname;
		barrier_var(words);
	} else {
		words = (const u64 *)((struct dentry___short *)d)->d_shortname.string;
		barrier_var(words);
	}
	if (len <= INLINE_NAME && name == (u64)words) {
		put_name(c, len, words[0], words[1]);
		return;
	}
	c->len = len;
	c->a = name;
	if (len <= INLINE_NAME)
		put_short(c);
}

/* walk_direct follows typed dentries, at most MAX_DIRECT, up to the root of
 * their mount or to the registered root. Returns the dentry where it stopped. */
static __always_inline struct dentry *walk_direct(struct walked *w, struct vfsmount *mnt, struct dentry *d,
						  u64 root_dentry)
{
	struct dentry *mnt_root = mnt->mnt_root, *parent;

	for (int i = 0; i < MAX_DIRECT; i++) {
		if (d == mnt_root || (u64)d == root_dentry)
			return d;
		parent = d->d_parent;
		if (parent == d)
			return d;
		w->flags |= parent->d_flags;
		w->n = i + 1;
		note_direct(&w->c[i], d);
		d = parent;
	}
	return d;
}

/* namespace_of returns the namespace in which a mount is attached, 0 where it is in none. */
static __always_inline u64 namespace_of(u64 vfsmount)
{
	struct mount *m = (struct mount *)(vfsmount - bpf_core_field_offset(struct mount, mnt));
	u64 ns = 0;

	bpf_probe_read_kernel(&ns, sizeof(ns), &m->mnt_ns);
	return ns;
}

/* cross goes from the root of a mount to its mountpoint. */
static __always_inline bool cross(struct walked *w)
{
	struct mount *m = (struct mount *)(w->at.mnt - bpf_core_field_offset(struct mount, mnt));
	u64 up = 0, point = 0, root = 0;

	bpf_probe_read_kernel(&up, sizeof(up), &m->mnt_parent);
	bpf_probe_read_kernel(&point, sizeof(point), &m->mnt_mountpoint);
	if (!up || up == (u64)m) {
		w->status = PATH_OUTSIDE;
		return false;
	}
	up += bpf_core_field_offset(struct mount, mnt);
	bpf_probe_read_kernel(&root, sizeof(root), &((struct vfsmount *)up)->mnt_root);
	w->at.mnt = up;
	w->at.mnt_root = root;
	w->at.dentry = point;
	return true;
}

/* ascend notes the name of the dentry and goes to its parent. */
static __always_inline bool ascend(struct walked *w)
{
	struct dentry *d = (struct dentry *)w->at.dentry;
	u64 parent = 0;
	struct qstr name = {};
	u32 flags = DCACHE_OP_HASH;

	bpf_probe_read_kernel(&parent, sizeof(parent), &d->d_parent);
	if (!parent || parent == (u64)d) {
		w->status = PATH_OUTSIDE; /* disconnected, or moved out of a bind mount */
		return false;
	}
	if (w->n >= MAX_COMPONENTS) {
		w->status = PATH_TOO_DEEP;
		return false;
	}
	bpf_probe_read_kernel(&flags, sizeof(flags), &((struct dentry *)parent)->d_flags);
	w->flags |= flags;
	bpf_probe_read_kernel(&name, sizeof(name), &d->d_name);
	put_remote(&w->c[w->n & (MAX_COMPONENTS - 1)], name.len, (u64)name.name);
	w->n++;
	w->at.dentry = parent;
	return true;
}

struct climb {
	struct walked *w;
};

/* step goes up one dentry or one mount. Its state is in a map: on the stack the
 * verifier would follow every step anew. */
static int step(u64 i, struct climb *ctx)
{
	struct walked *w = ctx->w;

	if (w->at.dentry == w->at.root_dentry && w->at.mnt == w->at.root_mnt) {
		w->status = PATH_OK;
		return 1;
	}
	if (w->at.dentry == w->at.mnt_root)
		return !cross(w);
	return !ascend(w);
}

/* climb walks on from ctx->w->at by addresses. */
static __always_inline void climb(struct climb *ctx)
{
	struct walked *w = ctx->w;
	u64 root = 0;

	bpf_probe_read_kernel(&root, sizeof(root), &((struct vfsmount *)w->at.mnt)->mnt_root);
	w->at.mnt_root = root;
	w->status = PATH_TOO_DEEP;
	bpf_loop(MAX_COMPONENTS + MAX_MOUNTS, step, ctx, 0);
}

static __always_inline void climb_mounts(struct walked *w)
{
	struct climb ctx = { .w = w };

	climb(&ctx);
}

static __always_inline void start(struct walked *w, u64 mnt, const struct workload *wl)
{
	w->n = 0;
	w->flags = 0;
	w->at.mnt = mnt;
	w->at.root_mnt = wl->root_mnt;
	w->at.root_dentry = wl->root_dentry;
}

/* settle judges a walk that met no rename. */
static __always_inline int settle(struct walked *w)
{
	if (w->status == PATH_OK && w->flags & DCACHE_OP_HASH)
		w->status = PATH_FOLDED;
	return 0;
}

static int even(u64 i, void *ctx)
{
	return !(rename_seq() & 1);
}

/* attempt waits until no rename is under way, for a while, and walks. Whoever
 * renames without end must not make others' walks fail, nor must a renamer whose
 * virtual processor does not run. */
static int attempt(u64 i, struct climb *ctx)
{
	struct walked *w = ctx->w;
	u32 seq;

	bpf_loop(WALK_WAIT, even, NULL, 0);
	seq = rename_seq();
	w->n = 0;
	w->flags = 0;
	w->at.mnt = w->at.from_mnt;
	w->at.dentry = w->at.from_dentry;
	climb(ctx);
	if (!(seq & 1) && rename_seq() == seq)
		return 1 + settle(w);
	w->status = PATH_TORN;
	return 0;
}

/* walk_from is walk_addr. Not static: the verifier looks at it once, not at each
 * call. */
__noinline int walk_from(struct walked *w, u64 mnt, u64 d, const struct workload *wl)
{
	struct climb ctx = { .w = w };

	if (!w)
		return -1;
	w->status = PATH_TORN;
	if (!wl)
		return -1;
	start(w, mnt, wl);
	w->at.from_mnt = mnt;
	w->at.from_dentry = d;
	bpf_loop(WALK_TRIES, attempt, &ctx, 0);
	return 0;
}

/* walk_addr walks a path known by its addresses. w->status says how it went. What
 * is read back from memory is a number to the verifier, whatever it was. */
static __always_inline int walk_addr(struct walked *w, u64 mnt, u64 d, const struct workload *wl)
{
	w->at.mnt = mnt;
	w->at.dentry = d;
	barrier();
	return walk_from(w, w->at.mnt, w->at.dentry, wl);
}

/* walk fills w with the path (mnt, d): by typed pointers, which cost no helper
 * calls, as far as the first mount goes. */
static __noinline int walk(struct walked *w, struct vfsmount *mnt, struct dentry *d, const struct workload *wl)
{
	u32 seq = rename_seq();

	start(w, (u64)mnt, wl);
	w->at.dentry = (u64)walk_direct(w, mnt, d, w->at.root_dentry);
	if (w->at.dentry == w->at.root_dentry && w->at.mnt == w->at.root_mnt)
		w->status = PATH_OK;
	else
		climb_mounts(w);
	if (!(seq & 1) && rename_seq() == seq)
		return settle(w);
	return walk_addr(w, (u64)mnt, (u64)d, wl);
}
