/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The maps. */
#pragma once

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "limits.h"
#include "abi.h"

/* Set by the loader: words in the arena, a power of two, less one. */
const volatile u64 arena_mask = ARENA_WORDS - 1;

/* Always 0, but the verifier does not know: adding it makes branches that
 * differ by a constant one state again, and halves what there is to verify. */
volatile u32 opaque;
volatile u64 opaque_mask; /* the same, for what has 64 bits: of the sum with 32 it would know the least */

struct arena {
	u64 w[ARENA_WORDS];
};

/* All policy tables. Word 0 stays empty, so that offset 0 means "no plan". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct arena);
} arena SEC(".maps");

/* Workload N is entry N; entry 0 is never used, so 0 means "not confined". */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WORKLOADS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct workload);
} workloads SEC(".maps");

static __always_inline struct workload *workload_of(u32 w)
{
	u32 key = w & (MAX_WORKLOADS - 1);

	return bpf_map_lookup_elem(&workloads, &key);
}

static __always_inline bool is_strict(u32 w)
{
	struct workload *wl = workload_of(w);

	return !wl || wl->flags & WORKLOAD_STRICT;
}

static __always_inline bool is_ending(u32 w)
{
	struct workload *wl = workload_of(w);

	return !wl || wl->flags & WORKLOAD_ENDING;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_WORKLOADS);
	__type(key, u32);
	__type(value, struct counters);
} counts SEC(".maps");

/* Event sequence numbers, one a workload. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WORKLOADS);
	__type(key, u32);
	__type(value, u64);
} seqs SEC(".maps");

/* cgroup id → workload: the workload's cgroup and every cgroup beneath it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_CGROUPS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} cgroups SEC(".maps");

/* task → workload, for life. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, u32);
} tasks SEC(".maps");

/* What is known of a confined task. The task alone reads and writes its classes:
 * in place, for that cannot fail. */
struct member {
	u64 automaton; /* whose classes exe and parent are; 0: not classified */
	u32 workload;
	u16 exe, parent;
	u16 old_exe, old_parent; /* before the last exec */
	u16 unread; /* the path of the executable could not be read; exe says nothing */
	u16 starting; /* code of process 1 or of a container's runtime still runs in it: see starter.h */
	u64 until;    /* when that ends, of a runtime: CLOCK_MONOTONIC in nanoseconds */
};

/* struct task_struct * → member: the second index, for when task storage
 * answers NULL because it is busy. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TASKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct member);
} members SEC(".maps");

/* struct tty_struct * of a terminal → workload that unlocked it; see terminal.h. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TERMINALS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, u32);
} terminals SEC(".maps");

/* Word 0: nanoseconds from CLOCK_REALTIME to CLOCK_TAI, which programs can read.
 * Setting the clock moves both. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, s64);
} tai_offset SEC(".maps");

/* Word 0: a new cgroup could not be noted, so look at ancestors too. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} degraded SEC(".maps");

/* One component of a walked path. A short name stands in a and b, padded with
 * zeros; of a longer one, a is the address. */
struct component {
	u64 len;
	u64 a, b;
};
struct walked {
	u32 status; /* enum path_status */
	u32 n;
	u64 flags; /* of every directory on the way */
	struct { /* where the walk is, once it has left the first mount */
		u64 mnt, mnt_root, dentry;
		u64 root_mnt, root_dentry;
		u64 from_mnt, from_dentry; /* where it began */
	} at;
	struct component c[MAX_COMPONENTS]; /* leaf first */
};
/* Where a path ends in the trie: the class of its verdicts; sub is the subtree
 * row, or -1 where everything beneath has the same class. */
struct matched {
	u32 class;
	s32 sub;
};
/* What is known of a request besides its paths; see facts.h. */
struct facts {
	u32 known;
	u16 exe, parent; /* classes */
	s64 number[MAX_DIMS]; /* by dimension, but for the time of day */
	u64 automaton;
	u32 xattr_len;
	u32 before; /* exec is not over: exe is what it was before */
};

