// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Commands to files that are open: ioctl, fcntl, locks. What is not known to be
 * harmless (ioctl.h) or judged here is refused.
 *
 * file_ioctl, file_ioctl_compat
 *                 file flags and versions: set_x_attr; preallocation and verity: write; encryption of
 *                 a directory: set_x_attr and create; frozen filesystems, typing in the user's place,
 *                 a file's owner, subvolumes, everything unknown: never. Who unlocks a terminal's
 *                 other side owns the terminal
 * fentry devpts_pty_kill
 *                 a terminal that is gone is nobody's
 * uring_cmd       the same by io_uring: sockets only
 * file_fcntl      a file's owner, whom the kernel signals: none but the task itself; the signal that
 *                 another owner gets, and that it gets one: not chosen. Leases and delegations, which
 *                 hold up whoever opens: never, nor what is unknown
 * file_lock       locks beyond what the file was opened for: shared read, exclusive write, on a
 *                 directory create
 */
#include "boundary.h"
#include "ioctl.h"
#include "queue.h"
#include "terminal.h"

/* on_command refuses a command with err where what is a boundary, and else judges what
 * it needs by the file's path. What has no name is the task's own. Inlined,
 * as its callers are: 6.1 has room for one more frame on the stack, not for two. */
static __always_inline int on_command(u32 w, struct file *file, u32 what, u32 need, int err)
{
	struct dentry *dentry = file->f_path.dentry;
	int verdict;

	what += opaque; /* nor does the verifier follow each of them */
	err += opaque;
	if (nameless(dentry))
		return what ? refuse_as(w, what, need, err) : 0;
	if (is_queue(dentry))
		return what ? refuse_as(w, what, need, err) : decide_queue(w, (u64)file->f_path.mnt, (u64)dentry, need);
	verdict = decide(w, file->f_path.mnt, dentry, kind_of(file->f_inode) | REFUSE(what), need + opaque);
	return verdict && what ? bounded(err) : verdict;
}

/* own_number returns a task's id as the task itself sees it. */
static __always_inline int own_number(u64 task)
{
	struct pid *pid = BPF_CORE_READ((struct task_struct *)task, thread_pid);
	u64 at = (u64)pid + bpf_core_field_offset(struct pid, numbers) +
		 BPF_CORE_READ(pid, level) * bpf_core_type_size(struct upid);

	return BPF_CORE_READ((struct upid *)at, nr);
}

/* owned_by_other: does a file have an owner, and is that another process? */
static __always_inline bool owned_by_other(struct file *file)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct fown_struct *own;
	u64 owner = 0;

	if (bpf_core_field_exists(struct file___owner, f_owner)) {
		own = BPF_CORE_READ((struct file___owner *)file, f_owner);
		if (own)
			owner = (u64)BPF_CORE_READ(own, pid);
	} else {
		owner = (u64)BPF_CORE_READ((struct file___owned *)file, f_owner.pid);
	}
	return owner && owner != (u64)BPF_CORE_READ(task, thread_pid) &&
	       owner != (u64)BPF_CORE_READ(task, group_leader, thread_pid);
}

/* ioctl commands that depend on more than their number. */
#define FIOASYNC 0x5452
#define FIOSETOWN 0x8901
#define SIOCSPGRP 0x8902
#define TIOCSTI 0x5412
#define TIOCLINUX 0x541c
#define TIOCSPTLCK 0x40045431
#define FS_IOC_SETFLAGS 0x40086602
#define FS_IOC32_SETFLAGS 0x40046602
#define FS_IOC_FSSETXATTR 0x401c5820
#define FS_IOC_SETVERSION 0x40087602
#define FS_IOC32_SETVERSION 0x40047602
#define EXT4_IOC_SETVERSION 0x40086604
#define FAT_IOCTL_SET_ATTRIBUTES 0x40047211
#define FS_IOC_ENABLE_VERITY 0x40806685
#define FS_IOC_SET_ENCRYPTION_POLICY 0x800c6613
#define RNDGETENTCNT 0x80045200

/* change_of returns what a change of a file or of its filesystem asks, 0 for
 * other commands. */
