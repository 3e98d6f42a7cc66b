/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Directories where the agent and runs keep what others take their word for: sockets,
 * locks, the key that signs. What is in one, and the directory itself, is beyond every
 * workload, whatever its policy permits; and where they are, and each directory above,
 * stays. They are known by inode, so that no alias of a path leads in. */
#pragma once

#include "maps.h"

#define PLACE_OURS 1U /* nothing in it is opened, made, removed or renamed */
#define PLACE_STAYS 2U /* it is not renamed, removed or mounted over */

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

static __noinline u32 find_place(u64 ino, u64 sb)
{
	struct place key = { .inode = ino, .device = BPF_CORE_READ((struct super_block *)sb, s_dev) };
	u32 *flags = bpf_map_lookup_elem(&places, &key);

	return flags ? *flags : 0;
}

/* place_of returns the flags of a directory. */
static __always_inline u32 place_of(struct inode *inode)
{
	u32 zero = 0;
	struct place_bits *bits = bpf_map_lookup_elem(&place_bits, &zero);
	u64 ino;

	if (!bits || !inode)
		return 0;
	ino = inode->i_ino;
	if (!(bits->word[ino >> 6 & 3] >> (ino & 63) & 1))
		return 0;
	return find_place(ino, (u64)inode->i_sb);
}

/* ours: is it such a directory, or in one? */
static __always_inline bool ours(struct dentry *d)
{
	return (place_of(d->d_inode) | place_of(d->d_parent->d_inode)) & PLACE_OURS;
}
