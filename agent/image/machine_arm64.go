package image

// The numbers of execve and execveat.
const (
	sysExecve   = 221
	sysExecveat = 281
)

// native reports an ELF file that the kernel loads itself: AArch64, or ARM.
func native(h *Head) bool { return h.elf(183) || h.elf(40) }
