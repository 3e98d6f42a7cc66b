package bpf

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Fact is one thing that enforcement needs of this host.
type Fact struct {
	Name     string
	OK       bool
	Required bool
	// Detail is what was found. Consequence says what a lack means, Fix how
	// to mend it; both are empty when OK.
	Detail, Consequence, Fix string
}

// Probe finds out what this host has and lacks. It changes nothing.
func Probe() []Fact {
	defer debug.SetGCPercent(debug.SetGCPercent(20)) // the kernel's types are large
	types := btf.NewCache()
	kernel, about := probeBTF("/sys/kernel/btf/vmlinux", types.Kernel)
	facts := []Fact{probeKernel(), probePrivileges(), about, probeLSM(), probeLockdown("/sys/kernel/security/lockdown"), probeFtrace()}
	facts = append(facts, probeMount("bpffs", "/sys/fs/bpf", unix.BPF_FS_MAGIC, "mount -t bpf bpf /sys/fs/bpf"),
		probeMount("cgroup v2", "/sys/fs/cgroup", unix.CGROUP2_SUPER_MAGIC, fixCgroup("/proc/self/mounts")),
		probeSymbols(), probeProgram(types))
	if kernel == nil {
		return facts // told by probeBTF
	}
	return append(facts, probeHooks(kernel)...)
}

func lacking(name, detail, consequence, fix string) Fact {
	return Fact{Name: name, Required: true, Detail: detail, Consequence: consequence, Fix: fix}
}

func holds(name, detail string) Fact {
	return Fact{Name: name, OK: true, Required: true, Detail: detail}
}

const nothing = "nothing can be enforced on this host"

func probeKernel() Fact {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return lacking("kernel", err.Error(), nothing, "")
	}
	release := unix.ByteSliceToString(u.Release[:])
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil || major < 6 || major == 6 && minor < 1 {
		return lacking("kernel", release, nothing, "boot a kernel from 6.1 on")
	}
	return holds("kernel", release)
}

func probePrivileges() Fact {
	if os.Geteuid() == 0 {
		return holds("privileges", "root")
	}
	return lacking("privileges", fmt.Sprintf("uid %d", os.Geteuid()), "programs cannot be loaded", "run as root, for example with sudo")
}

// probeBTF reads the kernel's types, which are at path; nil if they cannot be used.
func probeBTF(path string, read func() (*btf.Spec, error)) (*btf.Spec, Fact) {
	const name, fix = "kernel BTF", "boot a kernel with CONFIG_DEBUG_INFO_BTF=y (Debian's have it)"
	if _, err := os.Stat(path); err != nil {
		return nil, lacking(name, "no "+path, nothing, fix)
	}
	kernel, err := read()
	if err != nil {
		return nil, lacking(name, path+": "+firstLine(err), nothing, fix)
	}
	if !hasHook(kernel, "file_open") {
		return nil, lacking(name, path+" names no BPF LSM hook", nothing, "boot a kernel with CONFIG_BPF_LSM=y and CONFIG_DEBUG_INFO_BTF=y (Debian's have them)")
	}
	return kernel, holds(name, path)
}

// probeLockdown: a kernel locked down for confidentiality lets no BPF program read
// its memory.
func probeLockdown(path string) Fact {
	const name = "lockdown"
	state, err := os.ReadFile(path)
	if err != nil {
		return holds(name, "not in this kernel")
	}
	if strings.Contains(string(state), "[confidentiality]") {
		return lacking(name, "confidentiality", "no BPF program may read the kernel's memory: "+nothing, "boot with lockdown=integrity on the kernel command line, or without lockdown=")
	}
	_, state, _ = bytes.Cut(state, []byte("["))
	state, _, _ = bytes.Cut(state, []byte("]"))
	return holds(name, cmp.Or(string(state), "none"))
}

// fixCgroup says how to get cgroup v2 where it is looked for. Where groups of
// version 1 are mounted, mounting it there by hand would hide them.
func fixCgroup(mounts string) string {
	const boot = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line"
	table, err := os.ReadFile(mounts)
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup" {
			return boot + " (groups of version 1 are in use here, as " + f[1] + ": mounting over them would hide them)"
		}
	}
	if err != nil {
		return boot
	}
	return boot + ", or mount -t cgroup2 none /sys/fs/cgroup"
}

func probeLSM() Fact {
	const name, path = "BPF LSM", "/sys/kernel/security/lsm"
	list, err := os.ReadFile(path)
	if err != nil {
		return lacking(name, err.Error(), "whether the kernel calls BPF LSM programs is unknown", "mount -t securityfs none /sys/kernel/security")
	}
	names := strings.Split(strings.TrimSpace(string(list)), ",")
	if !slices.Contains(names, "bpf") {
		return lacking(name, "active: "+strings.Join(names, ","), "the kernel does not call BPF LSM programs: "+nothing,
			"add lsm="+strings.Join(names, ",")+",bpf to the kernel command line (GRUB_CMDLINE_LINUX in /etc/default/grub, then update-grub) and reboot")
	}
	return holds(name, "active: "+strings.Join(names, ","))
}

