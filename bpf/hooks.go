package bpf

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// optional hooks exist on some kernels only. consequence says what follows
// where one is missing; "" means that another hook covers it.
var optional = map[string]string{
	"file_truncate":      "", // 6.1: path_truncate fires for ftruncate too
	"inode_set_acl":      "", // 6.1: inode_setxattr fires for ACLs too
	"inode_remove_acl":   "", // 6.1: inode_removexattr likewise
	"inode_file_setattr": "", // before 6.17 the ioctls are the only way
	compatPersonality:    "", // without it no 32-bit program runs
	"key_alloc":          "", // without it there are no keys
	postOpen:             "", // before 6.9 no open is held
	"file_ioctl_compat":  "", // before 6.8 file_ioctl fires for 32-bit callers too
	// What ends calls whose refusals wait for it, under its names: see late. Where
	// none is there, they are reported at once.
	"put_unused_fd":                 "",
	"io_openat":                     "",
	"io_openat2":                    "",
	"__x64_sys_kill":                "",
	"__x64_sys_pidfd_send_signal":   "",
	"__arm64_sys_kill":              "",
	"__arm64_sys_pidfd_send_signal": "",
	"devpts_pty_kill":               "terminals that are gone count against the limit of own ones, beyond which policy is asked",
}

// onDemand hooks are attached only where one of their actions is handled.
var onDemand = map[string]abi.ActionMask{
	"inode_getattr":   abi.MaskOf(abi.Stat),
	"inode_readlink":  abi.MaskOf(abi.Stat),
	"inode_getxattr":  abi.MaskOf(abi.Stat),
	"inode_listxattr": abi.MaskOf(abi.Stat),
}

// dropIdle removes from spec the programs that no plan needs, and those that a test
// leaves out.
func dropIdle(spec *ebpf.CollectionSpec, o Options) {
	for name, p := range spec.Programs {
		mask, ok := onDemand[p.AttachTo]
		if ok && mask&o.Handled == 0 || fault.Leaves(name) {
			delete(spec.Programs, name)
		}
	}
}

// postOpen is the hook behind what may hold an open.
const postOpen = "file_post_open"

// compatPersonality is there where the kernel runs 32-bit programs.
const compatPersonality = "__ia32_sys_personality"

// hasFunc reports whether this kernel's BTF has a function.
func hasFunc(kernel *btf.Spec, name string) bool {
	var f *btf.Func
	return kernel.TypeByName(name, &f) == nil
}

// hasHook reports whether this kernel's BTF has an LSM hook.
func hasHook(kernel *btf.Spec, hook string) bool {
	return hasFunc(kernel, "bpf_lsm_"+hook)
}

// present reports whether the kernel has what p is attached to, or must have it.
func present(kernel *btf.Spec, p *ebpf.ProgramSpec) bool {
	switch {
	case p.Type == ebpf.LSM:
		return hasHook(kernel, p.AttachTo)
	case p.AttachType == ebpf.AttachTraceFEntry, p.AttachType == ebpf.AttachTraceFExit:
		return hasFunc(kernel, p.AttachTo)
	}
	return true
}

// late tells programs which refusals can wait until their call ends: those whose
// ends the kernel shows.
func late(spec *ebpf.CollectionSpec, kernel *btf.Spec) error {
	for name, shown := range map[string]bool{
		"late_opens":   hasFunc(kernel, "put_unused_fd") && hasFunc(kernel, "io_openat") && hasFunc(kernel, "io_openat2"),
		"late_signals": hasFunc(kernel, "__x64_sys_kill") || hasFunc(kernel, "__arm64_sys_kill"),
	} {
		if !shown {
			continue
		}
		if err := spec.Variables[name].Set(uint32(1)); err != nil {
			return err
		}
	}
	return nil
}

// dropMissing removes from spec the programs of optional hooks that the kernel
// lacks, and returns what follows from that.
func dropMissing(spec *ebpf.CollectionSpec, kernel *btf.Spec) []string {
	var gaps []string
	for name, p := range spec.Programs {
		if present(kernel, p) {
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
