package image

// The numbers of execve and execveat.
const (
	sysExecve   = 59
	sysExecveat = 322
)

// native reports an ELF file that the kernel loads itself: x86-64, or i386.
func native(h *Head) bool { return h.elf(62) || h.elf(3) }
