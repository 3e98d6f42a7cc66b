package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// queues is where the queues of this namespace show.
const queues = "/dev/mqueue"

// mountQueues sees to it that they do so for this test.
func mountQueues(t *testing.T) {
	t.Helper()
	var fs unix.Statfs_t
	if unix.Statfs(queues, &fs) == nil && fs.Type == 0x19800202 {
		return
	}
	must(t, os.MkdirAll(queues, 0o755))
	must(t, unix.Mount("none", queues, "mqueue", 0, ""))
}

// makeQueue makes one from outside, until the test's end.
func makeQueue(t *testing.T, path string) {
	t.Helper()
	f := must1(os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666))(t)
	f.Close()
	t.Cleanup(func() { os.Remove(path) })
}

// TestQueues makes, opens and unlinks POSIX message queues, whose system calls take
// names of no directory: by the place where their filesystem is mounted.
//
//	/dev/mqueue/
//	├── vN-own     create, delete, open, read, write
//	├── vN-look    open, read
//	└── vN-other   nothing
func TestQueues(t *testing.T) {
	mountQueues(t)
	l := open(t)
	b := &border{stage: bareStage(t, l)}
	b.tree("place/")
	own, other := filepath.Base(b.dir)+"-own", filepath.Base(b.dir)+"-other"
	at := func(name string) string { return queues + "/" + name }
	b.install(abi.Enforce, permit("create delete open read write", at(own)), permit("open read", at(filepath.Base(b.dir)+"-look")), permit("*", "@/place/"))
	for _, as := range [][]string{{}, {"as", "1000", "1000"}} {
		do := func(argv ...string) []string { return append(as[:len(as):len(as)], argv...) }
		by := ""
		if len(as) > 0 {
			by = " by a user"
		}
		b.run(
			trial{name: "making a queue" + by + " is denied", control: do("then", "mqopen", "rw|creat", own, "--", "mqunlink", own), probe: do("mqopen", "rw|creat", other), errno: eacces, want: on("create", at(other))},
			trial{name: "making a queue by its path" + by + " is denied", control: do("then", "open", "rw|creat", at(own), "--", "mqunlink", own), probe: do("open", "rw|creat", at(other)), errno: eacces, want: on("create", at(other))},
		)
		if _, err := os.Stat(at(other)); !os.IsNotExist(err) {
			t.Errorf("the queue was made: %v", err)
		}
	}
	makeQueue(t, at(own))
	makeQueue(t, at(other))
	b.run(
		trial{name: "opening a queue is denied", control: words("mqopen", "rw", own), probe: words("mqopen", "r", other), errno: eacces, want: on("open,read", at(other))},
		trial{name: "opening a queue by its path is denied", control: words("open", "rw", at(own)), probe: words("open", "r", at(other)), errno: eacces, want: on("open,read", at(other))},
		trial{name: "unlinking a queue is denied", control: words("mqunlink", own), probe: words("mqunlink", other), errno: eacces, want: on("delete", at(other))},
	)
	b.useQueues(own, other)
	must(t, unix.Mount(queues, b.at("@/place"), "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(b.at("@/place"), unix.MNT_DETACH) })
	b.run(
		trial{name: "unlinking a queue that shows at a permitted place, too, is denied", probe: words("mqunlink", other), errno: eacces, want: on("delete", at(other))},
		trial{name: "opening a queue that shows at two places is denied", probe: words("mqopen", "r", other), errno: eacces,
			want: denial{actions: "open,read", path: "(outside)/" + other, reason: abi.ReasonOutside, status: abi.PathOutside}},
	)
	if _, err := os.Stat(at(other)); err != nil {
		t.Errorf("the queue was unlinked: %v", err)
	}
}

// useQueues uses descriptors of queues, opened by mq_open: in no place, but not
// without a name.
func (b *border) useQueues(own, other string) {
	b.t.Helper()
	at := func(name string) string { return queues + "/" + name }
	opened := func(name string) *os.File {
		text := must1(unix.ByteSliceFromString(name))(b.t)
		fd, _, errno := unix.Syscall6(unix.SYS_MQ_OPEN, addressOf(text), unix.O_RDWR|unix.O_CLOEXEC, 0, 0, 0, 0)
		if errno != 0 {
			b.t.Fatal(errno)
		}
		return os.NewFile(fd, name)
	}
	gift := func(name string) func() *os.File { return func() *os.File { return opened(name) } }
	get := words("receive", "3", "fstatfd", "%")
	look, exclusive := filepath.Base(b.dir)+"-look", fmt.Sprint(unix.LOCK_EX)
	makeQueue(b.t, at(own))
	makeQueue(b.t, at(look))
	b.cross(
		crossing{name: "queue is not received", present: gift(own), inside: get, gift: gift(other), free: get, probe: get, errno: unix.EBADF, want: on("open,read,write", at(other))},
		crossing{name: "queue that may be read is not received for writing", gift: gift(look), free: get, probe: get, errno: unix.EBADF, want: on("write", at(look))},
		crossing{name: "exclusive lock of a queue that may be read is denied", inside: words("mqflock", "r", own, exclusive), free: words("mqflock", "r", look, exclusive),
			probe: words("mqflock", "r", look, exclusive), errno: eacces, want: on("write", at(look))},
	)
	must(b.t, b.SetStrict(b.id, true))
	files := []*os.File{opened(own), opened(other)}
	b.stage.run(trial{name: "reading a queue's file is denied where that is strict", files: files, control: words("readfd", "3"), probe: words("readfd", "4"), errno: eacces,
		want: on("read", at(other))})
	must(b.t, b.SetStrict(b.id, false))
	for _, f := range files {
		f.Close()
	}
}

// TestQueuesNowhere has no place where the workload sees queues.
func TestQueuesNowhere(t *testing.T) {
	mountQueues(t)
	b := newBorder(t, permit("*", "/dev/", "@/"))
	name := filepath.Base(b.dir) + "-kept"
	makeQueue(t, queues+"/"+name)
	must(t, unix.Unmount(queues, 0))
	t.Cleanup(func() { mountQueues(t); os.Remove(queues + "/" + name) })
	nowhere := func(actions string) denial {
		return denial{actions: actions, path: "(outside)/", reason: abi.ReasonOutside, status: abi.PathOutside}
	}
	b.run(
		trial{name: "making a queue is denied", probe: words("mqopen", "rw|creat", name+"2"), errno: eacces, want: nowhere("create")},
		trial{name: "unlinking a queue is denied", probe: words("mqunlink", name), errno: eacces, want: nowhere("delete")},
	)
	b.install(abi.Enforce, everything)
	b.run(
		trial{name: "making a queue that is permitted everywhere is allowed", probe: words("mqopen", "rw|creat", name+"2")},
		trial{name: "unlinking a queue that is permitted everywhere is allowed", probe: words("mqunlink", name+"2")},
	)
}
