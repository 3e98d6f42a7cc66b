/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Directories where the agent and runs keep what others take their word for: sockets,
 * locks, the key that signs. What is in one, and the directory itself, is beyond every
 * workload, whatever its policy permits; and where they are, and each directory above,
 * stays. They are known by inode, so that no alias of a path leads in. */
#pragma once

#include "maps.h"

#define PLACE_OURS 1U /* nothing in it is opened, made, removed or renamed */
#define PLACE_STAYS 2U /* it is not renamed, removed, unmounted or mounted over */
#define PLACE_ROOT 4U /* it is not mounted over */

struct place {
	u64 inode;
	u32 device, pad;
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_PLACES);
	__type(key, struct place);
	__type(value, u32);
} places SEC(".maps");

/* Bit N: there may be one of which the inode's number is N, modulo 256. Most questions end
 * here. */
struct place_bits {
	u64 word[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct place_bits);
} place_bits SEC(".maps");

static __noinline u32 find_place(u64 inode)
{
	struct place key = {};
	u32 *flags;

	key.inode = BPF_CORE_READ((struct inode *)inode, i_ino);
	key.device = BPF_CORE_READ((struct inode *)inode, i_sb, s_dev);
	flags = bpf_map_lookup_elem(&places, &key);
	return flags ? *flags : 0;
}

static __always_inline bool may_be_place(const struct place_bits *bits, struct inode *inode)
{
	return inode && bits->word[inode->i_ino >> 6 & 3] >> (inode->i_ino & 63) & 1;
}

/* place_of returns the flags of a directory. */
static __always_inline u32 place_of(struct inode *inode)
{
	u32 zero = 0;
	struct place_bits *bits = bpf_map_lookup_elem(&place_bits, &zero);

	return bits && may_be_place(bits, inode) ? find_place((u64)inode) : 0;
}

/* ours_at is ours for a dentry known by its address. */
static __noinline bool ours_at(u64 address)
{
	struct dentry *d = (struct dentry *)address;
	u64 inode = (u64)BPF_CORE_READ(d, d_inode), above = (u64)BPF_CORE_READ(d, d_parent, d_inode);

	return (find_place(inode) | find_place(above)) & PLACE_OURS;
}

/* ours_by is ours for a file of which only the inode is known: by a name that it has. */
static __always_inline bool ours_by(struct inode *inode)
{
	u64 alias = (u64)BPF_CORE_READ(inode, i_dentry.first);

	return alias && ours_at(alias - bpf_core_field_offset(struct dentry, d_u.d_alias));
}

#define DCACHE_MOUNTED_UNTIL_6_14 (1U << 16)

/* is_mountpoint: is anything mounted there, in whatever namespace? Where it is not in the
 * task's, the kernel lets go of all that is mounted on what is removed or overwritten. */
static __always_inline bool is_mountpoint(struct dentry *d)
{
	u32 flag = bpf_core_enum_value_exists(enum dentry_flags, DCACHE_MOUNTED) ? bpf_core_enum_value(enum dentry_flags, DCACHE_MOUNTED) : DCACHE_MOUNTED_UNTIL_6_14;

	return d->d_flags & flag;
}

/* ours: is it such a directory, or in one? */
static __always_inline bool ours(struct dentry *d)
{
	u32 zero = 0;
	struct place_bits *bits = bpf_map_lookup_elem(&place_bits, &zero);
	struct inode *inode = d->d_inode, *above = d->d_parent->d_inode;

	if (!bits || !(may_be_place(bits, inode) || may_be_place(bits, above)))
		return false;
	return (find_place((u64)inode) | find_place((u64)above)) & PLACE_OURS;
}
