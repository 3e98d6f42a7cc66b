package vmtest

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the calls of who is not confined take: the other part of TestBenchOpen.

// benchProgram ends at once.
const benchProgram = "/b/program"

// benchCall is one of them, made a number of times a round. The file that it may use
// is open for reading and writing.
type benchCall struct {
	name  string
	calls int64
	call  func(fd uintptr)
}

var benchCalls = []benchCall{
	{"open, no such file", benchOpens, func(uintptr) {
		fd, _, errno := unix.RawSyscall(unix.SYS_OPEN, uintptr(unsafe.Pointer(&benchNone[0])), unix.O_RDONLY, 0)
		benchWant(errno == unix.ENOENT, "open", fd, errno)
	}},
	{"stat", benchOpens, func(uintptr) {
		var st unix.Stat_t
		_, _, errno := unix.RawSyscall(unix.SYS_STAT, uintptr(unsafe.Pointer(&benchDir[0])), uintptr(unsafe.Pointer(&st)), 0)
		benchWant(errno == 0, "stat", 0, errno)
	}},
	{"read", benchOpens, func(fd uintptr) {
		var b [1]byte
		n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, fd, uintptr(unsafe.Pointer(&b[0])), 1, 0, 0, 0)
		benchWant(n == 1, "read", n, errno)
	}},
	{"write", benchOpens, func(fd uintptr) {
		b := [1]byte{'x'}
		n, _, errno := unix.RawSyscall6(unix.SYS_PWRITE64, fd, uintptr(unsafe.Pointer(&b[0])), 1, 0, 0, 0)
		benchWant(n == 1, "write", n, errno)
	}},
	{"fork, exec, exit", benchOpens / 10, func(uintptr) {
		pid, err := syscall.ForkExec(benchProgram, []string{benchProgram}, nil)
		if err == nil {
			_, err = syscall.Wait4(pid, nil, 0, nil)
		}
		benchWant(err == nil, "exec", uintptr(pid), err)
	}},
}

var benchNone, benchDir = []byte("/b/none\x00"), []byte("/b/0\x00")

func benchWant(ok bool, call string, got uintptr, err error) {
	if !ok {
		fmt.Println(call, got, err)
		os.Exit(3)
	}
}

// printCallTimes prints what each call took, by its place in benchCalls.
func printCallTimes() {
	fd, err := unix.Open("/b/calls", unix.O_RDWR|unix.O_CREAT, 0o644)
	benchWant(err == nil, "open", uintptr(fd), err)
	_, err = unix.Pwrite(fd, []byte("x"), 0)
	benchWant(err == nil, "write", 1, err)
	for i, c := range benchCalls {
		fmt.Println(i, least(c.calls, func() { c.call(uintptr(fd)) }))
	}
}

// printCalls prints a line a call: instructions without a program, and how many more
// with empty ones and for who is not confined.
func printCalls(results map[string][]int64) {
	fmt.Println("bench: calls of who is not confined: no LSM program, empty programs, Stockade")
	for i, c := range benchCalls {
		none, empty, ours := results["no LSM program"][i], results["empty programs"][i], results["unconfined"][i]
		fmt.Printf("bench: %-22s %7d (+%d) (+%d)\n", c.name, none, empty-none, ours-none)
	}
}
