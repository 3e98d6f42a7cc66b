/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few kernel types and fields in use, relocated at load (CO-RE). */
#pragma once

#include "numbers.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
typedef u8 __u8;
typedef u16 __u16;
typedef u32 __u32;
typedef u64 __u64;
typedef s32 __s32;
typedef s64 __s64;
typedef u16 __be16;
typedef u32 __be32;
typedef u32 __wsum;
typedef u16 umode_t;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum { BPF_ANY, BPF_NOEXIST, BPF_EXIST };
enum {
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1024,
};
enum { BPF_LOCAL_STORAGE_GET_F_CREATE = 1 };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct list_head {
	struct list_head *next;
};
struct dentry;
struct block_device;
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};
struct super_block {
	struct list_head s_mounts; /* until 6.16 */
	u32 s_dev;
	struct block_device *s_bdev;
	unsigned long s_flags;
	unsigned long s_magic;
	struct dentry *s_root;
	struct user_namespace *s_user_ns;
};
struct inode {
	umode_t i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	u32 i_rdev;
	struct hlist_head i_dentry; /* its names */
};
struct qstr {
	union {
		struct {
			u32 hash;
			u32 len;
		};
		u64 hash_len;
	};
	const unsigned char *name;
};
struct dentry {
	unsigned int d_flags;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	unsigned char d_iname[32]; /* until 6.13 */
	struct super_block *d_sb;
	void *d_fsdata;
	union {
		struct hlist_node d_alias;
	} d_u;
};
union shortname_store {
	unsigned char string[40];
	unsigned long words[5];
};
struct dentry___short { /* since 6.14 */
	union shortname_store d_shortname;
};
struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
};
struct file_system_type {
	const char *name;
	int fs_flags;
};
struct fs_context {
	struct file_system_type *fs_type;
	struct user_namespace *user_ns;
};
struct fs_parameter {
	const char *key;
};
struct mnt_namespace {
	struct user_namespace *user_ns;
};
struct mount;
struct super_block___chain { /* since 6.17 */
	struct mount *s_mounts;
};
struct mount___chain {
	struct mount *mnt_next_for_sb;
};
struct mount {
	struct list_head mnt_mounts;
	struct list_head mnt_instance; /* until 6.16 */
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	struct mnt_namespace *mnt_ns;
	int mnt_group_id; /* of the mounts that see what is mounted on it; 0: none */
};
struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};
struct fown_struct {
	struct pid *pid;
};
struct file___owned { /* until 6.11 */
	struct fown_struct f_owner;
};
struct file___owner { /* since 6.12 */
	struct fown_struct *f_owner;
};
struct file_operations {
	void *unlocked_ioctl;
	void *compat_ioctl;
};
struct file {
	u32 f_mode;
	u32 f_flags;
	struct path f_path;
	struct inode *f_inode;
	const struct file_operations *f_op;
	void *private_data;
};
struct tty_struct {
	struct tty_struct *link; /* the other side of a pseudo-terminal */
};
struct tty_file_private {
	struct tty_struct *tty;
};
struct io_uring_cmd { /* since 5.19 */
	struct file *file;
};
struct backing_file { /* since 6.5 */
	struct path user_path;
};
struct mm_struct {
	struct file *exe_file;
};
struct vm_area_struct {
	unsigned long vm_flags;
	void *anon_vma;
	struct file *vm_file;
};
struct kernfs_node {
	u64 id;
};
struct cgroup_root {
	int hierarchy_id;
};
struct cgroup;
struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};
struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
	struct cgroup_root *root;
	int level;
};
struct css_set {
	struct cgroup *dfl_cgrp;
};
struct fs_struct {
	struct path root;
	struct path pwd;
};
struct upid {
	int nr;
};
struct pid {
	unsigned int level;
	struct hlist_head tasks[1];
	struct upid numbers[1];
};
struct signal_struct {
	struct tty_struct *tty;
};
struct bpf_local_storage;
struct io_uring_task;
struct ns_common {
	unsigned int inum;
};
struct uts_namespace {
	struct ns_common ns;
};
struct ipc_ids {
	int in_use;
};
struct ipc_namespace {
	struct ipc_ids ids[3]; /* sets of semaphores, queues of messages, memory */
	int sem_ctls[4]; /* the last: how many sets */
	unsigned int msg_ctlmni;
	int shm_ctlmni;
};
struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
};
struct user_namespace {
	int level;
};
#if defined(__TARGET_ARCH_x86)
struct thread_info {
	u32 status;
};
struct pt_regs {
	unsigned long orig_ax, di, si, bx, cx, r8;
};
#else
struct thread_info {
	unsigned long flags;
};
struct pt_regs;
#endif
typedef struct {
	u32 val;
} kuid_t;
typedef struct {
	u32 val;
} kgid_t;
struct cred {
	kuid_t euid;
	kgid_t egid;
};
struct iattr {
	unsigned int ia_valid;
};
struct fdtable {
	struct file **fd;
};
struct files_struct {
	struct fdtable *fdt;
};
struct task_struct {
	struct files_struct *files;
	struct thread_info thread_info;
	struct nsproxy *nsproxy;
	const struct cred *real_cred;
	const struct cred *cred;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct bpf_local_storage *bpf_storage;
	struct io_uring_task *io_uring;
	struct task_struct *real_parent;
	struct list_head children, sibling;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[1];
	int pid;
	int tgid;
	u64 self_exec_id;
	u64 start_boottime;
	int exit_state;
	u32 flags;
	unsigned in_execve : 1;
};
struct sock_cgroup_data {
	struct cgroup *cgroup;
};
struct sock_common {
	unsigned short skc_family;
};
struct sock {
	struct sock_common __sk_common;
	struct sock_cgroup_data sk_cgrp_data;
	u16 sk_type;
	u16 sk_protocol;
};
struct netlink_sock {
	u32 dst_portid; /* where it is connected to */
};
struct sk_buff {
	char cb[48];
};
struct netlink_skb_parms { /* in cb */
	u32 dst_group;
};
struct socket {
	struct sock *sk;
};
struct unix_address;
struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};
struct kernel_siginfo {
	int si_signo;
};
struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};
enum dentry_flags { /* since 6.15 */
	DCACHE_MOUNTED = 1 << 15,
};
enum lockdown_reason {
	LOCKDOWN_PCI_ACCESS = 6,
	LOCKDOWN_IOPORT = 7,
	LOCKDOWN_MSR = 8,
};
struct linux_binprm {
	unsigned long p; /* where the strings begin, in the new image */
	struct file *file;
	int argc, envc;
	const char *filename, *interp;
	unsigned long exec; /* where they end */
};

#pragma clang attribute pop

struct bpf_raw_tracepoint_args;
