/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The ioctl commands that are known to be harmless: they read, or change no more
 * than the descriptor, the caller's own object or a terminal that it holds. By
 * number, and, where drivers may give a number another meaning, by what the file
 * is. What changes a filesystem is judged or refused in command.bpf.c. */
#pragma once

#include "kernel.h"

/* of_terminal: job control, settings and sizes; the kernel answers ENOTTY on
 * whatever is no terminal. Not among them: typing in the user's place, consoles,
 * line disciplines, what a serial port's hardware is. */
static __always_inline bool of_terminal(u32 cmd)
{
	switch (cmd) {
	case 0x5401 ... 0x5411: /* TCGETS to TIOCOUTQ: TCSETS*, TCSBRK, TCFLSH, TIOCEXCL, TIOCSCTTY, TIOCSPGRP ... */
	case 0x5413 ... 0x541b: /* TIOCGWINSZ, TIOCSWINSZ, TIOCMGET to TIOCMSET, TIOC[GS]SOFTCAR, FIONREAD */
	case 0x541e:		/* TIOCGSERIAL */
	case 0x5420 ... 0x5422: /* TIOCPKT, FIONBIO, TIOCNOTTY */
	case 0x5424 ... 0x5425: /* TIOCGETD, TCSBRKP */
	case 0x5427 ... 0x5429: /* TIOCSBRK, TIOCCBRK, TIOCGSID */
	case 0x542e:		/* TIOCGRS485 */
	case 0x5432 ... 0x5435: /* TCGETX to TCSETXW */
	case 0x5441:		/* TIOCGPTPEER */
	case 0x5450 ... 0x5452: /* FIONCLEX, FIOCLEX, FIOASYNC */
	case 0x5456:		/* TIOCGLCKTRMIOS */
	case 0x5459:		/* TIOCSERGETLSR */
	case 0x545c ... 0x545d: /* TIOCMIWAIT, TIOCGICOUNT */
	case 0x5460:		/* FIOQSIZE */
	case 0x802c542a:	/* TCGETS2 */
	case 0x402c542b ... 0x402c542d: /* TCSETS2, TCSETSW2, TCSETSF2 */
	case 0x80045430:	/* TIOCGPTN */
	case 0x40045431:	/* TIOCSPTLCK */
	case 0x80045432:	/* TIOCGDEV */
	case 0x40045436:	/* TIOCSIG */
	case 0x80045438:	/* TIOCGPKT */
	case 0x80045439:	/* TIOCGPTLCK */
	case 0x80045440:	/* TIOCGEXCL */
	case 0x4b33:		/* KDGKBTYPE */
	case 0x4b3b:		/* KDGETMODE */
	case 0x4b44:		/* KDGKBMODE */
	case 0x5603:		/* VT_GETSTATE */
		return true;
	}
	return false;
}

/* of_any is what any file may get. The descriptors that FICLONE and FICLONERANGE
 * join were judged when they were opened; FIDEDUPERANGE is not here, since it
 * tells what a file that may only be written holds. */
static __always_inline bool of_any(u32 cmd)
{
	switch (cmd) {
	case 0x2:	   /* FIGETBSZ */
	case 0x301:	   /* HDIO_GETGEO */
	case 0x80200204:   /* FDGETPRM */
	case 0x7b9:	   /* IOCTL_VM_SOCKETS_GET_LOCAL_CID */
	case 0x125e:	   /* BLKROGET */
	case 0x1260:	   /* BLKGETSIZE */
	case 0x1268:	   /* BLKSSZGET */
	case 0x1278 ... 0x127b: /* BLKIOMIN, BLKIOOPT, BLKALIGNOFF, BLKPBSZGET */
	case 0x80081270:   /* BLKBSZGET */
	case 0x80081272:   /* BLKGETSIZE64 */
	case 0x80041272:   /* of 32-bit callers */
	case 0x40049409:   /* FICLONE */
	case 0x4020940d:   /* FICLONERANGE */
	case 0xc020660b:   /* FS_IOC_FIEMAP */
		return true;
	}
	return of_terminal(cmd);
}