static __always_inline u32 change_of(u32 cmd)
{
	switch (cmd) {
	case FS_IOC_SETFLAGS:
	case FS_IOC32_SETFLAGS:
	case FS_IOC_FSSETXATTR:
	case FS_IOC_SETVERSION:
	case FS_IOC32_SETVERSION:
	case EXT4_IOC_SETVERSION:
	case FAT_IOCTL_SET_ATTRIBUTES:
		return BIT(ACT_SET_X_ATTR);
	case FS_IOC_SET_ENCRYPTION_POLICY:
		return BIT(ACT_SET_X_ATTR) | BIT(ACT_CREATE);
	case FS_IOC_ENABLE_VERITY:
		return BIT(ACT_WRITE);
	}
	switch (cmd & 0xc000ffff) { /* of callers of either width */
	case 0x40005828 ... 0x4000582b: /* FS_IOC_RESVSP, UNRESVSP, RESVSP64, UNRESVSP64 */
	case 0x40005839:		/* FS_IOC_ZERO_RANGE */
		return BIT(ACT_WRITE);
	}
	return 0;
}

/* known_command: does a file of this kind get the command? */
static __always_inline bool known_command(struct file *file, u32 type, u32 cmd)
{
	switch (file->f_path.dentry->d_sb->s_magic) {
	case ANON_INODE_FS_MAGIC:
		return of_object(cmd);
	case NSFS_MAGIC:
		return of_namespace(cmd);
	case PIDFS_MAGIC:
		return of_pidfd(cmd);
	}
	switch (type) {
	case S_IFREG:
	case S_IFDIR:
		return of_filesystem(cmd);
	case S_IFSOCK:
		return of_socket(cmd);
	case S_IFCHR:
		return cmd == RNDGETENTCNT;
	}
	return false;
}

/* reaches_code: can a command that is not known do anything? Where the file has no
 * code for commands, those of other types than the kernel has for every
 * filesystem end with ENOTTY, which is no refusal. */
static __always_inline bool reaches_code(struct file *file, u32 cmd)
{
	switch (cmd >> 8 & 0xff) {
	case 0x00:
	case 0x15:
	case 'X':
	case 'f':
	case 'v':
	case 0x94:
		return true;
	}
	return file->f_op->unlocked_ioctl || file->f_op->compat_ioctl;
}

static __always_inline int on_ioctl(struct file *file, u32 cmd)
{
	u32 type, w, what = 0, need = 0;
	int err = -EPERM;

	if (cmd == TIOCSPTLCK)
		return on_unlock(file);
	if (of_any(cmd) && cmd != FIOASYNC)
		return 0;
	w = who();
	if (!w)
		return 0;
	if ((cmd >> 8 & 0xff) == SECCOMP_NOTIFY && by_executable(w)) /* it answers calls of another */
		return refuse(w, BOUNDARY_IDENTITY, BIT(ACT_TRACE));
	type = file->f_inode->i_mode & S_IFMT;
	switch (cmd) {
	case FIOASYNC:
		if (!owned_by_other(file))
			return 0;
		return refuse(w, BOUNDARY_SIGNAL, BIT(ACT_KILL));
	case FIOSETOWN:
	case SIOCSPGRP:
		return refuse(w, BOUNDARY_SIGNAL, BIT(ACT_KILL));
	case FIFREEZE:
	case FITHAW:
	case FITRIM:
		return refuse(w, BOUNDARY_SYSTEM, 0);
	case TIOCSTI:
	case TIOCLINUX:
		what = BOUNDARY_TERMINAL;
		break;
	default:
		if (type == S_IFREG || type == S_IFDIR)
			need = change_of(cmd);
		if (need)
			break;
		if (known_command(file, type, cmd) || !reaches_code(file, cmd))
			return 0;
		what = BOUNDARY_COMMAND;
		err = -ENOTTY;
	}
	return on_command(w, file, what, need, err);
}

SEC("lsm/file_ioctl")
int BPF_PROG(file_ioctl, struct file *file, unsigned int cmd)
{
	return on_ioctl(file, cmd);
}

SEC("lsm/file_ioctl_compat")
int BPF_PROG(file_ioctl_compat, struct file *file, unsigned int cmd)
{
	return on_ioctl(file, cmd);
}

/* Memory for others: without it the map would fill. */
SEC("fentry/devpts_pty_kill")
int BPF_PROG(terminal_gone, struct dentry *dentry)
{
	u64 tty = (u64)dentry->d_fsdata;

	bpf_map_delete_elem(&terminals, &tty);
	return 0;
}

/* Devices and filesystems take commands here that no other hook sees; a socket's
 * are its ioctls and options. */
SEC("lsm/uring_cmd")
int BPF_PROG(uring_cmd, struct io_uring_cmd *command)
{
	struct file *file = command->file;
	u32 w = who();

	if (!w || (file->f_inode->i_mode & S_IFMT) == S_IFSOCK)
		return 0;
	return on_command(w, file, BOUNDARY_COMMAND, 0, -EPERM);
}

