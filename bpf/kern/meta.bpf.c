// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Metadata, whose hooks tell a dentry and no mount: it is judged under every
 * path that it has below the workload's root, and each must be allowed.
 *
 * inode_setattr      times (mode, owner and size pass path_* hooks): touch, or what implies it:
 *                    write on a file, create on a directory
 * inode_setxattr, inode_removexattr, inode_set_acl, inode_remove_acl
 *                    set_x_attr
 * inode_readlink, inode_getxattr, inode_listxattr
 *                    stat, where it is handled
 * sb_remount         options of a filesystem: mount on its root; by calls that are not known, of what controls the
 *                    kernel or workloads, and of what a directory of ours is in: never
 * inode_create, inode_unlink
 *                    POSIX message queues, which no path_* hook tells: create, delete; and layers, as below
 * inode_mkdir, inode_mknod, inode_symlink, inode_link, inode_rmdir, inode_rename
 *                    what a filesystem does in its layers for who uses it: never in our directories, nor where
 *                    names are objects of the kernel
 * inode_file_setattr flags, since 6.17; before that the ioctls: set_x_attr
 */
#include "boundary.h"
#include "call.h"
#include "mount.h"

struct mount_search {
	struct decision *c;
};

/* first_mount and next_mount read the chain of a superblock's mounts: a list until
 * 6.16, single links since. */
static __noinline int first_mount(struct scratch *s, u64 address)
{
	struct super_block *sb = (struct super_block *)address;
	u64 at, next = 0;

	/* The barriers keep each relocation on its own branch. */
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		at = (u64)&((struct super_block___chain *)sb)->s_mounts;
		barrier_var(at);
		s->mounts.end = 0;
	} else {
		at = (u64)&sb->s_mounts;
		barrier_var(at);
		s->mounts.end = at;
	}
	bpf_probe_read_kernel(&next, sizeof(next), (void *)at);
	s->mounts.next = next;
	return 0;
}

static __always_inline struct mount *next_mount(struct scratch *s)
{
	u64 this = s->mounts.next, next = 0;
	struct mount *m;

	if (!this || this == s->mounts.end)
		return NULL;
	if (bpf_core_field_exists(struct mount___chain, mnt_next_for_sb)) {
		struct mount___chain *chain = (void *)this;

		m = (struct mount *)this;
		bpf_probe_read_kernel(&next, sizeof(next), &chain->mnt_next_for_sb);
	} else {
		m = (struct mount *)(this - bpf_core_field_offset(struct mount, mnt_instance));
		bpf_probe_read_kernel(&next, sizeof(next), &m->mnt_instance.next);
	}
	s->mounts.next = next;
	return m;
}

/* begin_mounts goes to the first mount of the dentry's superblock. */
static __always_inline int begin_mounts(struct scratch *s)
{
	struct dentry *dentry = (struct dentry *)s->mounts.dentry;

	s->mounts.seen = 0;
	s->mounts.reported = 0;
	return first_mount(s, (u64)BPF_CORE_READ(dentry, d_sb));
}

/* judge_on judges the dentry as seen through one mount. State in the map: see
 * step in path.h. */
static int judge_on(u64 i, struct mount_search *ctx)
{
	struct decision *c = ctx->c;
	struct scratch *s = c->s;
	struct mount *m = next_mount(s);
	u64 mnt;

	if (!m) {
		/* A mount that was just removed from a list leads nowhere. */
		if (s->mounts.next != s->mounts.end)
			return begin_mounts(s);
		s->mounts.err = s->mounts.seen ? 0 : -EACCES;
		return 1;
	}
	mnt = (u64)m + bpf_core_field_offset(struct mount, mnt);
	if (namespace_of(mnt) != s->mounts.ns)
		return 0;
	walk_addr(&s->path, mnt, s->mounts.dentry, c->wl);
	if (s->path.status == PATH_OUTSIDE)
		return 0; /* this mount does not show the dentry */
	s->mounts.seen++;
	s->mounts.at = mnt; /* not kept on the stack, which 6.1 has too little of */
	if (!judge_walked(c)) {
		if (s->reported && !s->mounts.reported)
			s->mounts.reported = s->mounts.at;
		return 0;
	}
	s->mounts.err = -EACCES;
	return 1;
}

