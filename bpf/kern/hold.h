/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Operations that wait for the agent. Where a table asks about an open or an
 * execution, file_open notes it, tells the agent, and lets it go on to the
 * agent's fanotify group, where it waits. A later hook denies it unless the agent
 * has allowed it by then: without an agent nothing waits, and all is denied.
 *
 *   file_open            hold       the agent may be asked
 *   bprm_check_security  confirm    execution of a program, a script, an interpreter
 *   file_post_open       confirm    open (hold.bpf.c)
 *   bprm_committed_creds            the ELF loader; and the image is the one that was judged (hold.bpf.c)
 *   mmap_file            proven     exec maps what was confirmed
 *
 * Only what is certain to pass such a hook may wait: open(2) and execve(2) with
 * their like, of the native ABI. */
#pragma once

#include "call.h"
#include "event.h"

static __always_inline struct hold *hold_of_current(void)
{
	u64 key = bpf_get_current_task();

	return bpf_map_lookup_elem(&holds, &key);
}

const volatile struct hold none; /* on no stack: it is large */

static __always_inline struct hold *make_hold(void)
{
	u64 key = bpf_get_current_task();

	bpf_map_update_elem(&holds, &key, (const void *)&none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&holds, &key);
}

/* may_hold: does the agent take part in this operation of the workload? */
static __always_inline bool may_hold(const struct workload *wl, u32 need)
{
	u32 call = current_call();

	if (need & BIT(ACT_EXECUTE))
		return wl->flags & WORKLOAD_HOLD_EXEC && call == CALL_EXEC;
	/* A nameless new file passes no file_post_open. */
	return wl->flags & WORKLOAD_HOLD_OPEN && call == CALL_OPEN && !(need & BIT(ACT_CREATE));
}

/* begin_hold notes what the current task is to wait for. Returns its number, or 0. */
static __noinline u32 begin_hold(const struct denial *d, const struct workload *wl, u32 need)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 tid = task->pid, zero = 0, number;
	struct hold *h;
	u64 *last;

	if (!may_hold(wl, need))
		return 0;
	h = make_hold();
	last = bpf_map_lookup_elem(&seqs, &zero); /* no workload has number 0 */
	if (!h || !last)
		return 0;
	number = __sync_fetch_and_add(last, 1) + 1;
	h->pending = 0;
	h->number = number;
	h->inode = (u64)d->inode;
	h->generation = d->plan >> 32;
	return bpf_map_update_elem(&waits, &tid, &number, BPF_ANY) ? 0 : number;
}

/* end_hold: the agent was told, or not. */
static __noinline int end_hold(bool told)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct hold *h = hold_of_current();
	u32 tid = task->pid;

	if (h && told) {
		h->pending = 1;
		return 0;
	}
	bpf_map_delete_elem(&waits, &tid);
	return -1;
}

/* hold asks the agent. Returns 0 if the operation may go on, to be confirmed. Its
 * stack is small: below it emit needs what is left. Not static: the verifier looks
 * at it once, whatever the verdict came from. */
__noinline int hold(struct denial *d, struct scratch *s, const struct workload *wl, u32 need)
{
	u32 number;

	if (!d || !s || !wl)
		return -1;
	number = begin_hold(d, wl, need);
	if (!number)
		return -1;
	d->reason = REASON_HELD;
	d->hold = number;
	if (!end_hold(!emit(d, s, wl)))
		return 0;
	d->reason = REASON_ASK;
	d->hold = 0;
	return -1;
}

/* pending: is the current task held for a file? */
static __always_inline bool pending(const struct hold *h, const struct denial *d)
{
	return h && h->pending && h->inode == (u64)d->inode;
}

/* answered takes the agent's answer to a hold, once. Returns whether it allows;
 * *image is what it rests on. */
static __always_inline bool answered(struct hold *h, struct denial *d, u32 *image)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u32 tid = task->pid, number = h->number, allow;
	struct answer *a = bpf_map_lookup_elem(&answers, &number);

	h->pending = 0;
	d->hold = number;
	bpf_map_delete_elem(&waits, &tid);
	if (!a)
		return false;
	allow = a->allow;
	*image = a->image;
	bpf_map_delete_elem(&answers, &number);
	if (h->generation != (u32)(d->plan >> 32))
		return false;
	if (!allow)
		d->reason = REASON_ANSWERED;
	return allow;
}

/* prove notes what the exec that goes on was allowed. */
static __always_inline bool prove(struct hold *h, u64 inode, u32 image)
{
	u32 n = h->proofs;

	if (n >= MAX_PROOFS)
		return false;
	h->proof[n].inode = inode;
	h->proof[n].number = h->number;
	h->proof[n].image = image;
	h->proofs = n + 1;
	return true;
}

/* confirm returns 0 if the agent has allowed the execution of the file, else
 * -EACCES. */
__noinline int confirm(struct denial *d)
{
	struct hold *h = hold_of_current();
	u32 image = 0;

	if (!d || !pending(h, d))
		return -EACCES;
	return answered(h, d, &image) && prove(h, (u64)d->inode, image) ? 0 : -EACCES;
}

/* forget_stale forgets what was held for an earlier exec or open, which failed. */
static __always_inline void forget_stale(struct linux_binprm *bprm)
{
	struct hold *h = hold_of_current();

	if (!h)
		return;
	if (h->inode != (u64)bprm->file->f_path.dentry->d_inode)
		h->pending = 0;
	/* Once a script was read, interp is its interpreter. */
	if (bprm->interp == bprm->filename)
		h->proofs = 0;
}

/* proven: was the execution of a file allowed in the exec that goes on? */
static __noinline bool proven(struct inode *inode)
{
	struct hold *h = hold_of_current();
	u32 n;

	if (!h)
		return false;
	n = h->proofs;
	for (u32 i = 0; i < MAX_PROOFS; i++)
		if (i < n && h->proof[i].inode == (u64)inode)
			return true;
	return false;
}
