/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The few kernel types and fields in use, relocated at load (CO-RE). */
#pragma once

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
struct super_block {
	struct list_head s_mounts; /* until 6.16 */
	u32 s_dev;
	struct block_device *s_bdev;
	unsigned long s_flags;
	unsigned long s_magic;
	struct dentry *s_root;
};
struct inode {
	umode_t i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	u32 i_rdev;
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
	int fs_flags;
};
struct fs_context {
	struct file_system_type *fs_type;
};
struct fs_parameter {
	const char *key;
};
struct mnt_namespace;
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
struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
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
struct task_struct {
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

#define EPERM 1
#define EAGAIN 11
#define EACCES 13
#define EXDEV 18
#define EINVAL 22
#define ENOTTY 25
#define ENOSYS 38
#define EPROTONOSUPPORT 93
#define ENOKEY 126
#define ENOSPC 28
#define EAFNOSUPPORT 97

#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFLNK 0120000
#define S_ISUID 0004000
#define S_ISGID 0002000
#define S_IXGRP 0000010
#define S_IFREG 0100000
#define S_IFSOCK 0140000
#define S_IFBLK 0060000
#define S_IFCHR 0020000
#define FMODE_PATH 0x4000U
#define PTRACE_MODE_READ 1
#define PTRACE_MODE_ATTACH 2
#define PTRACE_MODE_NOAUDIT 4
#define SIGHUP 1
#define SIGINT 2
#define FMODE_READ 1U
#define FMODE_WRITE 2U
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000
#define FMODE_EXEC 040 /* __FMODE_EXEC, in f_flags */
#define FAN_PERM_EVENTS 0x170000 /* FAN_OPEN_PERM, FAN_ACCESS_PERM, FAN_OPEN_EXEC_PERM, FAN_PRE_ACCESS */
#define TTYAUX_MAJOR 5
#define MEM_MAJOR 1
#define MISC_MAJOR 10
#define SCSI_GENERIC_MAJOR 21
#define MSR_MAJOR 202
#define UINPUT_MINOR 223
#define SNAPSHOT_MINOR 231
#define PTMX_DEVICE (5U << 20 | 2)
#define ATTR_OTHER 0x0f /* ATTR_MODE, ATTR_UID, ATTR_GID, ATTR_SIZE */
#define ATTR_TIMES 0x30 /* ATTR_ATIME, ATTR_MTIME */
#define TIOCSCTTY 0x540E
#define FIBMAP 1
#define FIFREEZE 0xC0045877
#define FITHAW 0xC0045878
#define FITRIM 0xC0185879
#define SIOCADDRT 0x890B
#define SIOCDELRT 0x890C
#define SIOCSIFFLAGS 0x8914
#define SIOCSIFADDR 0x8916
#define SIOCSIFDSTADDR 0x8918
#define SIOCSIFBRDADDR 0x891a
#define SIOCSIFNETMASK 0x891c
#define SIOCSIFMTU 0x8922
#define SIOCSIFNAME 0x8923
#define SIOCSIFHWADDR 0x8924
#define PROT_READ 1
#define PROT_WRITE 2
#define PROT_EXEC 4
#define VM_EXEC 4
#define SB_KERNMOUNT (1UL << 22)
#define FS_REQUIRES_DEV 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#define CLONE_INTO_CGROUP 0x200000000UL
#define MNT_DETACH 2
#define MS_MOVE 8192
#define PIPEFS_MAGIC 0x50495045
#define PIDFS_MAGIC 0x50494446
#define NSFS_MAGIC 0x6e736673
#define SOCKFS_MAGIC 0x534f434b
#define ANON_INODE_FS_MAGIC 0x09041934
#define TMPFS_MAGIC 0x01021994
#define HUGETLBFS_MAGIC 0x958458f6
#define SECRETMEM_MAGIC 0x5345434d
#define DMA_BUF_MAGIC 0x444d4142
#define AIO_RING_MAGIC 0x47494f41
#define BPF_FS_MAGIC 0xcafe4a11
#define CGROUP_MAGIC 0x27e0eb
#define CGROUP2_MAGIC 0x63677270
#define DEVPTS_MAGIC 0x1cd1
#define DEBUGFS_MAGIC 0x64626720
#define TRACEFS_MAGIC 0x74726163
#define SECURITYFS_MAGIC 0x73636673
#define SYSFS_MAGIC 0x62656572
#define BINFMTFS_MAGIC 0x42494e4d
#define MQUEUE_MAGIC 0x19800202
#define PROC_MAGIC 0x9fa0
#define EFIVARFS_MAGIC 0xde5e81e4
#define CONFIGFS_MAGIC 0x62656570
#define PSTOREFS_MAGIC 0x6165676c
#define RDTGROUP_MAGIC 0x7655821
#define FUSECTL_MAGIC 0x65735543
#define NFSD_MAGIC 0x6e667364
#define SELINUX_MAGIC 0xf97cff8c
#define SMACK_MAGIC 0x43415d53
#define CAP_CHOWN 0
#define CAP_DAC_OVERRIDE 1
#define CAP_DAC_READ_SEARCH 2
#define CAP_FOWNER 3
#define CAP_FSETID 4
#define CAP_KILL 5
#define CAP_SETGID 6
#define CAP_SETUID 7
#define CAP_SETPCAP 8
#define CAP_LINUX_IMMUTABLE 9
#define CAP_NET_BIND_SERVICE 10
#define CAP_NET_BROADCAST 11
#define CAP_NET_ADMIN 12
#define CAP_NET_RAW 13
#define CAP_IPC_LOCK 14
#define CAP_IPC_OWNER 15
#define CAP_SYS_MODULE 16
#define CAP_SYS_RAWIO 17
#define CAP_SYS_CHROOT 18
#define CAP_SYS_PTRACE 19
#define CAP_SYS_PACCT 20
#define CAP_SYS_ADMIN 21
#define CAP_SYS_BOOT 22
#define CAP_SYS_NICE 23
#define CAP_SYS_RESOURCE 24
#define CAP_SYS_TIME 25
#define CAP_SYS_TTY_CONFIG 26
#define CAP_MKNOD 27
#define CAP_LEASE 28
#define CAP_AUDIT_WRITE 29
#define CAP_AUDIT_CONTROL 30
#define CAP_SETFCAP 31
#define CAP_MAC_OVERRIDE 32
#define CAP_MAC_ADMIN 33
#define CAP_SYSLOG 34
#define CAP_WAKE_ALARM 35
#define CAP_BLOCK_SUSPEND 36
#define CAP_AUDIT_READ 37
#define CAP_PERFMON 38
#define CAP_BPF 39
#define CAP_CHECKPOINT_RESTORE 40
#define CAP_OPT_NOAUDIT 2
#define UTS_INIT_INO 0xEFFFFFFEU
#define SYSLOG_READ_CLEAR 4
#define SYSLOG_CONSOLE_LEVEL 8
#define PF_DUMPCORE 0x200
#define PF_IO_WORKER 0x10U
#define PR_SET_SECCOMP 22
#define PR_SET_MM 35
#define PR_SET_MM_EXE_FILE 13
#define PR_SET_MM_MAP 14
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_RAW 3
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_KEY 15
#define AF_NETLINK 16
#define AF_PACKET 17
#define AF_RDS 21
#define AF_IB 27
#define AF_CAN 29
#define AF_TIPC 30
#define AF_BLUETOOTH 31
#define AF_ALG 38
#define AF_VSOCK 40
#define AF_KCM 41
#define AF_QIPCRTR 42
#define AF_SMC 43
#define AF_XDP 44
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_DCCP 33
#define IPPROTO_ICMPV6 58
#define IPPROTO_L2TP 115
#define IPPROTO_SCTP 132
#define IPPROTO_UDPLITE 136
#define IPPROTO_SMC 256
#define IPPROTO_MPTCP 262
#define NETLINK_ROUTE 0
#define NETLINK_KOBJECT_UEVENT 15
#define TCP_ULP 31
#define UDP_ENCAP 100
#define MNT_NS_INTERNAL ((unsigned long)-22)