#define F_UNLCK 2
#define F_RDLCK 0
#define F_SETFL 4
#define F_SETOWN 8
#define F_SETSIG 10
#define F_SETOWN_EX 15
#define F_SETLEASE 1024
#define F_SET_RW_HINT 1036
#define F_SET_FILE_RW_HINT 1038
#define F_SETDELEG 1040
#define O_ASYNC 020000

/* harmless_fcntl: copies of the descriptor, its flags, locks (which file_lock judges),
 * reading the owner and the lease, F_NOTIFY (which path_notify judges), pipes'
 * sizes, seals of memory, and reading hints. */
static __always_inline bool harmless_fcntl(u32 cmd, unsigned long arg)
{
	switch (cmd) {
	case F_SETFL:
		return !(arg & O_ASYNC);
	case 0 ... 3:	    /* F_DUPFD, F_GETFD, F_SETFD, F_GETFL */
	case 5 ... 7:	    /* F_GETLK, F_SETLK, F_SETLKW */
	case 9:		    /* F_GETOWN */
	case 11 ... 14:	    /* F_GETSIG, and F_GETLK64, F_SETLK64, F_SETLKW64 of 32-bit callers */
	case 16 ... 17:	    /* F_GETOWN_EX, F_GETOWNER_UIDS */
	case 36 ... 38:	    /* F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW */
	case 1025 ... 1028: /* F_GETLEASE, F_NOTIFY, F_DUPFD_QUERY, F_CREATED_QUERY */
	case 1030 ... 1035: /* F_DUPFD_CLOEXEC, F_[GS]ETPIPE_SZ, F_ADD_SEALS, F_GET_SEALS, F_GET_RW_HINT */
	case 1037:	    /* F_GET_FILE_RW_HINT */
	case 1039:	    /* F_GETDELEG */
		return true;
	}
	return false;
}

/* may_own: may the task become the owner by this? A file's owner gets a signal of
 * one's choice when something happens to the file, and no other hook is asked in
 * the chooser's name: so a task may only make itself the owner. F_SETOWN_EX and
 * the ioctls point to memory that could change until the kernel reads it. */
static __always_inline bool may_own(struct file *file, u32 cmd, unsigned long arg)
{
	struct task_struct *task = bpf_get_current_task_btf();
	int pid = arg;

	/* Also where the signals are on: by the time that the kernel looks, the owner may
	 * have ended them. */
	if (cmd == F_SETSIG || cmd == F_SETFL)
		return !owned_by_other(file);
	return cmd == F_SETOWN && (!pid || pid == own_number((u64)task) || pid == own_number((u64)task->group_leader));
}

SEC("lsm/file_fcntl")
int BPF_PROG(file_fcntl, struct file *file, unsigned int cmd, unsigned long arg)
{
	u32 w, what = 0, need = 0;
	int err = -EPERM;

	if (harmless_fcntl(cmd, arg))
		return 0;
	w = who();
	if (!w)
		return 0;
	switch (cmd) {
	case F_SETFL:
	case F_SETOWN:
	case F_SETOWN_EX:
	case F_SETSIG:
		return may_own(file, cmd, arg) ? 0 : refuse(w, BOUNDARY_SIGNAL, BIT(ACT_KILL));
	case F_SETLEASE:
		if (arg == F_UNLCK)
			return 0;
		what = BOUNDARY_LEASE;
		break;
	case F_SETDELEG: /* its argument could change until the kernel reads it */
		what = BOUNDARY_LEASE;
		break;
	case F_SET_RW_HINT:
	case F_SET_FILE_RW_HINT:
		need = BIT(ACT_WRITE);
		break;
	default:
		what = BOUNDARY_COMMAND;
		err = -EINVAL;
	}
	return on_command(w, file, what, need, err);
}

/* Only flock(2) asks for more than the file was opened for, and what that was is
 * judged by then: an exclusive lock of a file that may be read holds up its
 * writers. */
SEC("lsm/file_lock")
int BPF_PROG(file_lock, struct file *file, unsigned int cmd)
{
	u32 mode = file->f_mode, need, w;

	if (cmd == F_UNLCK || mode & (cmd == F_RDLCK ? FMODE_READ : FMODE_WRITE))
		return 0;
	w = who();
	if (!w)
		return 0;
	need = cmd == F_RDLCK ? BIT(ACT_READ) : kind_of(file->f_inode) ? BIT(ACT_CREATE) : BIT(ACT_WRITE);
	return on_command(w, file, 0, need, 0);
}
