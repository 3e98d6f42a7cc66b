// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* What could forge a path or an identity.
 *
 * sb_mount            mount(2): new, bind, remount, propagation: mount on the target; MS_MOVE never,
 *                     since no hook tells what moves. What controls the kernel or workloads stays as it is
 * fs_context_parse_param, sb_kern_mount
 *                     a filesystem of a block device, before the kernel reads the device, and
 *                     before it is mounted: never; options of one that all who show it share: never. By a system call that is newer than this build,
 *                     nothing is mounted, moved, unmounted or changed
 * move_mount          move_mount(2): mount on the target, and unmount of what is mounted; never of a
 *                     mount that carries others, nor into another group of mounts
 * sb_pivotroot        mount on the new root; in the workload's own mount namespace never
 * sb_umount           unmount; lazily, of a mount that carries others: never
 * path_chroot         chroot
 * userns_create       userns, on the executable that makes it
 * ptrace_access_check ptrace, process_vm_*, pidfd_getfd, /proc/PID/{mem,root,cwd,fd,...}: outside the
 *                     workload never; inside not what could act in the other's place, where policies
 *                     ask which executable acts
 * ptrace_traceme      a parent outside the workload as tracer: never; inside likewise
 * task_kill           signals out of the workload: never. To a group or to all, the kernel goes on to
 *                     the next process: see late.h
 * fexit kill, pidfd_send_signal
 *                     did the call fail by that?
 * task_setpgid        a process group of which somebody outside may be: the terminal and the kernel
 *                     signal all of it
 * task_setrlimit, task_setnice, task_setscheduler, task_setioprio
 *                     limits and priorities of a process outside: never
 * unix_stream_connect, unix_may_send
 *                     a socket with a path, of a process outside: connect_unix there; without a
 *                     path: never
 * path_notify         inotify and fanotify: open and read; marks on mounts and filesystems, and
 *                     events that block others: never
 * uring_override_creds
 *                     io_uring's personalities: never; see by_kernel in meta.bpf.c
 * file_receive        descriptors by SCM_RIGHTS or pidfd_getfd: as if opened here; of the kernel's
 *                     objects without a path counters, timers, signals, epoll and pidfds, no other: an
 *                     io_uring acts with its maker's identity, a userfaultfd or a seccomp listener on
 *                     its maker; sockets by their kind, and connected unix sockets as if connected here
 */
#include "boundary.h"
#include "call.h"
#include "group.h"
#include "mount.h"
#include "queue.h"
#include "socket.h"
#include "terminal.h"

/* on_mountpoint judges a change of what is mounted at a place, unless it is refused as
 * what. What a call that is not known would change besides is not known. */
static __always_inline int on_mountpoint(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 what, u32 action)
{
	u32 how;

	if (newer(call_number()))
		what = BOUNDARY_SYSTEM;
	if (controls(dentry) || (shows_kernel(dentry) && seen_outside(w, mnt)))
		what = BOUNDARY_CONTROL;
	how = REFUSE_ONE(what);
	return decide(w, mnt, dentry, kind_of(dentry->d_inode) | how, action);
}

SEC("lsm/sb_mount")
int BPF_PROG(sb_mount, const char *dev, struct path *path, const char *type, unsigned long flags, void *data)
{
	u32 w = who(), what;

	if (!w)
		return 0;
	/* Who sees mounts that are made or go is no matter of what lies where. */
	what = flags & MS_MOVE || (hides(w, path->mnt, path->dentry, PLACE_STAYS | PLACE_ROOT) && (flags & MS_OTHER || !(flags & MS_PROPAGATION))) ||
	       (!(flags & (MS_OTHER | MS_MOVE | MS_PROPAGATION)) && resets(type, data));
	return on_mountpoint(w, path->mnt, path->dentry, what * BOUNDARY_CONTROL, BIT(ACT_MOUNT));
}

