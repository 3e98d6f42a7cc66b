// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* File operations.
 *
 * file_open       every open, also io_uring's and O_PATH reopens: open, read, write, create for
 *                 O_TMPFILE; execute for the opens that exec itself makes; nothing for a terminal
 *                 that is the workload's own
 * path_mknod      O_CREAT of a new name, mknod, bind of a unix socket: create; devices never. In an open,
 *                 the kernel may find the file after all: see late.h
 * fentry put_unused_fd, fexit io_openat, io_openat2
 *                 the end of an open without a file: did it fail because it may not create?
 * path_mkdir      create
 * path_symlink    create, as a file and as a directory; nothing beneath that may not be made
 * path_unlink     delete                 path_rmdir     delete
 * path_rename     move, create, delete of the target; both ways for exchange; no gain, no
 *                 loss; leaving a device in place of what goes (RENAME_WHITEOUT): never
 * path_link       create; no gain; of a symbolic link as path_symlink
 * path_truncate   truncate(2), on 6.1 also ftruncate: write
 * file_truncate   ftruncate and O_TRUNC, since 6.2: write
 * path_chmod      chmod                  path_chown     chown
 *                 set-user-ID and set-group-ID, also of a new file: set_x_attr
 * inode_getattr   stat, where it is handled
 */
#include "boundary.h"
#include "move.h"
#include "queue.h"
#include "terminal.h"

#define FMODE_CREATED 0x100000U

/* found_file: where there is a file to open, that it may not be created mattered only if it
 * was (in audit). */
static __always_inline void found_file(struct file *file)
{
	if (undecided && !by_kernel())
		ended(file->f_mode & FMODE_CREATED ? -EACCES : 0);
}

SEC("lsm/file_open")
int BPF_PROG(file_open, struct file *file)
{
	u32 w = who(), what, how;
	u64 need;
	struct dentry *dentry;

	/* Of a runtime's task what it executes is judged, and may have to wait for the agent. */
	if (!w && file->f_flags & FMODE_EXEC)
		w = entry_of();
	if (!w)
		return 0;
	found_file(file);
	dentry = file->f_path.dentry;
	if (own_terminal(w, dentry))
		return count_allowed(w);
	need = open_need(file);
	/* An anonymous pipe has no path: its ends are reopened through /proc by
	 * tasks that hold them. A pidfd has none either: what is done with it is
	 * judged. */
	if (dentry->d_sb->s_magic == PIPEFS_MAGIC || dentry->d_sb->s_magic == PIDFS_MAGIC)
		return 0;
	/* Before 6.5 overlayfs opens its layer's file under the path that was
	 * judged already: what is ours may be the layer's. */
	if (!bpf_core_type_exists(struct backing_file) && file->f_inode->i_sb != dentry->d_sb)
		return ours_by(file->f_inode) ? refuse(w, BOUNDARY_CONTROL, need) : 0;
	if (is_queue(dentry))
		return decide_queue(w, (u64)file->f_path.mnt, (u64)dentry, need);
	what = dumps(w);
	how = REFUSE_ONE(what ? what : crossed(w, dentry, file->f_inode, need & BIT(ACT_WRITE)));
	/* O_TMPFILE: made already, with the mode that was asked for. And what root writes
	 * to, or anybody maps shared, keeps its bits. */
	how |= odd_device(file->f_inode) * FIRM + opaque;
	how |= set_id(file->f_inode->i_mode, 0, 0) &
		-((need & BIT(ACT_CREATE)) >> ACT_CREATE | (need & BIT(ACT_WRITE)) >> ACT_WRITE);
	return decide(w, file->f_path.mnt, dentry, kind_of(file->f_inode) | how | MAY_HOLD, need | NEED_OF(how));
}

/* pinned: names in bpffs are enforcement itself; none may change. Nor do those in our
 * directories, theirs, and those on which somebody has something mounted. */
static __noinline u32 pinned(struct path *dir, struct dentry *dentry)
{
	return kernel_names(dir->dentry) || place_of(dir->dentry->d_inode) & PLACE_OURS || place_of(dentry->d_inode) || is_mountpoint(dentry) ?
		       BOUNDARY_CONTROL : 0;
}

static __always_inline u32 pins(struct path *dir, struct dentry *dentry) { return REFUSE_ONE(pinned(dir, dentry)); }

#define ON_ENTRY(hook, kind, act)                                                                      \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook, struct path *dir, struct dentry *dentry)                                    \
	{                                                                                              \
		u32 w = who();                                                                         \
                                                                                                       \
		return w ? decide(w, dir->mnt, dentry, kind | pins(dir, dentry), BIT(act)) : 0;                \
	}

/* asked_early: does an open ask, which makes regular files and looks afterwards whether
 * there is one? So does mknod(2), but after it has looked; a core dump's open ends in
 * another function. */
