/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What a request is besides its path: who asks, when, and running what. Facts
 * are gathered when a verdict first needs them. */
#pragma once

#include "automaton.h"
#include "path.h"
#include "ring.h"

enum { KNOWN_USER = 1, KNOWN_NOW = 2, KNOWN_EXE = 4 };

/* now_ms reads the time in milliseconds since 1970, UTC. */
static __always_inline s64 now_ms(void)
{
	u32 zero = 0;
	s64 *offset = bpf_map_lookup_elem(&tai_offset, &zero);
	u64 tai = bpf_ktime_get_tai_ns();

	return (offset ? tai - (u64)*offset : tai) / 1000000;
}

/* cred_of returns the credentials that a task acts with. Its own are real_cred:
 * overlayfs puts others into cred. io_uring puts those of who submitted into cred;
 * the task's own may be older, or newer. */
static __always_inline const struct cred *cred_of(struct task_struct *task)
{
	return in_ring(task) ? BPF_CORE_READ(task, cred) : BPF_CORE_READ(task, real_cred);
}

static __always_inline void know_user(struct facts *f)
{
	const struct cred *cred;

	if (f->known & KNOWN_USER)
		return;
	cred = cred_of(bpf_get_current_task_btf());
	f->number[DIM_UID] = BPF_CORE_READ(cred, euid.val);
	f->number[DIM_GID] = BPF_CORE_READ(cred, egid.val);
	f->known |= KNOWN_USER;
}

static __always_inline void know_now(struct facts *f)
{
	if (f->known & KNOWN_NOW)
		return;
	f->number[DIM_NOW] = now_ms();
	f->known |= KNOWN_NOW;
}

#define DAY_MS 86400000

/* time_of_day divides without signs: there is no signed division here. */
static __always_inline s64 time_of_day(s64 now)
{
	return now < 0 ? DAY_MS - 1 - (u64)(-1 - now) % DAY_MS : (u64)now % DAY_MS;
}

/* number_of returns the fact of a dimension that is one of NUMBERS. */
static __always_inline s64 number_of(struct facts *f, u32 dim)
{
	if (dim == DIM_NOW || dim == DIM_DAYTIME)
		know_now(f);
	else
		know_user(f);
	if (dim == DIM_DAYTIME)
		return time_of_day(f->number[DIM_NOW]);
	return f->number[dim & (MAX_DIMS - 1)];
}

static __always_inline void walk_exe(struct walked *w, struct task_struct *task, const struct workload *wl)
{
	struct file *exe = BPF_CORE_READ(task, mm, exe_file);

	w->n = 0;
	w->status = PATH_NONE;
	if (exe)
		walk_addr(w, (u64)BPF_CORE_READ(exe, f_path.mnt), (u64)BPF_CORE_READ(exe, f_path.dentry), wl);
}

/* exe_automaton returns where the automaton of executables stands. */
static __always_inline u64 exe_automaton(const u64 *t, u64 plan)
{
	u64 mask = arena_mask, at = W(plan + HDR_DIMS + DIM_EXE);

	/* Both dimensions have the same data; one of them may be unused. */
	return plan + (u32)(at ? at : W(plan + HDR_DIMS + DIM_PARENT_EXE));
}

/* class_of_exe returns the class of the path in s->exe. One that does not
 * lead to the workload's root is not known: the class of the empty string. */
static __always_inline u32 class_of_exe(const u64 *t, struct scratch *s, u64 plan)
{
	struct feed ctx = { .t = t, .s = s };

	set_up(t, s, exe_automaton(t, plan));
	if (s->exe.status == PATH_OK)
		feed_path(&ctx, TAKE_EXE, 0);
	return output(t, s);
}

/* unreadable: a path that has a text, which could not be read. It must not pass
 * for one that is not known. */
static __always_inline bool unreadable(u32 status)
{
	return status != PATH_OK && status != PATH_OUTSIDE && status != PATH_NONE;
}

/* know_exe fills in the classes of the current task's executables: those of
 * exec, if they are of this plan's automaton; else that of the path that the
 * executable has now, and an unknown parent. Returns PATH_OK, or the status of
 * a path that could not be read. Like others that are not static, the verifier
 * looks at it once, not at each call. */
__noinline int know_exe(struct scratch *s, const struct workload *wl, u32 plan)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 mask = arena_mask, *t = arena_base(), key = (u64)task, id;
	struct member *m = bpf_map_lookup_elem(&members, &key);
	struct facts *f;

	if (!s || !wl || !t)
		return PATH_TORN;
	f = &s->facts;
	if (f->known & KNOWN_EXE)
		return PATH_OK;
	id = W(plan + HDR_EXE);
	if (m && m->automaton == id && f->before) {
		f->exe = m->old_exe;
		f->parent = m->old_parent;
	} else if (m && m->automaton == id && !m->unread) {
		f->exe = m->exe;
		f->parent = m->parent;
	} else {
		walk_exe(&s->exe, task, wl);
		if (unreadable(s->exe.status))
			return s->exe.status;
		s->at_node.failed = 0;
		f->exe = class_of_exe(t, s, plan);
		if (s->at_node.failed)
			return PATH_TORN;
		if (m && m->automaton == id) {
			f->parent = m->parent;
		} else {
			set_up(t, s, exe_automaton(t, plan));
			f->parent = output(t, s);
		}
		if (m) {
			m->exe = f->exe;
			m->parent = f->parent;
			m->unread = 0;
			m->automaton = id;
		}
	}
	f->automaton = id;
	f->known |= KNOWN_EXE;
	return PATH_OK;
}