/* A device holds files that no path was judged for, and its filesystem may write to
 * it as soon as it is read: so its name is refused already. Others have options of which
 * all that show them have the same. */
SEC("lsm/fs_context_parse_param")
int BPF_PROG(fs_context_parse_param, struct fs_context *fc, struct fs_parameter *param)
{
	bool device = fc->fs_type->fs_flags & FS_REQUIRES_DEV, source;
	u64 key = 0;
	u32 w;

	bpf_probe_read_kernel(&key, 7, param->key);
	source = key == NAME8('s', 'o', 'u', 'r', 'c', 'e', 0, 0);
	if (device != source || (!device && (fc->user_ns->level || own_options(fc->fs_type->name))))
		return 0;
	w = who();
	return w ? refuse(w, device ? BOUNDARY_DEVICE : BOUNDARY_CONTROL, BIT(ACT_MOUNT)) : 0;
}

SEC("lsm/sb_kern_mount")
int BPF_PROG(sb_kern_mount, struct super_block *sb)
{
	u32 w = who();

	if (!w)
		return 0;
	if (sb->s_bdev)
		return refuse(w, BOUNDARY_DEVICE, BIT(ACT_MOUNT));
	return newer(call_number()) ? refuse(w, BOUNDARY_SYSTEM, BIT(ACT_MOUNT)) : 0;
}

/* carries: is anything mounted beneath? It goes where the mount goes, and with a
 * bpffs its pins. */
static __always_inline bool carries(struct vfsmount *mnt)
{
	struct mount *m = (struct mount *)((u64)mnt - bpf_core_field_offset(struct mount, mnt));
	u64 child = 0;

	if (bpf_probe_read_kernel(&child, sizeof(child), &m->mnt_mounts.next))
		return true;
	return child != (u64)&m->mnt_mounts;
}

/* A mount that is attached nowhere is a new one, or a copy. */
SEC("lsm/move_mount")
int BPF_PROG(move_mount, struct path *from, struct path *to)
{
	u32 w = who(), what;
	bool attached;
	int err;

	if (!w)
		return 0;
	attached = namespace_of((u64)from->mnt) == own_namespace();
	/* In another group of mounts it would be where none of the hooks sees that it comes to. */
	what = call_fifth(call_number()) & MOVE_MOUNT_SET_GROUP || from->dentry->d_sb->s_magic == BPF_FS_MAGIC || (attached && (carries(from->mnt) || controls(from->dentry) || shows_kernel(from->dentry) || hides(w, from->mnt, from->dentry, PLACE_STAYS))) ||
	       hides(w, to->mnt, to->dentry, PLACE_STAYS | PLACE_ROOT);
	err = on_mountpoint(w, to->mnt, to->dentry, what * BOUNDARY_CONTROL, BIT(ACT_MOUNT));
	return err || !attached ? err : on_mountpoint(w, from->mnt, from->dentry, 0, BIT(ACT_UNMOUNT));
}

/* There, it would be everybody's root that changes. */
SEC("lsm/sb_pivotroot")
int BPF_PROG(sb_pivotroot, struct path *old, struct path *new)
{
	u32 w = who();

	return w ? on_mountpoint(w, new->mnt, new->dentry, at_home(w) ? BOUNDARY_CONTROL : 0, BIT(ACT_MOUNT)) : 0;
}

SEC("lsm/sb_umount")
int BPF_PROG(sb_umount, struct vfsmount *mnt, int flags)
{
	u32 w = who();

	if (!w)
		return 0;
	return on_mountpoint(w, mnt, mnt->mnt_root, (flags & MNT_DETACH && carries(mnt)) || hides(w, mnt, mnt->mnt_root, PLACE_STAYS) ? BOUNDARY_CONTROL : 0, BIT(ACT_UNMOUNT));
}

SEC("lsm/path_chroot")
int BPF_PROG(path_chroot, struct path *path)
{
	u32 w = who();

	return w ? decide(w, path->mnt, path->dentry, KIND_DIR, BIT(ACT_CHROOT)) : 0;
}

