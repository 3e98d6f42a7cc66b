package vmtest

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring makes an io_uring, begins two requests that nothing ends, and stays.
func ring() int {
	const (
		sysSetup, sysEnter = 425, 426
		offSQE             = 0x10000000
		opPollAdd, pollIn  = 6, 1
		n                  = 2
	)
	var p [30]uint32 // struct io_uring_params
	fd, _, errno := unix.Syscall(sysSetup, n, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return 1
	}
	mem, err := unix.Mmap(int(fd), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	entries, err := unix.Mmap(int(fd), offSQE, n*64, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	var pipe [2]int
	must(unix.Pipe(pipe[:]))
	tail, array := p[11], p[16]
	for i := range n {
		entry := entries[i*64:]
		entry[0] = opPollAdd
		binary.NativeEndian.PutUint32(entry[4:], uint32(pipe[0]))
		binary.NativeEndian.PutUint32(entry[28:], pollIn)
		binary.NativeEndian.PutUint32(mem[array+uint32(i)*4:], uint32(i))
	}
	binary.NativeEndian.PutUint32(mem[tail:], n)
	if took, _, errno := unix.Syscall6(sysEnter, fd, n, 0, 0, 0, 0); errno != 0 || took != n {
		return 2
	}
	must(os.WriteFile("/tmp/out/ring", nil, 0o600))
	time.Sleep(time.Hour)
	return 0
}

// ringed: who had begun requests by io_uring is told, beside what is verified.
func ringed(t *testing.T) {
	put(agentFile, permitting("a", "both")+runPolicy+`permit (principal, action, resource);`)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	os.Remove("/tmp/out/ring")
	t.Cleanup(func() {
		put(agentFile, permitting("a", "both")+runPolicy)
		stockade(t, "unlock", "agents")
		stockade(t, "reload")
	})
	begins(t, agentGroup, "exec "+os.Args[0]+" ring")
	await(t, "requests to be begun", func() bool { _, err := os.Stat("/tmp/out/ring"); return err == nil })
	x := stockade(t, "kill", "agents", "--no-evidence")
	if x.code != 0 || !strings.Contains(x.stdout, "had an io_uring, descriptor ") || !strings.Contains(x.stdout, " with 2 requests begun") {
		t.Errorf("exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
	stockade(t, "unlock", "agents")
	begins(t, agentGroup, "exec sleep 60") // the control
	if x = stockade(t, "kill", "agents", "--no-evidence"); x.code != 0 || strings.Contains(x.stdout, "io_uring") {
		t.Errorf("one without a ring: exit %d: %s%s", x.code, x.stdout, x.stderr)
	}
}