/* A rename, exchange or link that is judged; see move.h. */
struct move {
	u32 op;
	u32 kind;      /* of what is moved */
	u32 overwrite; /* a target exists */
	u32 target;    /* and its kind */
	u32 links;     /* bit 0: to the new place goes a symbolic link; bit 1: to the old one */
};

struct scratch {
	u64 busy;
	struct walked path, dest, exe;
	struct facts facts;
	struct matched old, new; /* what path and dest match */
	struct move move;
	u64 reported;		 /* actions that are allowed, and that policies in audit would deny */
	u64 denied;		 /* of those that are not allowed, what is not asked of the agent either */
	u64 tripped;		 /* of these, those whose denial trips a wire */
	struct { /* what resolve is asked, and where it is */
		u64 plan, need;
		u32 class, rows, kind, view, upto;
		u32 settled, failed;
	} at_node;
	struct { /* where an automaton is, or a search among thresholds */
		u64 at, next;
		s64 value;
		u32 classes, state, first, low, high;
		u32 which; /* path is taken */
	} run;
	struct { /* where match is */
		u64 plan, node, meta, hit, differs;
	} at;
	struct { /* where decide_dentry is in the mounts of a superblock */
		u64 dentry, next, end, ns;
		u64 at, reported; /* the mount at hand, and the first one whose path is reported */
		u32 seen; /* mounts that show the dentry */
		s32 err;
	} mounts;
	u64 name[NAME_WORDS + 1];
	char xattr[MAX_NAME + 1];
};

/* Walks in progress. A program can be preempted by another on its CPU, so each
 * claims a slot: nothing here is private by being per CPU alone. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_SLOTS);
	__type(key, u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* What a task waits for, and what it was allowed. A task alone writes its own. */
struct proof {
	u64 inode; /* struct inode * of a file that may be executed */
	u32 number;
	u32 image; /* slot of the image that was judged, and one; 0: any */
};
struct hold {
	u64 inode; /* struct inode * of the file that is held */
	u32 number, generation;
	u32 pending;
	u32 proofs;
	struct proof proof[MAX_PROOFS]; /* of the exec that is going on */
};

/* struct task_struct * → hold: every member has room for one, until it exits. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_TASKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u64);
	__type(value, struct hold);
} holds SEC(".maps");

/* thread id → number of its hold: what the agent looks at when a task is held. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HOLDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, u32);
} waits SEC(".maps");

/* number of a hold → what the agent says. */
struct answer {
	u32 allow;
	u32 image; /* as in struct proof */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_HOLDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct answer);
} answers SEC(".maps");

/* Holds, as events; the agent reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} asked SEC(".maps");

#define EVENT_BYTES 16384
/* What late.h remembers of a call. */
struct call {
	s64 err;  /* with which it fails if it fails by what was denied */
	u64 dentry, dir, name; /* that an open may not create: two addresses, and a hash */
};
/* An event as it goes out. */
struct kept {
	struct call call;
	u64 size; /* so far */
	union {
		struct event event;
		char bytes[EVENT_BYTES];
	};
};
struct event_buf {
	u64 busy;
	u64 start; /* where this path began */
	struct walked exe;
	struct kept out;
};
_Static_assert(sizeof(struct event) + 3 * MAX_PATH + MAX_NAME + INLINE_NAME + MAX_NAME + 1 <= EVENT_BYTES, "event buffer too small");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, EVENT_SLOTS);
	__type(key, u32);
	__type(value, struct event_buf);
} event_bufs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* workload → what it put on the rings; see share.h. */
struct share {
	u64 events[RING_PARTS], asked[RING_PARTS];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_WORKLOADS);
	__type(key, u32);
	__type(value, struct share);
} shares SEC(".maps");

static __always_inline u64 *arena_base(void)
{
	u32 zero = 0;
	struct arena *a = bpf_map_lookup_elem(&arena, &zero);

	return a ? a->w : NULL;
}
