package socket

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/thread"
)

func TestInodesAreThoseOfEverySocketOfAProcess(t *testing.T) {
	w := newWorld(t)
	g, _ := group(t)
	p := w.start(g, spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true, Count: 50},
		spec{Family: unix.AF_UNIX, Type: unix.SOCK_DGRAM, Count: 50})
	all, err := Inodes([]int{p.cmd.Process.Pid})
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range p.Inodes {
		if !all[number] {
			t.Errorf("inode %d is missing", number)
		}
	}
	if list := w.list(Match{Inodes: all}); len(list) != 100 {
		t.Errorf("%d listed by inode; want 100", len(list))
	}
	both, err := Inodes([]int{os.Getpid(), p.cmd.Process.Pid, 1 << 30}) // by several at once
	for number := range all {
		if err != nil || !both[number] {
			t.Errorf("inode %d is missing among those of several: %v", number, err)
		}
	}
	p.kill()
	if gone, err := Inodes([]int{p.cmd.Process.Pid}); err != nil || len(gone) != 0 {
		t.Errorf("of a process that is gone: %v, %v", gone, err)
	}
}

func TestInodesOfAThreadWithItsOwnDescriptorsAreFound(t *testing.T) {
	made, done := make(chan uint32), make(chan bool)
	thread.Start(func() {
		err := unix.Unshare(unix.CLONE_FILES)
		fd, failed := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err := errors.Join(err, failed); err != nil {
			t.Error(err)
		}
		made <- inode(fd)
		<-done
	})
	number := <-made
	defer close(done)
	all, err := Inodes([]int{os.Getpid()})
	if err != nil || !all[number] {
		t.Errorf("inode %d of a thread is missing in %v, %v", number, all, err)
	}
}

func TestMoreDescriptorsThanTheLimitAreTold(t *testing.T) {
	left, seen := 2, 0
	err := eachLink("/proc/self/fd", &left, func(string, string) { seen++ })
	if !errors.Is(err, errDescriptors) || seen > 2 {
		t.Errorf("%d seen, %v; want two, and an error", seen, err)
	}
}

func TestManyErrorsAreToldInBounds(t *testing.T) {
	var failed trouble
	if failed.err() != nil {
		t.Error("an error of nothing")
	}
	for range told + 5 {
		failed.add(errors.New("it happened"))
	}
	text := failed.err().Error()
	if strings.Count(text, "it happened") != told || !strings.Contains(text, "5 more") {
		t.Errorf("told: %s", text)
	}
}
