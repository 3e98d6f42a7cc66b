package probes

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

func init() {
	table["fuzz"] = fuzz
	// keeping MASKED PROBE...: with the canary's content in memory
	table["keeping"] = func(a args) error {
		for i, c := range must1(hex.DecodeString(a.str(0))) {
			Held[i] = c ^ mask
		}
		before := Held
		if err := run(a.rest(1)); err != nil {
			return err
		}
		if Held != before {
			return fmt.Errorf("the memory of this process was changed")
		}
		return nil
	}
}

// Witness returns a program that must never run: it exits with Evidence.
func Witness() []byte {
	elf := Payload()
	const head = 64 + 56
	elf = append(elf[:head], 0xbf, Evidence, 0, 0, 0, // mov edi, Evidence
		0xb8, 0x3c, 0, 0, 0, 0x0f, 0x05) // mov eax, 60; syscall: exit
	binary.LittleEndian.PutUint64(elf[96:], uint64(len(elf)))
	binary.LittleEndian.PutUint64(elf[104:], uint64(len(elf)))
	return elf
}

// Evidence is the exit code of the program that must never run.
const Evidence = 77

// Masked is the canary's content as the fuzzer carries it: processes of the
// workload read each other's memory, and must not find it there.
func Masked(content []byte) string {
	b := bytes.Clone(content)
	for i := range b {
		b[i] ^= mask
	}
	return hex.EncodeToString(b)
}

const mask = 0x5a

// fuzz SEED OPERATIONS MASKED DIR PID...: random system calls on what a policy
// refuses in DIR, by every name for it, and on the processes PID. Ends with
// "found" and EEXIST when it holds what no policy grants. The descriptors from
// 3 on are directories to begin with; the last is a tape of what it does.
func fuzz(a args) error {
	runtime.LockOSThread()
	// An ioctl with a random size can reserve all memory of the machine.
	must(unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
	f := &fuzzer{
		r:     rand.New(rand.NewPCG(uint64(a.num(0)), 1)),
		token: must1(hex.DecodeString(a.str(2))),
		dir:   a.str(3),
	}
	for _, pid := range a.rest(4) {
		f.pids = append(f.pids, args{pid}.num(0))
	}
	f.pids = append(f.pids, unix.Getpid(), 1)
	for fd := 3; ; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			break
		}
		f.fds = append(f.fds, fd)
	}
	last := len(f.fds) - 1
	f.tape = must1(openTape(f.fds[last]))
	must(unix.Close(f.fds[last]))
	f.fds = f.fds[:last]
	denied, done := 0, 0
	for i := range a.num(1) {
		op := fuzzed[f.r.IntN(len(fuzzed))]
		f.note(op.name)
		clear(f.out[:])
		r, errno := op.run(f)
		f.say("= %d %d", int(r), int(errno))
		switch errno {
		case 0:
			done++
		case unix.EACCES, unix.EPERM, unix.EXDEV:
			denied++
		}
		if op.fd && errno == 0 {
			f.keep(int(r))
		}
		f.look(f.out[:])
		if f.found != "" {
			fmt.Printf("found: %s in operation %d\n", f.found, i)
			return unix.EEXIST
		}
	}
	fmt.Printf("count %d %d %d\n", a.num(1), done, denied)
	return nil
}

type fuzzer struct {
	r     *rand.Rand
	token []byte // masked
	dir   string
	pids  []int
	fds   []int
	out   [8192]byte // what calls write to
	names [4][512]byte
	used  int // of names
	words [32]uint64
	tape  Tape
	found string
	ring  *ring
	made  int
}

func (f *fuzzer) note(name string) {
	f.tape.begin()
	f.tape.add(name)
	f.used = 0
}

func (f *fuzzer) say(format string, a ...any) {
	f.tape.add(" " + fmt.Sprintf(format, a...))
}

// look searches for the canary's content.
func (f *fuzzer) look(b []byte) {
	for i := 0; i+len(f.token) <= len(b); i++ {
		if b[i]^mask != f.token[0] {
			continue
		}
		same := true
		for j, c := range f.token {
			same = same && b[i+j]^mask == c
		}
		if same {
			f.found = "the canary's content"
			return
		}
	}
}

// keep takes a new descriptor, after a look at what can be read from it.
func (f *fuzzer) keep(fd int) {
	if fd <= 2 {
		return
	}
	if n, err := unix.Pread(fd, f.out[:512], 0); err == nil {
		f.look(f.out[:n])
	}
	if len(f.fds) < 24 {
		f.fds = append(f.fds, fd)
		return
	}
	i := f.r.IntN(len(f.fds))
	unix.Close(f.fds[i])
	f.fds[i] = fd
}

func pick[T any](f *fuzzer, list ...T) T { return list[f.r.IntN(len(list))] }

// fd returns a descriptor that it holds, or one that it does not.
func (f *fuzzer) fd() uintptr {
	fd := pick(f, 0, 999, 50)
	if len(f.fds) > 0 && f.r.IntN(20) > 0 {
		fd = f.fds[f.r.IntN(len(f.fds))]
	}
	f.say("fd%d", fd)
	return uintptr(fd)
}