/* know_xattr reads the name of an extended attribute; 0 is none. */
static __always_inline int know_xattr(struct scratch *s, u64 name)
{
	long n;

	if (!name)
		return 0;
	n = bpf_probe_read_kernel_str(s->xattr, sizeof(s->xattr), (void *)name);
	if (n <= 0)
		return -EACCES;
	s->facts.xattr_len = n - 1;
	return 0;
}

static __always_inline int refusal(const struct decision *c) { return c->d.boundary ? -EPERM : -EACCES; }

/* decide_dentry judges an operation on a dentry without a mount, and on one of
 * its extended attributes if name is an address. what is the boundary that it crosses. */
static __noinline int decide_dentry(u32 w, u64 address, u64 need, u64 name, u32 what)
{
	struct dentry *dentry = (struct dentry *)address;
	struct inode *inode = BPF_CORE_READ(dentry, d_inode);
	u32 kind = dir_kind(BPF_CORE_READ(inode, i_mode)), how = kind | REFUSE_ONE(what);
	struct decision c = {};
	struct mount_search ctx = { .c = &c };
	int err;

	if (need == (NEED_ANY | BIT(ACT_TOUCH)))
		need |= kind ? BIT(ACT_CREATE) : BIT(ACT_WRITE);
	err = admit(&c, w, how, need, inode);
	if (err <= 0)
		return err;
	if (know_xattr(c.s, name))
		return conclude(&c, -EACCES);
	if (!c.d.boundary)
		c.d.reason = REASON_OUTSIDE;
	c.s->mounts.dentry = address;
	c.s->mounts.ns = namespace_of(c.wl->root_mnt);
	c.s->mounts.err = -EACCES;
	c.s->path.status = PATH_OUTSIDE; /* not that of who had the memory before */
	c.s->path.n = 0;
	begin_mounts(c.s);
	bpf_loop(MAX_SB_MOUNTS, judge_on, &ctx, 0);
	if (!c.s->mounts.err && c.s->mounts.reported)
		walk_addr(&c.s->path, c.s->mounts.reported, address, c.wl); /* again, for the event */
	return conclude(&c, c.s->mounts.err ? refusal(&c) : 0);
}

/* of_ours is the boundary of what is ours, 0 for all else. */
static __noinline u32 of_ours(u64 dentry) { return ours_at(dentry) ? BOUNDARY_CONTROL : 0; }

/* elsewhere: is a change judged at another place? A filesystem's in a layer was on the
 * filesystem itself, unless it would reach what is ours. */
static __always_inline bool elsewhere(u64 dentry) { return by_kernel() && !ours_at(dentry); }

SEC("lsm/inode_setattr")
int BPF_PROG(inode_setattr)
{
	u64 dentry = 0, attr = 0, need = NEED_ANY | BIT(ACT_TOUCH);
	u32 w, valid, at;

	w = who_apart();
	if (!w)
		return 0;
	/* Since 6.9 an idmap comes first. */
	at = bpf_get_func_arg_cnt(ctx) == 2 ? 0 : 1;
	bpf_get_func_arg(ctx, at, &dentry);
	bpf_get_func_arg(ctx, at + 1, &attr);
	valid = BPF_CORE_READ((struct iattr *)attr, ia_valid);
	if (valid & ATTR_OTHER || !(valid & ATTR_TIMES)) {
		if (!ours_at(dentry))
			return 0;
		need = valid & ATTR_SIZE ? BIT(ACT_WRITE) : valid & ATTR_MODE ? BIT(ACT_CHMOD) : BIT(ACT_CHOWN);
	} else if (elsewhere(dentry)) {
		return 0;
	}
	return decide_dentry(w, dentry, need, 0, of_ours(dentry));
}

#define ON_DENTRY(hook, at, name_at, act)                                                                          \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook)                                                                             \
	{                                                                                              \
		u32 w = who();                                                                         \
		u64 dentry = 0, name = 0;                                                              \
                                                                                                       \
		if (!w)                                                                                \
			return 0;                                                                      \
		bpf_get_func_arg(ctx, at, &dentry);                                                    \
		if (act == ACT_STAT ? by_kernel() : elsewhere(dentry))                                 \
			return 0;                                                                      \
		if (name_at)                                                                           \
			bpf_get_func_arg(ctx, name_at, &name);                                         \
		return decide_dentry(w, dentry, BIT(act), name, of_ours(dentry));                      \
	}

