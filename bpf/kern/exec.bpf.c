// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Execution. The opens that exec makes (binary, script, each interpreter, ELF
 * loader) ask execute in file_open; here is what does not pass there.
 *
 * bprm_check_security  binary and interpreters once more, whatever opened them: execute; what the
 *                      agent was asked about is confirmed. Of what a runtime executes in a container, too
 * bprm_committed_creds the executable is another one from here on: its class, and its parent's
 * mmap_file            PROT_EXEC of a file: map or execute; what exec itself maps, as the executable
 *                      that asked for it
 * file_mprotect        a file's mapping made executable: map or execute
 */
#include "verdict.h"

/* before_exec makes sure that the running executable is classified, for it will
 * be the parent, and that the task is marked itself: a thread that was known by
 * its process's leader takes the leader's place. */
static __noinline int before_exec(u32 w)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 mask = arena_mask, *t = arena_base(), key = (u64)task;
	struct member *m = bpf_map_lookup_elem(&members, &key);
	struct denial d = { .workload = w & (MAX_WORKLOADS - 1), .missing = BIT(ACT_EXECUTE), .reason = REASON_BUSY };
	struct workload *wl = bpf_map_lookup_elem(&workloads, &d.workload);
	struct scratch *s;
	int status;

	if (!wl || !t)
		return -EACCES;
	d.plan = wl->plan;
	d.mode = wl->mode;
	if (!m && mark(task, w))
		return deny(&d, NULL, wl, -EACCES);
	if (!(u32)d.plan || !W((u32)d.plan + HDR_EXE))
		return 0;
	if (m && m->automaton == W((u32)d.plan + HDR_EXE) && !m->unread)
		return 0;
	s = claim(w);
	if (!s)
		return deny(&d, NULL, wl, -EACCES);
	status = know_exe(s, wl, (u32)d.plan);
	release(s);
	if (status == PATH_OK)
		return 0;
	d.reason = status_reason(status);
	return deny(&d, NULL, wl, -EACCES);
}

/* enters: what the current task executes is allowed, and confines it once nothing can fail. */
static __noinline int enters(void)
{
	struct member *m = member_of((u64)bpf_get_current_task_btf());

	if (m && m->starting == STARTING_RUNTIME)
		m->starting = STARTING_ENTRY;
	return 0;
}

SEC("lsm/bprm_check_security")
int BPF_PROG(bprm_check_security, struct linux_binprm *bprm)
{
	u32 w = who(), entry = w ? 0 : entry_of();
	int err;

	w += entry;
	if (!w)
		return 0;
	forget_stale(bprm);
	err = decide(w, bprm->file->f_path.mnt, bprm->file->f_path.dentry, MUST_HOLD, BIT(ACT_EXECUTE));
	if (err)
		return err;
	return entry ? enters() : before_exec(w);
}

/* executed notes what the new executable is. Nothing can be refused any more:
 * what cannot be read now is read by the next verdict, or denies it. */
static __noinline int executed(u32 w)
{
	struct task_struct *task = bpf_get_current_task_btf();
	u64 mask = arena_mask, *t = arena_base(), key = (u64)task, plan, id;
	struct member *m = bpf_map_lookup_elem(&members, &key);
	struct workload *wl = workload_of(w);
	bool known;
	struct scratch *s;

	if (m)
		m->starting = m->starting == STARTING_FORKED ? starting_after(key) : 0;
	if (!m || !wl || !t)
		return 0;
	plan = (u32)wl->plan;
	id = plan ? W(plan + HDR_EXE) : 0;
	known = id && m->automaton == id && !m->unread;
	if (known) {
		m->old_parent = m->parent;
		m->old_exe = m->parent = m->exe;
	}
	m->automaton = known ? id : 0;
	m->unread = 1;
	if (!id)
		return 0;
	s = claim(w);
	if (!s)
		return 0;
	s->at_node.failed = 0;
	if (!known) {
		set_up(t, s, exe_automaton(t, plan));
		m->old_exe = m->old_parent = m->parent = output(t, s);
		m->automaton = id;
	}
	walk_exe(&s->exe, task, wl);
	if (!unreadable(s->exe.status)) {
		m->exe = class_of_exe(t, s, plan);
		m->unread = s->at_node.failed;
	}
	release(s);
	return 0;
}

/* entered_now confines a task that a runtime prepared, and returns its workload. Where it cannot
 * be marked now, it is at its next operation. */
static __noinline u32 entered_now(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct member *m = member_of((u64)task);
	u32 w;

	if (!m || m->starting != STARTING_ENTRY)
		return 0;
	w = m->workload;
	m->starting = 0;
	mark(task, w);
	return w;
}

SEC("lsm/bprm_committed_creds")
int BPF_PROG(bprm_committed_creds)
{
	u32 w = who();

	w = w ? w : entered_now();
	return w ? executed(w) : 0;
}

/* in_exec: does exec map a program and its loader, which the executable before
 * may execute? */
static __always_inline u32 in_exec(void)
{
	struct task_struct *task = bpf_get_current_task_btf();

	return bpf_core_field_exists(task->in_execve) ? BPF_CORE_READ_BITFIELD_PROBED(task, in_execve) * BEFORE : 0;
}

SEC("lsm/mmap_file")
int BPF_PROG(mmap_file, struct file *file, unsigned long reqprot, unsigned long prot)
{
	u64 raw = 0;
	u32 w;

	if (!(prot & PROT_EXEC))
		return 0;
	/* 6.12 takes the argument for never NULL and drops the plain test, which
	 * 7.2 wants; anonymous memory has no file. */
	bpf_get_func_arg(ctx, 0, &raw);
	if (!raw || !file)
		return 0;
	w = who();
	if (!w)
		return 0;
	return decide(w, file->f_path.mnt, file->f_path.dentry, in_exec() | IS_MAPPED, NEED_ANY | BIT(ACT_EXECUTE) | BIT(ACT_MAP));
}

SEC("lsm/file_mprotect")
int BPF_PROG(file_mprotect, struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
{
	struct file *file;
	u32 w;

	if (!(prot & PROT_EXEC) || vma->vm_flags & VM_EXEC)
		return 0;
	file = vma->vm_file;
	if (!file)
		return 0;
	w = who();
	if (!w)
		return 0;
	/* A mapping of an overlay's file may hold the layer's file (since 6.5). */
	return decide_file(w, file, NEED_ANY | BIT(ACT_EXECUTE) | BIT(ACT_MAP));
}
