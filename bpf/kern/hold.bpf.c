// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The later hooks of operations that waited for the agent; see hold.h. Attached
 * once a policy asks.
 *
 * file_post_open       an open that was asked about: denied unless the agent has allowed it
 * bprm_committed_creds the ELF loader likewise; arguments and environment of the new image are
 *                      compared with those that were judged, byte for byte: else it is killed before
 *                      its first instruction
 * tp sched_process_exec the exec is over
 */
#include "boundary.h"
#include "terminal.h"

/* Arguments and environment of an exec that the agent judged. */
struct image {
	u32 number; /* of the hold */
	u32 argc, envc;
	u32 len;
	u8 bytes[MAX_IMAGE]; /* zeros follow */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IMAGES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct image);
} images SEC(".maps");

/* confirm_open judges an open again. What file_open allowed or reported is not
 * looked at twice: only what is asked can have been held. */
static __noinline int confirm_open(u32 w, struct vfsmount *mnt, struct dentry *dentry, u32 kind, u32 need)
{
	struct hold *h = hold_of_current();
	struct decision c = {};
	bool held;
	u32 image;
	int err;

	c.need = need + opaque;
	if (enter(w, kind + opaque, c.need, &c.wl, &c.d) > 0)
		return 0;
	if (!c.wl)
		return -EACCES;
	if (!(c.wl->flags & WORKLOAD_HOLD_OPEN))
		return 0;
	c.d.inode = dentry->d_inode;
	c.s = claim(c.d.workload);
	if (!c.s) {
		c.d.reason = REASON_BUSY;
		return deny(&c.d, NULL, c.wl, -EACCES);
	}
	walk(&c.s->path, mnt, dentry, c.wl);
	err = judge_walked(&c);
	if (err && c.d.reason == REASON_OUTSIDE && layer((u64)mnt))
		err = 0;
	held = pending(h, &c.d);
	if (err && !held && (c.d.reason != REASON_ASK || c.d.mode == MODE_AUDIT))
		err = 0;
	if (held && h) {
		bool allows = answered(h, &c.d, &image);

		if (err && (c.d.reason == REASON_ASK || c.d.reason == REASON_ANSWERED))
			err = allows ? 0 : -EACCES;
	}
	if (err || held)
		return conclude(&c, err);
	release(c.s);
	return 0;
}

SEC("lsm/file_post_open")
int BPF_PROG(hold_file_post_open, struct file *file, int mask)
{
	struct dentry *dentry;
	u32 w;

	if (file->f_flags & FMODE_EXEC)
		return 0;
	w = who();
	if (!w)
		return 0;
	dentry = file->f_path.dentry;
	if (dentry->d_sb->s_magic == PIPEFS_MAGIC || dentry->d_sb->s_magic == PIDFS_MAGIC ||
	    own_terminal(w, dentry))
		return 0;
	return confirm_open(w, file->f_path.mnt, dentry, kind_of(file->f_inode), open_need(file));
}

/* A comparison in progress. */
struct comparison {
	struct scratch *s;
	struct image *image;
	u64 from; /* user address */
	u32 len;
	u32 differs;
};

#define CHUNK 256

static int compare_chunk(u64 i, struct comparison *c)
{
	u32 at = i * CHUNK, n = c->len - at;
	struct scratch *s = c->s;

	if (at >= c->len || at > MAX_IMAGE - CHUNK)
		return 1;
	for (u32 j = 0; j < CHUNK / 8; j++)
		s->name[j] = 0;
	if (n > CHUNK)
		n = CHUNK;
	asm volatile("%0 &= 511" : "+r"(n));
	if (n > CHUNK || bpf_copy_from_user(s->name, n, (void *)(c->from + at))) {
		c->differs = 1;
		return 1;
	}
	for (u32 j = 0; j < CHUNK / 8; j++) {
		if (s->name[j] != *(const u64 *)(c->image->bytes + at + j * 8)) {
			c->differs = 1;
			return 1;
		}
	}
	return 0;
}

/* same_image compares the image that was judged with the new one, whose strings
 * lie from bprm->p to bprm->exec: arguments, then the environment. */
static __noinline bool same_image(u32 w, struct linux_binprm *bprm, const struct proof *proof)
{
	struct comparison c = { .from = bprm->p, .len = bprm->exec - bprm->p };
	u32 slot = proof->image - 1;

	c.image = bpf_map_lookup_elem(&images, &slot);
	if (!c.image || c.image->number != proof->number || c.image->len != c.len || c.len > MAX_IMAGE ||
	    c.image->argc != (u32)bprm->argc || c.image->envc != (u32)bprm->envc)
		return false;
	c.s = claim(w);
	if (!c.s)
		return false;
	bpf_loop(MAX_IMAGE / CHUNK, compare_chunk, &c, 0);
	release(c.s);
	if (c.differs || c.image->number != proof->number)
		return false;
	c.image->number = 0; /* the agent may use the slot again */
	return true;
}

/* as_judged: is all that the agent was asked about this exec as it was told? */
static __always_inline bool as_judged(struct linux_binprm *bprm, struct hold *h, struct denial *d)
{
	u32 n, image = 0;

	/* Of what was opened after the last check only the ELF loader is left. */
	if (h->pending && !(answered(h, d, &image) && prove(h, h->inode, image))) {
		if (d->reason != REASON_ANSWERED)
			d->reason = REASON_ASK;
		return false;
	}
	n = h->proofs;
	for (u32 i = 0; i < MAX_PROOFS; i++) {
		if (i < n && h->proof[i].image && !same_image(d->workload, bprm, &h->proof[i]))
			return false;
	}
	return true;
}

/* It sleeps: the strings may have to be read back from swap. */
SEC("lsm.s/bprm_committed_creds")
int BPF_PROG(hold_image, struct linux_binprm *bprm)
{
	struct hold *h = hold_of_current();
	struct denial d = { .missing = BIT(ACT_EXECUTE), .reason = REASON_CHANGED };
	u64 key = bpf_get_current_task();
	struct member *m = bpf_map_lookup_elem(&members, &key);
	struct workload *wl;

	/* bprm_check_security has marked the task itself, if it is confined. */
	if (!h || !m)
		return 0;
	d.workload = m->workload & (MAX_WORKLOADS - 1);
	wl = bpf_map_lookup_elem(&workloads, &d.workload);
	if (!wl)
		return 0;
	d.plan = wl->plan;
	d.mode = wl->mode;
	if (as_judged(bprm, h, &d))
		return 0;
	if (deny(&d, NULL, wl, -EACCES))
		bpf_send_signal(9);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(hold_exec_over, struct task_struct *task)
{
	u64 key = (u64)task;

	bpf_map_delete_elem(&holds, &key);
	return 0;
}