/* The name of an ACL is that of the extended attribute that holds it. */
ON_DENTRY(inode_setxattr, 1, 2, ACT_SET_X_ATTR)
ON_DENTRY(inode_removexattr, 1, 2, ACT_SET_X_ATTR)
ON_DENTRY(inode_set_acl, 1, 2, ACT_SET_X_ATTR)
ON_DENTRY(inode_remove_acl, 1, 2, ACT_SET_X_ATTR)
ON_DENTRY(inode_file_setattr, 0, 0, ACT_SET_X_ATTR)
ON_DENTRY(inode_readlink, 0, 0, ACT_STAT)
ON_DENTRY(inode_getxattr, 0, 1, ACT_STAT)
ON_DENTRY(inode_listxattr, 0, 0, ACT_STAT)

/* In a layer nothing may change that is out of reach by every path. What a task does
 * itself was refused before these hooks. */
static __always_inline bool layer_kept(struct inode *dir, struct dentry *dentry)
{
	return kernel_names(dentry) || place_of(dir) & PLACE_OURS || place_of(dentry->d_inode) || is_mountpoint(dentry);
}

/* Queues are made and unlinked by name alone: in a filesystem that need not be
 * mounted where the workload sees it. Then no path leads there. */
#define ON_QUEUE(hook, act)                                                                            \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook, struct inode *dir, struct dentry *dentry)                                   \
	{                                                                                              \
		u32 what = layer_kept(dir, dentry) ? BOUNDARY_CONTROL : 0, w;                          \
                                                                                                       \
		if (!what && dir->i_sb->s_magic != MQUEUE_MAGIC)                                       \
			return 0;                                                                      \
		w = who();                                                                             \
		return w ? decide_dentry(w, (u64)dentry, BIT(act), 0, what) : 0;                       \
	}

ON_QUEUE(inode_create, ACT_CREATE)
ON_QUEUE(inode_unlink, ACT_DELETE)

/* The events of these tell no path: with one, the verifier would look at four times as much. */
static __noinline int refuse_layer(u64 need)
{
	u32 w = who();

	return w ? refuse(w, BOUNDARY_CONTROL, need) : 0;
}

#define ON_LAYER(hook, act)                                                                            \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook, struct inode *dir, struct dentry *dentry)                                   \
	{                                                                                              \
		return layer_kept(dir, dentry) ? refuse_layer(BIT(act)) : 0;                           \
	}

ON_LAYER(inode_mkdir, ACT_CREATE)
ON_LAYER(inode_mknod, ACT_CREATE)
ON_LAYER(inode_symlink, ACT_CREATE)
ON_LAYER(inode_rmdir, ACT_DELETE)

SEC("lsm/inode_link")
int BPF_PROG(inode_link, struct dentry *old, struct inode *dir, struct dentry *dentry)
{
	return ours(old) || layer_kept(dir, dentry) ? refuse_layer(BIT(ACT_CREATE)) : 0;
}

SEC("lsm/inode_rename")
int BPF_PROG(inode_rename, struct inode *old_dir, struct dentry *old, struct inode *dir, struct dentry *dentry)
{
	return layer_kept(old_dir, old) || layer_kept(dir, dentry) ? refuse_layer(BIT(ACT_MOVE)) : 0;
}

/* Options of a filesystem, such as read-only, hold wherever it is mounted. */
SEC("lsm/sb_remount")
int BPF_PROG(sb_remount, struct super_block *sb)
{
	u32 w = who();

	if (!w)
		return 0;
	if (newer(call_number()))
		return refuse(w, BOUNDARY_SYSTEM, BIT(ACT_MOUNT));
	if (controls(sb->s_root) || place_of(sb->s_root->d_inode) || (shows_kernel(sb->s_root) && !sb->s_user_ns->level))
		return refuse(w, BOUNDARY_CONTROL, BIT(ACT_MOUNT));
	return decide_dentry(w, (u64)sb->s_root, BIT(ACT_MOUNT), 0, of_ours((u64)sb->s_root));
}