// at returns a directory for the calls that take one.
func (f *fuzzer) at() uintptr {
	if f.r.IntN(2) == 0 {
		return f.fd()
	}
	cwd := unix.AT_FDCWD
	return uintptr(cwd)
}

func (f *fuzzer) pid() int {
	pid := f.pids[f.r.IntN(len(f.pids))]
	f.say("pid%d", pid)
	return pid
}

// Outside is a folder beside DIR that no policy names.
const Outside = "outside"

// fuzzPlaces are what the policy refuses, and what it grants, below DIR.
var fuzzPlaces = []string{
	"secret/key", "secret/key", "secret/hard", "secret/dir/sub/key", "secret/tool", "secret/dir", "secret", "top/in/key", "top/in", "top", "look/key",
	"bound/key", "bound/dir/sub/key", "bound", "ovl/none/key", "ovl/none", "lower/none/key", "lower/none", "ws/sym", "ws/symdir/key",
	"ws/up/secret/key", "ws/a", "ws/b", "ws/d", "ws/d/key", "ws/tool", "ws/own", "bin/tool", "",
	"../" + Outside, "../" + Outside + "/file", "../" + Outside + "/dir", "../" + Outside + "/dir/file",
}

// alias returns a name of a place, by one of the many ways to say it.
func (f *fuzzer) alias() string {
	place := fuzzPlaces[f.r.IntN(len(fuzzPlaces))]
	path := f.dir + "/" + place
	switch f.r.IntN(14) {
	case 0:
		return "/proc/self/root" + path
	case 1:
		return fmt.Sprintf("/proc/%d/root%s", f.pids[f.r.IntN(len(f.pids))], path)
	case 2:
		return "/proc/thread-self/root/" + path
	case 3:
		return strings.ReplaceAll(path, "/", "//./")
	case 4:
		return f.dir + "/ws/../" + place
	case 5:
		return place
	case 6:
		return fmt.Sprintf("/proc/self/fd/%d", pick(f, append(f.fds, 0)...))
	case 7:
		return fmt.Sprintf("/proc/self/fd/%d/%s", pick(f, append(f.fds, 0)...), place)
	case 8:
		return fmt.Sprintf("/proc/self/fd/%d/%s", pick(f, append(f.fds, 0)...), place[strings.LastIndexByte(place, '/')+1:])
	case 9:
		return place[strings.LastIndexByte(place, '/')+1:]
	case 10:
		return fmt.Sprintf("/proc/%d/%s", f.pids[f.r.IntN(len(f.pids))], pick(f, "mem", "fd/3", "fd/4", "cwd", "exe", "environ", "maps", "root", "ns/mnt", "task", "cwd/key", "oom_score_adj"))
	case 11:
		return pick(f, "/proc/self/cwd/key", "/proc/self/cwd/../secret/key", "/proc/self/exe", "/dev/fd/3", "..", ".", "../../../..")
	}
	return path
}

// name puts an alias where calls read it.
func (f *fuzzer) name() uintptr {
	return f.text(f.alias())
}

func (f *fuzzer) text(s string) uintptr {
	f.say("%q", s)
	b := f.names[f.used%len(f.names)][:]
	f.used++
	n := copy(b[:len(b)-1], s)
	b[n] = 0
	return uintptr(unsafe.Pointer(&b[0]))
}

// fresh returns a name that nothing has yet, mostly where creating is granted.
func (f *fuzzer) fresh() uintptr {
	f.made++
	return f.text(fmt.Sprintf("%s/%s/n%d-%d", f.dir, pick(f, "ws", "ws", "ws", "ws/d", "look", "secret", "top", "ovl/all", "bin"), unix.Getpid(), f.made%40))
}

// target is a new name or one that is taken.
func (f *fuzzer) target() uintptr {
	if f.r.IntN(3) > 0 {
		return f.fresh()
	}
	return f.name()
}

func (f *fuzzer) buf() uintptr { return uintptr(unsafe.Pointer(&f.out)) }

// vector returns an iovec of out.
func (f *fuzzer) vector(at int, address uintptr, size uint64) uintptr {
	f.words[at], f.words[at+1] = uint64(address), size
	return uintptr(unsafe.Pointer(&f.words[at]))
}

func (f *fuzzer) bits(list ...int) uintptr {
	all := 0
	for range f.r.IntN(3) {
		all |= list[f.r.IntN(len(list))]
	}
	return uintptr(all)
}

func (f *fuzzer) openFlags() uintptr {
	mode := pick(f, unix.O_RDONLY, unix.O_RDONLY, unix.O_WRONLY, unix.O_RDWR, unix.O_PATH, 3)
	more := f.bits(unix.O_CREAT, unix.O_TRUNC, unix.O_APPEND, unix.O_DIRECTORY, unix.O_NOFOLLOW, unix.O_TMPFILE, unix.O_EXCL, 040)
	return uintptr(mode|unix.O_NONBLOCK|unix.O_CLOEXEC) | more
}

func sys(trap uintptr, a ...uintptr) (uintptr, unix.Errno) {
	var six [6]uintptr
	copy(six[:], a)
	r, _, errno := unix.Syscall6(trap, six[0], six[1], six[2], six[3], six[4], six[5])
	return r, errno
}
