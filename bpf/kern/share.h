/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Shares of the rings of denials and of holds: a workload has at most as much waiting
 * there as is still free. One that floods fills half of a ring, a second one half of
 * the rest, and so on.
 *
 * What was read is known by the position that the reader stores anyhow, so that no count
 * can be wrong after a reader was killed: a ring is divided into parts, a workload's
 * bytes are counted for each, and those of a part that was read to its end are over. */
#pragma once

#include "maps.h"

/* An entry of struct share: the low half of the part's number, counted from the
 * beginning, and the bytes in it. */
#define PART_SHIFT 32

enum { BPF_RB_RING_SIZE = 1, BPF_RB_CONS_POS, BPF_RB_PROD_POS };
#define RECORD_HEADER 8 /* before each record */

/* waiting_in returns the bytes of an entry unless its part, before first, was read. No
 * branch: the verifier would follow both. */
static __always_inline u64 waiting_in(u64 entry, u64 first)
{
	s64 read = (s64)(((entry >> PART_SHIFT) - first) << PART_SHIFT) >> 63;

	asm volatile("" : "+r"(read)); /* all ones or none: clang would branch */
	return (u32)entry & ~read;
}

/* put_in counts bytes in an entry. */
static __always_inline void put_in(u64 *entry, u64 part, u64 bytes)
{
	u64 was = *entry, fresh = part << PART_SHIFT | bytes;

	if (was >> PART_SHIFT == (u32)part || __sync_val_compare_and_swap(entry, was, fresh) != was)
		__sync_fetch_and_add(entry, bytes);
}

/* share_in returns 0 and counts a record of size bytes if the share has room. Programs on
 * other processors that ask at the same time may each be let: a record each too many. */
static __always_inline int share_in(void *ring, u64 *share, u32 size)
{
	u64 all = bpf_ringbuf_query(ring, BPF_RB_RING_SIZE);
	u64 from = bpf_ringbuf_query(ring, BPF_RB_CONS_POS); /* before the end: it never overtakes */
	u64 end = bpf_ringbuf_query(ring, BPF_RB_PROD_POS);
	u64 length = all / RING_PARTS, first = from / length, part = end / length;
	u64 bytes = (size + RECORD_HEADER + 7) & ~7ULL, mine = bytes;

	for (u32 i = 0; i < RING_PARTS; i++)
		mine += waiting_in(share[i], first);
	if (mine > all - (end - from))
		return -1;
	put_in(&share[part & (RING_PARTS - 1)], part, bytes);
	return 0;
}

/* share_lacks returns 0 if a workload may have an event, or a hold, of size bytes on its
 * ring, too. */
__noinline int share_lacks(u32 w, u32 size, u32 held)
{
	struct share *s = bpf_map_lookup_elem(&shares, &w);

	if (!s)
		return -1;
	return held ? share_in(&asked, s->asked, size) : share_in(&events, s->events, size);
}
