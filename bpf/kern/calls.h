/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Classes of system calls, for capabilities: what a capability would be used for. A
 * call that no line names is of no class, so that nothing is let through for it
 * and no refusal in it is reported. */
#pragma once

#include "call.h"

enum call_class {
	CLASS_NONE,
	CLASS_MOUNT,   /* judged by the hooks of mounts */
	CLASS_TREE,    /* mounts and superblocks that no hook tells */
	CLASS_SPACE,   /* namespaces: one's own, or by a descriptor that was judged */
	CLASS_XATTR,   /* judged by the hooks of extended attributes */
	CLASS_FILTER,  /* filters that bind the task itself */
	CLASS_PRCTL,
	CLASS_WATCH,   /* judged by path_notify */
	CLASS_BPF,     /* refused by hooks of their own */
	CLASS_NAME,    /* of the machine */
	CLASS_MADVISE,
	CLASS_ADVISE,  /* process_madvise */
	CLASS_IOCTL,
	CLASS_MACHINE, /* swap and quota */
	CLASS_IPC,     /* of System V */
	CLASS_SCHED,
	CLASS_LIMIT,
	CLASS_CLOCK,
	CLASS_TIMER,
	CLASS_SEND,
	CLASS_BIND,
	CLASS_SOCKET,
	CLASS_LOG,     /* syslog, and opening what holds it */
	CLASS_MODULE,
	CLASS_BOOT,
	CLASS_PORT,
	CLASS_ACCT,
	CLASS_HANGUP,
	CLASS_KEY,     /* a key that a program of the host is to make */
};

#define NIL NO_CALL /* no such call in that table */