// probeFtrace: with ftrace off the kernel skips every BPF LSM program.
func probeFtrace() Fact {
	value, err := os.ReadFile("/proc/sys/kernel/ftrace_enabled")
	if err == nil && strings.TrimSpace(string(value)) == "0" {
		return lacking("ftrace", "kernel.ftrace_enabled=0", "the kernel silently skips every BPF LSM program", "sysctl kernel.ftrace_enabled=1")
	}
	return holds("ftrace", "enabled")
}

func probeMount(name, path string, magic int64, fix string) Fact {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return lacking(name, fmt.Sprintf("%s: %v", path, err), "`stockade run` cannot start", fix)
	}
	if s.Type != magic {
		return lacking(name, path+" is not "+name, "`stockade run` cannot start", fix)
	}
	return holds(name, path)
}

// probeSymbols: the walk reads rename_lock, whose address kallsyms tells.
func probeSymbols() Fact {
	const name, path = "kernel symbols", "/proc/sys/kernel/kptr_restrict"
	symbols, err := os.Open("/proc/kallsyms")
	if err != nil {
		return lacking(name, err.Error(), "renames that race with a path walk could not be seen", "mount /proc")
	}
	defer symbols.Close()
	for lines := bufio.NewScanner(symbols); lines.Scan(); { // whole it is larger than all else that a run needs
		fields := strings.Fields(lines.Text())
		if len(fields) >= 3 && fields[2] == "rename_lock" {
			if strings.Trim(fields[0], "0") == "" {
				break
			}
			return holds(name, "rename_lock found")
		}
	}
	return lacking(name, "rename_lock is not shown in /proc/kallsyms", "renames that race with a path walk could not be seen", fixSymbols(path, os.Geteuid()))
}

// fixSymbols says how to see the kernel's addresses, by the setting that hides them.
func fixSymbols(path string, uid int) string {
	value, err := os.ReadFile(path)
	switch {
	case uid != 0:
		return "run as root, for example with sudo"
	case err == nil && strings.TrimSpace(string(value)) == "2":
		return "sysctl kernel.kptr_restrict=1"
	}
	return "run with the capability SYSLOG, as root has it outside containers"
}

// probeProgram loads and attaches a program that reads the kernel's memory and
// allows everything: the proof.
func probeProgram(types *btf.Cache) Fact {
	const name = "LSM program"
	spec := &ebpf.CollectionSpec{Programs: map[string]*ebpf.ProgramSpec{name: {
		Name: "stockade_probe", Type: ebpf.LSM, AttachType: ebpf.AttachLSMMac, AttachTo: "file_ioctl", License: "GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R10), asm.Add.Imm(asm.R1, -8),
			asm.Mov.Imm(asm.R2, 8), asm.Mov.Reg(asm.R3, asm.R10),
			asm.FnProbeReadKernel.Call(),
			asm.Mov.Imm(asm.R0, 0), asm.Return(),
		},
	}}}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Cache: types})
	if err != nil {
		if os.Geteuid() != 0 {
			return lacking(name, "load: "+firstLine(err), nothing, "run as root, for example with sudo")
		}
		return lacking(name, "load: "+firstLine(err), nothing, "see the facts above; a sandboxed or locked-down kernel may refuse LSM programs altogether: use another host or a VM")
	}
	defer loaded.Close()
	l, err := link.AttachLSM(link.LSMOptions{Program: loaded.Programs[name]})
	if err != nil {
		return lacking(name, "attach: "+firstLine(err), nothing, "boot with bpf in the kernel's lsm= list")
	}
	l.Close()
	return holds(name, "loads and attaches")
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(plain(err).Error(), "\n")
	return line
}

// probeHooks looks for every hook that the programs attach to.
func probeHooks(kernel *btf.Spec) []Fact {
	var missing, covered []string
	var facts []Fact
	total := 0
	spec, err := loadKern()
	if err != nil {
		return []Fact{lacking("BPF programs", err.Error(), nothing, "rebuild stockade")}
	}
	for _, p := range spec.Programs {
		if p.Type != ebpf.LSM {
			continue
		}
		total++
		if hasHook(kernel, p.AttachTo) {
			continue
		}
		switch consequence, known := optional[p.AttachTo]; {
		case !known:
			missing = append(missing, p.AttachTo)
		case consequence == "":
			covered = append(covered, p.AttachTo)
		default:
			facts = append(facts, Fact{Name: "hook " + p.AttachTo, Detail: "not on this kernel", Consequence: consequence, Fix: "boot a newer kernel"})
		}
	}
	slices.Sort(missing)
	slices.Sort(covered)
	detail := fmt.Sprintf("%d of %d", total-len(missing)-len(covered)-len(facts), total)
	if len(covered) > 0 {
		detail += "; covered by others: " + strings.Join(covered, ", ")
	}
	if len(missing) > 0 {
		return append(facts, lacking("hooks", detail+"; missing: "+strings.Join(missing, ", "), nothing, "boot a kernel from 6.1 on"))
	}
	return append(facts, holds("hooks", detail))
}

// Ready returns nil when this host can enforce, else an error that names the
// first lack and its fix.
func Ready() error {
	defer debug.FreeOSMemory() // what loads next reads the kernel's types again
	for _, f := range Probe() {
		if f.Required && !f.OK {
			return fmt.Errorf("%s: %s: %s; %s", f.Name, f.Detail, f.Consequence, f.Fix)
		}
	}
	return nil
}
