/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Every limit of the kernel side. Twin: bpf/abi/limits.go. */
#pragma once

#define MAX_COMPONENTS 128 /* deepest path; power of two */
#define MAX_DIRECT 32	   /* of these, components read without helper calls */
#define MAX_NAME 255	   /* NAME_MAX */
#define MAX_PATH 4096	   /* longest path in an event */
#define INLINE_NAME 16	   /* longest name held in a table slot */
#define MAX_THRESHOLDS 1024 /* of one dimension of a table */
#define NAME_WORDS 32	   /* MAX_NAME in 64-bit words */
#define MAX_WORKLOADS 4096 /* power of two */
#define MAX_CGROUPS 65536
#define MAX_TASKS 131072
#define STARTING_SECONDS 60 /* in which a container's runtime executes what it starts */
#define MAX_TERMINALS 4096 /* made in workloads, and open */
#define MAX_ANCESTORS 32 /* cgroup levels looked at in degraded mode */
#define WALK_TRIES 64	 /* walks torn by a rename before denying */
#define WALK_WAIT 8192	 /* looks, before each of them, for the end of a rename under way */
#define MAX_MOUNTS 32	 /* mounts crossed in one walk */
#define MAX_SB_MOUNTS (1 << 22) /* mounts of one filesystem looked at for a dentry: more than memory holds */
#define SCRATCH_SLOTS 64 /* programs preempted on one CPU at once; power of two */
#define SCRATCH_SHARE 32 /* of one workload, and of every second one after it; power of two */
#define EVENT_SLOTS 64	 /* events being written at once; power of two */
#define EVENT_SHARE 32	 /* of one workload, and of every second one after it; power of two */
#define RING_PARTS 8	 /* of a ring, in which bytes are counted; power of two */
#define MAX_SIBLINGS 32768 /* processes of one parent, among which the first of a process group is looked for */
#define MAX_PARENTS (1 << 22) /* up to process 1: more than there are */
#define MAX_PLACES 256	 /* directories of our own, and those above; see place.h */
#define MAX_LATE 64	 /* events kept until their call ends; see late.h */
#define MAX_HOLDS 4096	 /* operations that wait for the agent */
#define MAX_PROOFS 4	 /* files of one exec that the agent was asked about; power of two */
#define MAX_IMAGE 131072 /* arguments and environment of a new image that are compared */
#define IMAGES 32	 /* of those, waiting for their exec */
#define ARENA_WORDS 65536 /* default; the loader sets the real size */