/* class, then the number on x86-64, i386, arm64 and arm. */
#define CALLS(X)                                                                                       \
	X(MOUNT, 165, 21, 40, 21)	   /* mount */                                                 \
	X(MOUNT, 166, 52, 39, 52)	   /* umount2 */                                               \
	X(MOUNT, NIL, 22, NIL, NIL)	   /* umount */                                                \
	X(MOUNT, 155, 217, 41, 218)	   /* pivot_root */                                            \
	X(MOUNT, 429, 429, 429, 429)	   /* move_mount */                                            \
	X(TREE, 428, 428, 428, 428)	   /* open_tree */                                             \
	X(TREE, 430, 430, 430, 430)	   /* fsopen */                                                \
	X(TREE, 431, 431, 431, 431)	   /* fsconfig */                                              \
	X(TREE, 432, 432, 432, 432)	   /* fsmount */                                               \
	X(TREE, 433, 433, 433, 433)	   /* fspick */                                                \
	X(TREE, 442, 442, 442, 442)	   /* mount_setattr */                                         \
	X(TREE, 467, 467, 467, 467)	   /* open_tree_attr */                                        \
	X(SPACE, 272, 310, 97, 337)	   /* unshare */                                               \
	X(SPACE, 308, 346, 268, 375)	   /* setns */                                                 \
	X(SPACE, 56, 120, 220, 120)	   /* clone */                                                 \
	X(SPACE, 435, 435, 435, 435)	   /* clone3 */                                                \
	X(XATTR, 463, 463, 463, 463)	   /* setxattrat */                                            \
	X(XATTR, 464, 464, 464, 464)	   /* getxattrat */                                            \
	X(XATTR, 465, 465, 465, 465)	   /* listxattrat */                                           \
	X(XATTR, 466, 466, 466, 466)	   /* removexattrat */                                         \
	X(FILTER, 317, 354, 277, 383)	   /* seccomp */                                               \
	X(FILTER, 446, 446, 446, 446)	   /* landlock_restrict_self */                                \
	X(PRCTL, 157, 172, 167, 172)	   /* prctl */                                                 \
	X(WATCH, 300, 338, 262, 367)	   /* fanotify_init */                                         \
	X(WATCH, 301, 339, 263, 368)	   /* fanotify_mark */                                         \
	X(BPF, 321, 357, 280, 386)	   /* bpf */                                                   \
	X(BPF, 298, 336, 241, 364)	   /* perf_event_open */                                       \
	X(NAME, 170, 74, 161, 74)	   /* sethostname */                                           \
	X(NAME, 171, 121, 162, 121)	   /* setdomainname */                                         \
	X(MADVISE, 28, 219, 233, 220)	   /* madvise */                                               \
	X(ADVISE, 440, 440, 440, 440)	   /* process_madvise */                                       \
	X(IOCTL, 16, 54, 29, 54)	   /* ioctl */                                                 \
	X(IOCTL, 514, NIL, NIL, NIL)	   /* ioctl of the x32 ABI */                                  \
	X(MACHINE, 167, 87, 224, 87)	   /* swapon */                                                \
	X(MACHINE, 168, 115, 225, 115)	   /* swapoff */                                               \
	X(MACHINE, 179, 131, 60, 131)	   /* quotactl */                                              \
	X(MACHINE, 443, 443, 443, 443)	   /* quotactl_fd */                                           \
	X(IPC, 29, 117, 194, NIL)	   /* shmget */                                                \
	X(IPC, 30, NIL, 196, NIL)	   /* shmat */                                                 \
	X(IPC, 31, NIL, 195, NIL)	   /* shmctl */                                                \
	X(IPC, 64, NIL, 190, NIL)	   /* semget */                                                \
	X(IPC, 65, NIL, 193, NIL)	   /* semop */                                                 \
	X(IPC, 66, NIL, 191, NIL)	   /* semctl */                                                \
	X(IPC, 220, NIL, 192, NIL)	   /* semtimedop */                                            \
	X(IPC, 68, NIL, 186, NIL)	   /* msgget */                                                \
	X(IPC, 69, NIL, 189, NIL)	   /* msgsnd */                                                \
	X(IPC, 70, NIL, 188, NIL)	   /* msgrcv */                                                \
	X(IPC, 71, NIL, 187, NIL)	   /* msgctl */                                                \
	X(SCHED, 141, 97, 140, 97)	   /* setpriority */                                           \
	X(SCHED, NIL, 34, NIL, 34)	   /* nice */                                                  \
	X(SCHED, 142, 154, 118, 154)	   /* sched_setparam */                                        \
	X(SCHED, 144, 156, 119, 156)	   /* sched_setscheduler */                                    \
	X(SCHED, 203, 241, 122, 241)	   /* sched_setaffinity */                                     \
	X(SCHED, 314, 351, 274, 380)	   /* sched_setattr */                                         \
	X(SCHED, 251, 289, 30, 314)	   /* ioprio_set */                                            \
	X(SCHED, 237, 274, 235, 319)	   /* mbind */                                                 \
	X(SCHED, 279, 317, 239, 344)	   /* move_pages */                                            \
	X(LIMIT, 160, 75, 164, 75)	   /* setrlimit */                                             \
	X(LIMIT, 302, 340, 261, 369)	   /* prlimit64 */                                             \
	X(CLOCK, 164, 79, 170, 79)	   /* settimeofday */                                          \
	X(CLOCK, 227, 264, 112, 262)	   /* clock_settime */                                         \
	X(CLOCK, 159, 124, 171, 124)	   /* adjtimex */                                              \
	X(CLOCK, 305, 343, 266, 372)	   /* clock_adjtime */                                         \
	X(TIMER, 222, 259, 107, 257)	   /* timer_create */                                          \
	X(TIMER, 283, 322, 85, 350)	   /* timerfd_create */                                        \
	X(TIMER, 286, 325, 86, 353)	   /* timerfd_settime */                                       \
	X(TIMER, 230, 267, 115, 265)	   /* clock_nanosleep */                                       \
	X(SEND, 44, 369, 206, 290)	   /* sendto */                                                \
	X(SEND, 46, 370, 211, 296)	   /* sendmsg */                                               \
	X(SEND, 307, 345, 269, 374)	   /* sendmmsg */                                              \
	X(SEND, 1, 4, 64, 4)		   /* write */                                                 \
	X(SEND, 20, 146, 66, 146)	   /* writev */                                                \
	X(BIND, 49, 361, 200, 282)	   /* bind */                                                  \
	X(SOCKET, 41, 359, 198, 281)	   /* socket */                                                \
	X(LOG, 103, 103, 116, 103)	   /* syslog */                                                \
	X(LOG, 2, 5, NIL, 5)		   /* open */                                                  \
	X(LOG, 257, 295, 56, 322)	   /* openat */                                                \
	X(LOG, 437, 437, 437, 437)	   /* openat2 */                                               \
	X(MODULE, 175, 128, 105, 128)	   /* init_module */                                           \
	X(MODULE, 313, 350, 273, 379)	   /* finit_module */                                          \
	X(MODULE, 176, 129, 106, 129)	   /* delete_module */                                         \
	X(BOOT, 169, 88, 142, 88)	   /* reboot */                                                \
	X(BOOT, 246, 283, 104, 347)	   /* kexec_load */                                            \
	X(BOOT, 320, NIL, 294, NIL)	   /* kexec_file_load */                                       \
	X(PORT, 172, 110, NIL, NIL)	   /* iopl */                                                  \
	X(PORT, 173, 101, NIL, NIL)	   /* ioperm */                                                \
	X(ACCT, 163, 51, 89, 51)	   /* acct */                                                  \
	X(HANGUP, 153, 111, 58, 111)	   /* vhangup */                                               \
	X(KEY, 249, 287, 218, 310)	   /* request_key */

/* The twelve old calls of extended attributes stand in a row. */
#if defined(__TARGET_ARCH_x86)
#define NATIVE(x86, i386, arm64, arm) x86
#define OTHER(x86, i386, arm64, arm) i386
#else
#define NATIVE(x86, i386, arm64, arm) arm64
#define OTHER(x86, i386, arm64, arm) arm
#endif
#define XATTRS 12

#define NATIVE_CALL(class, ...)                                                                        \
	if (nr == NATIVE(__VA_ARGS__))                                                                 \
		return CLASS_##class;
#define OTHER_CALL(class, ...)                                                                         \
	if (nr == OTHER(__VA_ARGS__))                                                                  \
		return CLASS_##class;

static __noinline u32 native_class(u32 nr)
{
	if (nr == NIL)
		return CLASS_NONE;
	CALLS(NATIVE_CALL)
	return nr - NATIVE(188, 226, 5, 226) < XATTRS ? CLASS_XATTR : CLASS_NONE;
}

static __noinline u32 compat_class(u32 nr)
{
	if (nr == NIL)
		return CLASS_NONE;
	CALLS(OTHER_CALL)
	return nr - OTHER(188, 226, 5, 226) < XATTRS ? CLASS_XATTR : CLASS_NONE;
}

/* class_of returns the class of a call_number. Not static: the verifier would follow each
 * class through what its caller does. */
__noinline u32 class_of(u32 nr)
{
	return nr & COMPAT_CALL ? compat_class(nr & ~COMPAT_CALL) : native_class(nr);
}
