/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Who may be doing what was submitted to an io_uring: its workers and, as long as it
 * has a ring, the task itself, at the end of whatever call it is in. */
#pragma once

#include "maps.h"

static __always_inline bool in_ring(struct task_struct *task)
{
	return task->flags & PF_IO_WORKER || (bpf_core_field_exists(task->io_uring) && task->io_uring);
}