SEC("lsm/userns_create")
int BPF_PROG(userns_create)
{
	u32 w = who();

	return w ? decide_exe(w, BIT(ACT_USERNS)) : 0;
}

/* may_open: is the call one that opens files, or not known? By /proc/PID another's
 * pipes, memory and environment would be. Its links may be read. */
static __always_inline bool may_open(void)
{
	u32 nr = call_number();

	return current_call() == CALL_OPEN || nr & COMPAT_CALL || nr == NO_CALL || in_ring(bpf_get_current_task_btf());
}

static __always_inline int on_traced_inside(u32 w)
{
	return by_executable(w) ? refuse(w, BOUNDARY_IDENTITY, BIT(ACT_TRACE)) : 0;
}

SEC("lsm/ptrace_access_check")
int BPF_PROG(ptrace_access_check, struct task_struct *child, unsigned int mode)
{
	u32 w = who();

	if (!w)
		return 0;
	if (inside(w, child))
		return mode & PTRACE_MODE_ATTACH || may_open() ? on_traced_inside(w) : 0;
	/* The kernel asks so while it prints /proc/PID/stat: hidden, not refused. */
	if (mode & PTRACE_MODE_NOAUDIT)
		return -EPERM;
	if (mode & PTRACE_MODE_READ && READS(call_number())) /* wchan reads as 0, io fails */
		return withhold(w);
	return refuse(w, BOUNDARY_PROCESS, BIT(ACT_TRACE));
}

SEC("lsm/ptrace_traceme")
int BPF_PROG(ptrace_traceme, struct task_struct *parent)
{
	u32 w = who();

	if (!w)
		return 0;
	return inside(w, parent) ? on_traced_inside(w) : refuse(w, BOUNDARY_PROCESS, BIT(ACT_TRACE));
}

/* leaves_out: may the call succeed although this process gets no signal? To all, it
 * does. Of a group, one refusal is kept to be reported if none got it. Returns 1 then, 0
 * where the call fails, and -1 if this is not to be reported. */
static __noinline int leaves_out(void)
{
	u32 nr = call_number();
	int to;

	if (nr == NR_PIDFD_SEND_SIGNAL)
		return kept() ? -1 : late_signals;
	if (nr != NR_KILL)
		return 0;
	to = call_arg(nr, 0);
	if (to > 0)
		return 0;
	return to == -1 || kept() ? -1 : late_signals;
}

SEC("lsm/task_kill")
int BPF_PROG(task_kill, struct task_struct *p, struct kernel_siginfo *info, int sig)
{
	u32 w;
	int late;

	if (!sig)
		return 0;
	w = who();
	if (!w || inside(w, p))
		return 0;
	late = leaves_out();
	if (late < 0)
		return withhold(w);
	return refuse(w, BOUNDARY_SIGNAL | late * (LATE >> 8), sig == SIGINT || sig == SIGHUP ? BIT(ACT_INTERRUPT) : BIT(ACT_KILL));
}

