// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* All programs, one unit: what they share is there once. How a program's name begins
 * tells when it is loaded (bpf/group.go): strict_ for strict workloads, hold_ once a
 * policy asks, heir_ while another build's set is succeeded, walker_ for callers in user space. Any other confines, and is always. */
#include "identity.bpf.c"
#include "file.bpf.c"
#include "exec.bpf.c"
#include "escape.bpf.c"
#include "guard.bpf.c"
#include "command.bpf.c"
#include "socket.bpf.c"
#include "meta.bpf.c"
#include "strict.bpf.c"
#include "hold.bpf.c"
#include "heir.bpf.c"
#include "walk.bpf.c"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