static __noinline u32 asked_early(u32 type)
{
	u32 nr;

	if (!late_opens || type != S_IFREG || bpf_get_current_task_btf()->flags & PF_DUMPCORE || by_kernel())
		return 0;
	nr = call_number();
	return MAKES_NODE(nr) ? 0 : LATE;
}

/* A device node would reach the device whatever path names it; char 0:0 is
 * overlayfs's whiteout. */
SEC("lsm/path_mknod")
int BPF_PROG(path_mknod, struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)
{
	u32 w = who(), type = mode & S_IFMT, what, how;
	int err;

	if (!w)
		return 0;
	what = type == S_IFBLK || (type == S_IFCHR && dev) ? BOUNDARY_DEVICE : pinned(dir, dentry);
	how = REFUSE_ONE(what ? what : dumps(w)) | set_id(mode, 0, 0) | (asked_early(type) + opaque);
	err = decide(w, dir->mnt, dentry, how, BIT(ACT_CREATE) | NEED_OF(how));
	note_name(dentry);
	return err;
}

/* What a filesystem does in the meantime ends nothing. */
#define OPEN_FAILS(when, function)                                                                     \
	SEC(#when "/" #function)                                                                       \
	int BPF_PROG(function)                                                                         \
	{                                                                                              \
		return undecided && !by_kernel() ? open_failed() : 0;                                  \
	}

OPEN_FAILS(fentry, put_unused_fd)
OPEN_FAILS(fexit, io_openat)
OPEN_FAILS(fexit, io_openat2)

ON_ENTRY(path_mkdir, KIND_DIR, ACT_CREATE)
ON_ENTRY(path_unlink, 0, ACT_DELETE)
ON_ENTRY(path_rmdir, KIND_DIR, ACT_DELETE)

SEC("lsm/path_symlink")
int BPF_PROG(path_symlink, struct path *dir, struct dentry *dentry)
{
	u32 w = who();

	return w ? decide_link(w, dir->mnt, dentry, pins(dir, dentry)) : 0;
}

#define ON_PATH(hook, act)                                                                             \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook, struct path *path)                                                          \
	{                                                                                              \
		struct inode *inode = path->dentry->d_inode;                                           \
		u32 w = who(), how;                                                                    \
                                                                                                       \
		if (!w)                                                                                \
			return 0;                                                                      \
		how = REFUSE_ONE(forbidden(w, path->dentry, inode, true));                                 \
		return decide(w, path->mnt, path->dentry, kind_of(inode) | how, BIT(act));             \
	}

ON_PATH(path_truncate, ACT_WRITE)
ON_PATH(path_chown, ACT_CHOWN)

SEC("lsm/path_chmod")
int BPF_PROG(path_chmod, struct path *path, umode_t mode)
{
	struct inode *inode = path->dentry->d_inode;
	u32 w = who(), how, kind;

	if (!w)
		return 0;
	kind = kind_of(inode);
	how = REFUSE_ONE(forbidden(w, path->dentry, inode, true)) | set_id(mode, inode->i_mode, kind);
	return decide(w, path->mnt, path->dentry, kind | how, BIT(ACT_CHMOD) | NEED_OF(how));
}

/* Attached only where stat is handled. What has no name may be looked at. */
SEC("lsm/inode_getattr")
int BPF_PROG(inode_getattr, struct path *path)
{
	struct dentry *dentry = path->dentry;
	u32 w = who();

	if (!w || nameless(dentry))
		return 0;
	if (is_queue(dentry))
		return decide_queue(w, (u64)path->mnt, (u64)dentry, BIT(ACT_STAT));
	return decide(w, path->mnt, dentry, kind_of(dentry->d_inode), BIT(ACT_STAT));
}

SEC("lsm/file_truncate")
int BPF_PROG(file_truncate, struct file *file)
{
	u32 w = who();

	return w ? decide(w, file->f_path.mnt, file->f_path.dentry, 0, BIT(ACT_WRITE)) : 0;
}

SEC("lsm/path_rename")
int BPF_PROG(path_rename, struct path *old_dir, struct dentry *old, struct path *new_dir, struct dentry *new,
	     unsigned int flags)
{
	u32 w = who_apart(), op = flags & RENAME_EXCHANGE ? OP_EXCHANGE : OP_RENAME, how;

	if (!w)
		return 0;
	how = flags & RENAME_WHITEOUT ? REFUSE(BOUNDARY_DEVICE) : REFUSE_ONE(pinned(old_dir, old) | pinned(new_dir, new));
	return decide_move(w, new_dir->mnt, old, new, op | how);
}

SEC("lsm/path_link")
int BPF_PROG(path_link, struct dentry *old, struct path *new_dir, struct dentry *new)
{
	u32 w = who_apart(), what;

	if (!w)
		return 0;
	what = ours(old) ? BOUNDARY_CONTROL : pinned(new_dir, new);
	/* link(2) refuses two mounts: the old name is on the new one's. */
	return decide_move(w, new_dir->mnt, old, new, OP_LINK | REFUSE_ONE(what));
}
