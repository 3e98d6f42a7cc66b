/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Twin of package bpf/abi; a test compares both through the object's BTF. */
#pragma once

enum action {
	ACT_OPEN,
	ACT_READ,
	ACT_WRITE,
	ACT_CREATE,
	ACT_DELETE,
	ACT_CHMOD,
	ACT_CHOWN,
	ACT_TOUCH,
	ACT_SET_X_ATTR,
	ACT_STAT,
	ACT_EXECUTE,
	ACT_MAP,
	ACT_MOVE,
	ACT_MOUNT,
	ACT_UNMOUNT,
	ACT_CHROOT,
	ACT_USERNS,
	ACT_TRACE,
	ACT_INTERRUPT,
	ACT_KILL,
	ACT_CONNECT_UNIX,
};
#define BIT(a) (1ULL << (a))

/* Kinds of resources; those with a path come first. */
enum kind { KIND_FILE, KIND_DIR, NUM_KINDS };
#define NUM_PATHS (KIND_DIR + 1)
#define KIND_MASK 7U /* of how and of a view, the kind: as many as a table has room for */
_Static_assert(NUM_KINDS - 1 <= KIND_MASK, "a kind does not fit beside the flags");

enum mode { MODE_ENFORCE, MODE_AUDIT, MODE_LOCKDOWN };

enum reason {
	REASON_POLICY,	 /* the table says deny */
	REASON_GAIN,	 /* the new place would grant more than the old one */
	REASON_OUTSIDE,	 /* the path does not lead to the workload's root */
	REASON_TOO_DEEP, /* more than MAX_COMPONENTS */
	REASON_TORN,	 /* renames raced with every walk */
	REASON_BUSY,	 /* no scratch memory free */
	REASON_NO_PLAN,	 /* no plan installed */
	REASON_LOCKDOWN, /* the workload is locked down */
	REASON_BOUNDARY, /* no policy can grant this */
	REASON_ASK,	 /* the table says ask, and nobody answers */
	REASON_FOLDED,	 /* a directory on the way gives one file many names */
	REASON_HELD,	 /* not refused: the agent is asked */
	REASON_ANSWERED, /* the agent was asked, and policy denies */
	REASON_CHANGED,	 /* the image that was executed is not the one that was judged */
	REASON_LOSS,	 /* what may not be made beneath the new name could come along */
	REASON_HOLDS,	 /* beneath the old name is what may not be moved or deleted */
};

/* What no policy can grant. */
enum boundary {
	BOUNDARY_NONE,
	BOUNDARY_BPF,	  /* bpf(2) */
	BOUNDARY_PERF,	  /* perf_event_open(2) */
	BOUNDARY_MODULE,  /* kernel modules, kexec and their like */
	BOUNDARY_CONTROL, /* files that control the kernel or other workloads */
	BOUNDARY_DEVICE,  /* block devices and memory devices */
	BOUNDARY_PROCESS, /* tracing a process outside the workload */
	BOUNDARY_SIGNAL,  /* signals to a process outside the workload */
	BOUNDARY_URING,	  /* an io_uring made outside the workload */
	BOUNDARY_SOCKET,  /* a unix socket without a path, of a process outside */
	BOUNDARY_TERMINAL, /* typing on a terminal in the user's place */
	BOUNDARY_WATCH,	  /* watching or blocking a whole mount or filesystem */
	BOUNDARY_CLOCK,	  /* setting the clock that policies read */
	BOUNDARY_IDENTITY, /* another executable in place of the running one */
	BOUNDARY_SYSTEM,   /* the machine as a whole: its power, swap, name, accounts, filesystems */
	BOUNDARY_MEMORY,   /* strict: executable memory that no file holds */
	BOUNDARY_CAPABILITY, /* a capability that the workload was not granted: the event's device is its number */
	BOUNDARY_COMMAND,  /* a command to a file that is not known to be harmless */
	BOUNDARY_LEASE,	   /* holding up whoever opens a file or reads memory */
	BOUNDARY_NETWORK,  /* a kind of socket that is not permitted: the event's device is its number */
};

/* Kinds of sockets that confined tasks lack, unless they are granted to their
 * workload: bit N of sockets is kind N. */
