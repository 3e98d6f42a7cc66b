package bpf

import (
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// object is one compiled BPF file.
type object struct {
	name string
	load func() (*ebpf.CollectionSpec, error)
}

// objects in the order in which they are attached: who is confined comes
// before what is decided.
var objects = []object{
	{"identity", loadIdentity},
	{"file", loadFile},
	{"exec", loadExec},
	{"escape", loadEscape},
	{"guard", loadGuard},
	{"meta", loadMeta},
}

// optional hooks exist on some kernels only. consequence says what follows
// where one is missing; "" means that another hook covers it.
var optional = map[string]string{
	"file_truncate":      "", // 6.1: path_truncate fires for ftruncate too
	"inode_set_acl":      "", // 6.1: inode_setxattr fires for ACLs too
	"inode_remove_acl":   "", // 6.1: inode_removexattr likewise
	"inode_file_setattr": "", // before 6.17 the ioctls are the only way
	"file_ioctl_compat":  "", // before 6.8 file_ioctl fires for 32-bit callers too
}

// onDemand hooks are attached only where one of their actions is handled.
var onDemand = map[string]abi.ActionMask{
	"inode_getattr":  abi.MaskOf(abi.Stat),
	"inode_readlink": abi.MaskOf(abi.Stat),
}

// clockHooks are attached only where plans may read the clock.
var clockHooks = []string{"capable"}

// dropIdle removes from spec the programs that no plan needs.
func dropIdle(spec *ebpf.CollectionSpec, o Options) {
	for name, p := range spec.Programs {
		mask, ok := onDemand[p.AttachTo]
		if ok && mask&o.Handled == 0 || !o.Clock && slices.Contains(clockHooks, p.AttachTo) {
			delete(spec.Programs, name)
		}
	}
}

// hasHook reports whether this kernel's BTF has an LSM hook.
func hasHook(kernel *btf.Spec, hook string) bool {
	var f *btf.Func
	return kernel.TypeByName("bpf_lsm_"+hook, &f) == nil
}

// dropMissing removes from spec the programs of optional hooks that the kernel
// lacks, and returns what follows from that.
func dropMissing(spec *ebpf.CollectionSpec, kernel *btf.Spec) []string {
	var gaps []string
	for name, p := range spec.Programs {
		if p.Type != ebpf.LSM || hasHook(kernel, p.AttachTo) {
			continue
		}
		consequence, known := optional[p.AttachTo]
		if !known {
			continue // a hook that must be there: loading reports it
		}
		delete(spec.Programs, name)
		if consequence != "" {
			gaps = append(gaps, p.AttachTo+": "+consequence)
		}
	}
	return gaps
}
