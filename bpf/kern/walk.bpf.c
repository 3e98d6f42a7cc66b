// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* The decision core for callers in user space (SEC("syscall")): tests and
 * benchmarks run the code of the hooks where no LSM program can be loaded.
 *
 * walker_match  match, verdict and the rules of moves for paths given as components, and facts
 * walker_cwd    path walk of the caller's working directory, then match
 */
#include "verdict.h"
#include "gain.h"

#define NO_PATH (~0ULL) /* for n: there is none, or it is not known */

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
	u32 gains, walked;
	u32 xattr_len;
	u32 guarded, dest_guarded; /* are they places that policy sets apart, for need? */
	u64 need;
	u64 missing, denied, trips, reported; /* see short_of */
	s64 number[MAX_DIMS];	   /* facts, as in struct facts */
	struct input_path path, dest, exe, parent;
	char xattr[256];
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
	w->status = p->n == NO_PATH ? PATH_NONE : PATH_OK;
	if (p->n == NO_PATH)
		return 0;
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
	return match(a->s, a->plan, false) ? 1 : 0;
}

/* load_facts takes the facts from the input, in place of the current task's. */
static __always_inline void load_facts(const u64 *t, struct input *in, struct scratch *s)
{
	u64 mask = arena_mask, plan = in->plan;
	struct facts *f = &s->facts;

	f->known = KNOWN_USER | KNOWN_NOW;
	__builtin_memcpy(f->number, in->number, sizeof(f->number));
	f->xattr_len = in->xattr_len;
	bpf_probe_read_kernel(s->xattr, sizeof(s->xattr), in->xattr);
	if (!W(plan + HDR_EXE))
		return;
	load_path(&s->exe, &in->exe);
	f->exe = class_of_exe(t, s, plan);
	load_path(&s->exe, &in->parent);
	f->parent = class_of_exe(t, s, plan);
	f->known |= KNOWN_EXE;
}

static __always_inline int match_input(struct input *in, struct scratch *s)
{
	struct again a = { .s = s, .plan = in->plan };
	u64 *t = arena_base(), lack, plan = in->plan;
	u32 kind = in->kind & KIND_MASK;

	load_path(&s->path, &in->path);
	if (in->repeat)
		bpf_loop(in->repeat, match_again, &a, 0);
	if (!t || match(s, in->plan, false))
		return 0;
	in->class = s->old.class;
	in->sub = s->old.sub;
	load_facts(t, in, s);
	load_path(&s->dest, &in->dest);
	s->denied = 0;
	lack = lacks(t, s, in->plan, s->old.class, in->dest.n == NO_PATH ? kind : kind | MOVING, in->need);
	in->missing = lack;
	in->denied = s->denied;
	in->trips = s->tripped;
	in->reported = lack ? 0 : s->reported;
	in->status = 1;
	if (in->dest.n == NO_PATH || match(s, in->plan, true))
		return 0;
	in->dest_class = s->new.class;
	in->dest_sub = s->new.sub;
	plan = enforced(t, s, plan);
	in->gains = plan ? gains(s, plan, kind) : GAINS | LOSES;
	in->guarded = !plan || guards(s, plan, false, in->need);
	in->dest_guarded = !plan || guards(s, plan, true, in->need);
	in->status = 2;
	return 0;
}

SEC("syscall")
int walker_match(void *ctx)
{
	u32 zero = 0;
	struct input *in = bpf_map_lookup_elem(&walk_input, &zero);
	struct scratch *s = claim(1);

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

	walk(&a->s->path, task->fs->pwd.mnt, task->fs->pwd.dentry, a->wl);
	if (a->plan)
		match(a->s, a->plan, false);
	return 0;
}

SEC("syscall")
int walker_cwd(void *ctx)
{
	u32 zero = 0, one = 1;
	struct input *in = bpf_map_lookup_elem(&walk_input, &zero);
	struct walking a = { .s = claim(1), .wl = bpf_map_lookup_elem(&workloads, &one) };

	if (in && a.s && a.wl) {
		a.plan = in->plan;
		bpf_loop(in->repeat, walk_again, &a, 0);
		in->walked = a.s->path.n;
		in->status = a.s->path.status;
		if (in->status == PATH_OK && !match(a.s, in->plan, false)) {
			in->class = a.s->old.class;
			in->sub = a.s->old.sub;
		}
	}
	if (a.s)
		release(a.s);
	return 0;
}

SEC("syscall")
int walker_empty(void *ctx)
{
	return 0;
}