enum socket_kind {
	SOCKET_FREE,  /* everybody may have it */
	SOCKET_OTHER, /* nobody may, granted or not */
	SOCKET_PACKET,
	SOCKET_RAW,
	SOCKET_MPTCP,
	SOCKET_SCTP,
	SOCKET_DCCP,
	SOCKET_UDPLITE,
	SOCKET_L2TP,
	SOCKET_SMC,
	SOCKET_KEY,
	SOCKET_RDS,
	SOCKET_IB,
	SOCKET_CAN,
	SOCKET_TIPC,
	SOCKET_BLUETOOTH,
	SOCKET_ALG,
	SOCKET_VSOCK,
	SOCKET_KCM,
	SOCKET_QIPCRTR,
	SOCKET_XDP,
	SOCKET_TCP_ULP,
	SOCKET_UDP_ENCAP,
	SOCKET_NETLINK = 32, /* and the number of its protocol */
};

/* Ways in which requests for one path differ; see docs/table-format.md. A fact of the
 * request is a row of facts in bpf/abi/fact.go and, here, a dimension. */
enum dim {
	DIM_GLOB0,
	DIM_GLOB1,
	DIM_GLOB2,
	DIM_GLOB3,
	DIM_UID,
	DIM_GID,
	DIM_NOW,
	DIM_DAYTIME,
	DIM_EXE,
	DIM_PARENT_EXE,
	DIM_XATTR,
	DIM_DEST_PATH,
	DIM_DEST_NAME,
	DIM_DEST_DIR,
	NUM_DIMS,
};
#define MAX_DIMS 16 /* for which tables have room; power of two */
#define NUMBERS (1U << DIM_UID | 1U << DIM_GID | 1U << DIM_NOW | 1U << DIM_DAYTIME) /* the others are strings */

enum path_status { PATH_NONE, PATH_OK, PATH_OUTSIDE, PATH_TOO_DEEP, PATH_TORN, PATH_CUT, PATH_FOLDED };

/* One confined workload. plan is the word offset of its table in the arena
 * (low 32 bits; 0: none) and the generation (high): one load, so a verdict
 * uses one generation. */
struct workload {
	u64 plan;
	u64 root_mnt;	 /* struct vfsmount * of the registered root */
	u64 root_dentry; /* struct dentry * of the registered root */
	u32 mode;
	u32 flags;
	u64 caps;    /* capabilities granted beside those that every workload has, by number */
	u64 sockets; /* kinds of sockets granted likewise: abi.Socket */
	u64 pad[2];  /* a power of two: an index costs a shift */
};
#define WORKLOAD_STRICT 1U    /* see strict.bpf.c */
#define WORKLOAD_HOLD_EXEC 2U /* what the table asks about executions is held; see hold.h */
#define WORKLOAD_HOLD_OPEN 4U /* and about opens */
#define WORKLOAD_ENDING 8U    /* none of its tasks makes another: it is being stopped */
#define WORKLOAD_CONTAINER 16U /* who comes from outside prepares it; see runtime.h */

struct counters {
	u64 allowed;
	u64 denied;  /* refused operations, and in audit mode those that would be */
	u64 dropped; /* of these, events that found no room */
	u64 withheld; /* capabilities and signals refused that may not have failed the call: no events */
};

/* The fixed part of an event. The paths follow: components leaf first, each
 * ended by a NUL; path_len, dest_len and exe_len bytes. Then the name of the
 * extended attribute, xattr_len bytes. */
struct event {
	u64 seq;  /* per workload, from 1, without gaps but for dropped events */
	u64 time; /* nanoseconds, CLOCK_MONOTONIC */
	u64 cgroup;
	u64 inode;
	u64 missing; /* mask of the actions that were refused */
	u32 device; /* kernel's encoding: major << 20 | minor */
	u32 workload;
	u32 generation;
	u32 pid, tid;
	u32 uid, gid;
	u8 action;   /* the first of them */
	u8 kind;     /* enum kind */
	u8 reason;
	u8 mode;
	u8 path_status, dest_status, exe_status;
	u8 boundary; /* enum boundary, for REASON_BOUNDARY */
	u32 path_len, dest_len, exe_len, xattr_len;
	u32 hold; /* number of the hold that this ends; of REASON_HELD, its own */
	char comm[16];
	s64 now;       /* CLOCK_REALTIME in milliseconds, as the verdict saw it */
	u64 automaton; /* whose exe_class and parent_class are; 0: not classified */
	u32 euid, egid;
	u16 exe_class, parent_class;
	u8 trips; /* it locked the workload down */
	u8 unsure; /* it was sent before its call ended, which may go on */
	u8 pad[2];
};
