//go:build linux

package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

const emulator = "qemu-system-x86_64"

// portFile is the number of the file that carries the frames, in the
// emulator: the first of exec.Cmd.ExtraFiles.
const portFile = 3

// systemdWords keep systemd off the console, and off what the machine has no use
// for: logins, caches of files that are as new as the machine, modules.
const systemdWords = "systemd.show_status=0 systemd.log_level=notice systemd.getty_auto=0 systemd.condition_needs_update=0" +
	" systemd.mask=getty.target systemd.mask=systemd-modules-load.service"

// commandLine is the kernel's. "loglevel=5" lets warnings through to the
// console and keeps the rest quiet.
func commandLine(o *Options) string {
	words := "console=ttyS0 quiet loglevel=5 panic=-1 cryptomgr.notests no_timer_check"
	if o.Systemd {
		words += " " + systemdWords
	}
	return strings.TrimSpace(words + " " + o.Append)
}

// emulatorArgs are the arguments for one boot. The emulator never gets
// hardware acceleration: the results must not depend on the host.
func emulatorArgs(cache *Cache, o *Options, initramfs, console string) []string {
	kernel := findKernel(o.Kernel)
	thread := "single"
	if o.CPUs > 1 {
		thread = "multi"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "pc", "-accel", "tcg,thread=" + thread,
		"-cpu", kernel.CPU, "-smp", strconv.Itoa(o.CPUs), "-m", strconv.Itoa(o.Memory),
		"-kernel", filepath.Join(kernel.dir(cache), "vmlinuz"),
		"-initrd", initramfs,
		"-append", commandLine(o),
		"-chardev", "file,id=console,path=" + escape(console), "-serial", "chardev:console",
		"-device", "virtio-serial-pci",
		"-chardev", fmt.Sprintf("socket,id=port,fd=%d", portFile),
		"-device", "virtserialport,chardev=port,name=" + wire.PortName,
	}
	if o.Shell {
		args = append(args, "-serial", "mon:stdio")
	}
	if o.ICount {
		args = append(args, "-icount", "shift=0,sleep=off")
	}
	if u := findUserland(o.Root); u != nil {
		file := "snapshot=on,file=" + escape(u.image(cache))
		if o.Disk != "" {
			file = "file=" + escape(o.Disk)
		}
		args = append(args,
			"-drive", "if=none,id=root,format=raw,cache=unsafe,"+file,
			"-device", "virtio-blk-pci,drive=root")
	}
	return args
}

// escape doubles the commas of a path, as the emulator's options want it.
func escape(path string) string { return strings.ReplaceAll(path, ",", ",,") }