/* of_filesystem: what tells about a regular file, a directory, or their filesystem. */
static __always_inline bool of_filesystem(u32 cmd)
{
	switch (cmd) {
	case 0x80086601: /* FS_IOC_GETFLAGS */
	case 0x80046601:
	case 0x801c581f: /* FS_IOC_FSGETXATTR */
	case 0x80087601: /* FS_IOC_GETVERSION */
	case 0x80047601:
	case 0xc0046686: /* FS_IOC_MEASURE_VERITY */
	case 0xc0286687: /* FS_IOC_READ_VERITY_METADATA */
	case 0x400c6615: /* FS_IOC_GET_ENCRYPTION_POLICY */
	case 0xc0096616: /* FS_IOC_GET_ENCRYPTION_POLICY_EX */
	case 0xc080661a: /* FS_IOC_GET_ENCRYPTION_KEY_STATUS */
	case 0x8010661b: /* FS_IOC_GET_ENCRYPTION_NONCE */
	case 0x81009431: /* FS_IOC_GETFSLABEL */
	case 0x80111500: /* FS_IOC_GETFSUUID */
	case 0x80811501: /* FS_IOC_GETFSSYSFSPATH */
	case 0x80086603: /* EXT4_IOC_GETVERSION */
	case 0x80046603:
	case 0x80086605: /* EXT4_IOC_GETRSVSZ */
	case 0x40046629: /* EXT4_IOC_GETSTATE */
	case 0xc020662a: /* EXT4_IOC_GET_ES_CACHE */
	case 0x800c581e: /* XFS_IOC_DIOINFO */
	case 0x80705864: /* XFS_IOC_FSGEOMETRY_V1, _V4, and today's */
	case 0x8070587c:
	case 0x8100587e:
	case 0xd000941e: /* BTRFS_IOC_DEV_INFO */
	case 0x8400941f: /* BTRFS_IOC_FS_INFO */
	case 0xc0109414: /* BTRFS_IOC_SPACE_INFO */
	case 0x80089419: /* BTRFS_IOC_SUBVOL_GETFLAGS */
	case 0x80189439: /* BTRFS_IOC_GET_FEATURES */
	case 0x81f8943c: /* BTRFS_IOC_GET_SUBVOL_INFO */
	case 0x8004f50c: /* F2FS_IOC_GET_FEATURES */
	case 0x80047210: /* FAT_IOCTL_GET_ATTRIBUTES */
	case 0x80047213: /* FAT_IOCTL_GET_VOLUME_ID */
	case 0xc0606610: /* PAGEMAP_SCAN */
	case 0xc0686611: /* PROCMAP_QUERY */
		return true;
	}
	return false;
}

/* of_socket: the kernel asks CAP_NET_ADMIN for what changes an interface, a
 * route or a neighbour. Not among them: a file's owner, and what protocols and
 * drivers have of their own. */
static __always_inline bool of_socket(u32 cmd)
{
	switch (cmd) {
	case 0x8903 ... 0x8907: /* FIOGETOWN, SIOCGPGRP, SIOCATMARK, SIOCGSTAMP, SIOCGSTAMPNS */
	case 0x890b ... 0x890d: /* SIOCADDRT, SIOCDELRT, SIOCRTMSG */
	case 0x8910 ... 0x8949: /* SIOCGIFNAME to SIOCGMIIREG: SIOCGIFCONF, SIOCGIFADDR, SIOCETHTOOL ... */
	case 0x8953 ... 0x8955: /* SIOCDARP, SIOCGARP, SIOCSARP */
	case 0x8970 ... 0x8971: /* SIOCGIFMAP, SIOCSIFMAP */
	case 0x80108906:	/* SIOCGSTAMP_NEW */
	case 0x80108907:	/* SIOCGSTAMPNS_NEW */
	case 0x894b:		/* SIOCOUTQNSD */
		return true;
	}
	return cmd >= 0x8b00 && cmd <= 0x8b2f && cmd & 1; /* what reads of SIOCGIW* */
}

#define SECCOMP_NOTIFY 0x21 /* type of SECCOMP_IOCTL_NOTIF_* */

/* of_object: objects of the task's own that the kernel makes without a place. */
static __always_inline bool of_object(u32 cmd)
{
	switch (cmd) {
	case 0x40085400: /* TFD_IOC_SET_TICKS */
	case 0x40044900: /* INOTIFY_IOC_SETNEXTWD */
		return true;
	}
	switch (cmd >> 8 & 0xff) {
	case 0x8a: /* EPIOC[GS]PARAMS */
	case SECCOMP_NOTIFY: /* of children of the task */
	case 0xaa: /* UFFDIO_* */
		return true;
	}
	return false;
}

/* of_namespace: the parent, the owner, and numbers. */
static __always_inline bool of_namespace(u32 cmd)
{
	switch (cmd & 0xffff) {
	case 0xb701 ... 0xb70a: /* NS_GET_USERNS to NS_MNT_GET_INFO */
	case 0xb70d:		/* NS_GET_ID */
		return true;
	}
	return false;
}

/* of_pidfd: PIDFD_GET_*, for which the kernel asks ptrace_access_check where they
 * give more than a number. */
static __always_inline bool of_pidfd(u32 cmd)
{
	return (cmd & 0xffff) >= 0xff01 && (cmd & 0xffff) <= 0xff0b;
}
