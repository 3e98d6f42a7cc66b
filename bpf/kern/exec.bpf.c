// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Execution. The opens that exec makes (binary, script, each interpreter, ELF
 * loader) ask execute in file_open; here is what does not pass there.
 *
 * bprm_check_security  binary and interpreters once more, whatever opened them: execute
 * mmap_file            PROT_EXEC of a file: map or execute
 * file_mprotect        a file's mapping made executable: map or execute
 */
#include "verdict.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

SEC("lsm/bprm_check_security")
int BPF_PROG(bprm_check_security, struct linux_binprm *bprm)
{
	u32 w = who();

	if (!w)
		return 0;
	return decide(w, bprm->file->f_path.mnt, bprm->file->f_path.dentry, 0, BIT(ACT_EXECUTE));
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
	return decide(w, file->f_path.mnt, file->f_path.dentry, 0, NEED_ANY | BIT(ACT_EXECUTE) | BIT(ACT_MAP));
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