#define SIGNAL_ENDS(name, function)                                                                    \
	SEC("fexit/" #function)                                                                        \
	int BPF_PROG(name)                                                                             \
	{                                                                                              \
		u32 w = ended_by(ctx);                                                                \
                                                                                                       \
		if (w)                                                                                 \
			withhold(w);                                                                   \
		return 0;                                                                              \
	}

#if defined(__TARGET_ARCH_x86)
SIGNAL_ENDS(kill_ends, __x64_sys_kill)
SIGNAL_ENDS(pidfd_kill_ends, __x64_sys_pidfd_send_signal)
#else
SIGNAL_ENDS(kill_ends, __arm64_sys_kill)
SIGNAL_ENDS(pidfd_kill_ends, __arm64_sys_pidfd_send_signal)
#endif

SEC("lsm/task_setpgid")
int BPF_PROG(task_setpgid, struct task_struct *p, int pgid)
{
	u32 w = who();

	return w && !group_inside(w, p, pgid) ? refuse(w, BOUNDARY_SIGNAL, 0) : 0;
}

#define ON_TASK(hook)                                                                                  \
	SEC("lsm/" #hook)                                                                              \
	int BPF_PROG(hook, struct task_struct *p)                                                      \
	{                                                                                              \
		u32 w = who();                                                                         \
                                                                                                       \
		return w && !inside(w, p) ? refuse(w, BOUNDARY_PROCESS, 0) : 0;                        \
	}

ON_TASK(task_setrlimit)
ON_TASK(task_setnice)
ON_TASK(task_setscheduler)
ON_TASK(task_setioprio)

/* foreign: was the unix socket sk made outside? One without any name is reached by
 * a descriptor that the task holds. */
static __noinline bool foreign(u32 w, u64 sk)
{
	u64 id = BPF_CORE_READ((struct sock *)sk, sk_cgrp_data.cgroup, kn, id);
	u32 *owner = bpf_map_lookup_elem(&cgroups, &id);

	return !(owner && *owner == w) && BPF_CORE_READ((struct unix_sock *)sk, addr);
}

/* on_socket judges reaching a unix socket. */
static __noinline int on_socket(u32 w, u64 sk)
{
	struct unix_sock *u = (struct unix_sock *)sk;
	u64 dentry;

	if (!foreign(w, sk))
		return 0;
	dentry = (u64)BPF_CORE_READ(u, path.dentry);
	if (dentry)
		return decide_at(w, (u64)BPF_CORE_READ(u, path.mnt), dentry, BIT(ACT_CONNECT_UNIX));
	return refuse(w, BOUNDARY_SOCKET, 0);
}

SEC("lsm/unix_stream_connect")
int BPF_PROG(unix_stream_connect, struct sock *sock, struct sock *other)
{
	u32 w = who();

	return w ? on_socket(w, (u64)other) : 0;
}

SEC("lsm/unix_may_send")
int BPF_PROG(unix_may_send, struct socket *sock, struct socket *other)
{
	u32 w = who();
	struct sock *sk;

	if (!w)
		return 0;
	sk = BPF_CORE_READ(other, sk);
	return sk ? on_socket(w, (u64)sk) : 0;
}

SEC("lsm/path_notify")
int BPF_PROG(path_notify, struct path *path, u64 mask, unsigned int type)
{
	u32 w = who(), how;

	if (!w)
		return 0;
	how = REFUSE_ONE(type || mask & FAN_PERM_EVENTS ? BOUNDARY_WATCH : 0);
	return decide(w, path->mnt, path->dentry, kind_of(path->dentry->d_inode) | how,
		      BIT(ACT_OPEN) | BIT(ACT_READ));
}

SEC("lsm/uring_override_creds")
int BPF_PROG(uring_override_creds)
{
	u32 w = who();

	return w ? refuse(w, BOUNDARY_URING, 0) : 0;
}

/* power_of tells what an object of the kernel, known by its name, can do by itself,
 * whoever holds it. 0 is for those that do no more than their holder could. */
static __always_inline u32 power_of(struct dentry *d)
{
	u32 len = d->d_name.len;
	u64 name = 0;

	bpf_probe_read_kernel(&name, sizeof(name), d->d_name.name);
	switch (name) {
	case NAME8('[', 'e', 'v', 'e', 'n', 't', 'f', 'd'):
	case NAME8('[', 't', 'i', 'm', 'e', 'r', 'f', 'd'):
		return len == 9 ? 0 : BOUNDARY_CONTROL;
	case NAME8('[', 's', 'i', 'g', 'n', 'a', 'l', 'f'):
		return len == 10 ? 0 : BOUNDARY_CONTROL;
	case NAME8('[', 'e', 'v', 'e', 'n', 't', 'p', 'o'):
		return len == 11 ? 0 : BOUNDARY_CONTROL;
	case NAME8('[', 'p', 'i', 'd', 'f', 'd', ']', 0): /* until 6.8; what is done with it is judged */
		return 0;
	case NAME8('[', 'i', 'o', '_', 'u', 'r', 'i', 'n'):
		return BOUNDARY_URING;
	case NAME8('[', 'p', 'e', 'r', 'f', '_', 'e', 'v'):
		return BOUNDARY_PERF;
	case NAME8('[', 'u', 's', 'e', 'r', 'f', 'a', 'u'):
	case NAME8('s', 'e', 'c', 'c', 'o', 'm', 'p', ' '):
		return BOUNDARY_PROCESS;
	case NAME8('[', 'f', 'a', 'n', 'o', 't', 'i', 'f'):
	case NAME8('i', 'n', 'o', 't', 'i', 'f', 'y', 0):
		return BOUNDARY_WATCH;
	}
	return (name & 0xffffff) == NAME8('b', 'p', 'f', 0, 0, 0, 0, 0) ? BOUNDARY_BPF : BOUNDARY_CONTROL;
}

/* held_need is what holding a file asks. */
static __always_inline u64 held_need(struct file *file)
{
	u32 mode = file->f_mode;

	return BIT(ACT_OPEN) | (mode & FMODE_READ ? BIT(ACT_READ) : 0) | (mode & FMODE_WRITE ? BIT(ACT_WRITE) : 0);
}

/* peer_of returns the foreign socket that a unix socket was connected to before it
 * came here. One with a name is itself the end that others connected to. */
static __noinline u64 peer_of(u32 w, u64 file)
{
	struct socket *socket = BPF_CORE_READ((struct file *)file, private_data);
	struct unix_sock *u = (struct unix_sock *)BPF_CORE_READ(socket, sk);
	u64 peer;

	if (BPF_CORE_READ((struct sock *)u, __sk_common.skc_family) != AF_UNIX || BPF_CORE_READ(u, addr))
		return 0;
	peer = (u64)BPF_CORE_READ(u, peer);
	return peer && foreign(w, peer) ? peer : 0;
}

SEC("lsm/file_receive")
int BPF_PROG(file_receive, struct file *file)
{
	u32 w = who(), what;
	u64 peer, mnt, dentry, need;
	struct dentry *d;
	int err;

	if (!w)
		return 0;
	d = file->f_path.dentry;
	if (own_terminal(w, d))
		return 0;
	switch (d->d_sb->s_magic) {
	case PIPEFS_MAGIC:
		return 0;
	case SOCKFS_MAGIC:
		err = on_received(w, (u64)file);
		peer = err ? 0 : peer_of(w, (u64)file);
		if (!peer)
			return err;
		dentry = (u64)BPF_CORE_READ((struct unix_sock *)peer, path.dentry);
		mnt = (u64)BPF_CORE_READ((struct unix_sock *)peer, path.mnt);
		if (!dentry)
			return refuse(w, BOUNDARY_SOCKET, 0);
		need = BIT(ACT_CONNECT_UNIX) + opaque_mask;
		goto there;
	case ANON_INODE_FS_MAGIC:
		what = power_of(d);
		return what ? refuse(w, what, 0) : 0;
	}
	/* Memory without a name, such as a memfd; and O_PATH, which grants nothing
	 * that open would not ask for. */
	if (nameless(d) || file->f_mode & FMODE_PATH)
		return 0;
	need = held_need(file) + opaque_mask;
	if (!is_queue(d)) {
		what = forbidden(w, d, file->f_inode, file->f_mode & FMODE_WRITE);
		return decide(w, file->f_path.mnt, d, kind_of(file->f_inode) | REFUSE_ONE(what), need);
	}
	mnt = place_of_queue(w, (u64)file->f_path.mnt, (u64)d);
	dentry = (u64)d;
there: /* once, for the verifier */
	return decide_at(w, mnt, dentry, need);
}
