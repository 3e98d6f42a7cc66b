// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The decision core for callers in user space (SEC("syscall")): tests and
 * benchmarks run the code of the hooks where no LSM program can be loaded.
 *
 * match_path   match, class row and no-gain rule for paths given as components
 * walk_cwd     path walk of the caller's working directory, then match
 */
#include "verdict.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct input_path {
	u64 n;
	struct component c[MAX_COMPONENTS]; /* of a long name, a is its offset in names */
	char names[32768];
};

/* Twin: walkInput in bpf/walker.go. */
struct input {
	u32 plan;
	u32 kind;
	u32 repeat; /* times to match path; for benchmarks */
	u32 status; /* 1: path matched, 2: both */
	u32 class, dest_class;
	s32 sub, dest_sub;
	u64 row, dest_row;
	u32 gains, walked;
	struct input_path path, dest;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct input);
} walk_input SEC(".maps");

static __noinline int load_path(struct walked *w, struct input_path *p)
{
	w->n = 0;
	w->status = PATH_OK;
	for (u32 i = 0; i < MAX_COMPONENTS; i++) {
		if (i >= p->n)
			break;
		w->c[i].len = p->c[i].len;
		w->c[i].a = p->c[i].a;
		w->c[i].b = p->c[i].b;
		if (w->c[i].len > INLINE_NAME)
			w->c[i].a = (u64)&p->names[p->c[i].a & 32767];
		w->n = i + 1;
	}
	return 0;
}

struct again {
	struct scratch *s;
	u64 plan;
};

static int match_again(u64 i, struct again *a)
{
	struct matched m = {};

	return match(a->s, &a->s->path, a->plan, &m) ? 1 : 0;
}

static __always_inline int match_input(struct input *in, struct scratch *s)
{
	u64 mask = arena_mask, *t = arena_base();
	struct again a = { .s = s, .plan = in->plan };
	struct matched m = {}, d = {};

	load_path(&s->path, &in->path);
	if (in->repeat)
		bpf_loop(in->repeat, match_again, &a, 0);
	if (!t || match(s, &s->path, in->plan, &m))
		return 0;
	in->class = m.class;
	in->sub = m.sub;
	in->row = row(t, mask, in->plan, m.class, in->kind & 1);
	in->status = 1;
	if (!in->dest.n)
		return 0;
	load_path(&s->dest, &in->dest);
	if (match(s, &s->dest, in->plan, &d))
		return 0;
	in->dest_class = d.class;
	in->dest_sub = d.sub;
	in->dest_row = row(t, mask, in->plan, d.class, in->kind & 1);
	in->gains = gains(t, mask, in->plan, &m, &d, in->kind & 1);
	in->status = 2;
	return 0;
}

SEC("syscall")
int match_path(void *ctx)
{
	u32 zero = 0;
	struct input *in = bpf_map_lookup_elem(&walk_input, &zero);
	struct scratch *s = claim();

	if (in && s) {
		in->status = 0;
		match_input(in, s);
	}
	if (s)
		release(s);
	return 0;
}

struct walking {
	struct scratch *s;
	struct workload *wl;
	u64 plan;
};

static int walk_again(u64 i, struct walking *a)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct matched m = {};

	walk(&a->s->path, task->fs->pwd.mnt, task->fs->pwd.dentry, a->wl);
	if (a->plan)
		match(a->s, &a->s->path, a->plan, &m);
	return 0;
}

SEC("syscall")
int walk_cwd(void *ctx)
{
	u32 zero = 0, one = 1;
	struct input *in = bpf_map_lookup_elem(&walk_input, &zero);
	struct walking a = { .s = claim(), .wl = bpf_map_lookup_elem(&workloads, &one) };
	struct matched m = {};

	if (in && a.s && a.wl) {
		a.plan = in->plan;
		bpf_loop(in->repeat, walk_again, &a, 0);
		in->walked = a.s->path.n;
		in->status = a.s->path.status;
		if (in->status == PATH_OK && !match(a.s, &a.s->path, in->plan, &m)) {
			in->class = m.class;
			in->sub = m.sub;
		}
	}
	if (a.s)
		release(a.s);
	return 0;
}

SEC("syscall")
int empty(void *ctx)
{
	return 0;
}
