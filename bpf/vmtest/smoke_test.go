package vmtest

import (
	"errors"
	"github.com/cilium/ebpf"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

func TestSmoke(t *testing.T) {
	t0 := time.Now()
	e, err := bpf.Load(bpf.Options{PinDir: "/sys/fs/bpf/stockade/smoke"})
	if err != nil {
		var ve *ebpf.VerifierError
		if errors.As(err, &ve) {
			for _, l := range ve.Log[max(0, len(ve.Log)-40):] {
				fmt.Println(l)
			}
		}
		t.Fatalf("%+v", err)
	}
	t.Log("load", time.Since(t0), e.Hooks())
	defer e.Close()
	all := uint32(abi.EnforcedActions)
	set := &rule.Set{Rules: []rule.Rule{
		{Actions: all, Cond: rule.Const(true)},
		{Actions: all, Effect: rule.Forbid, Cond: rule.PathBelow{Path: "/secret"}},
	}}
	tab, err := table.Build(set, abi.EnforcedActions)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.RegisterRoot(1); err != nil {
		t.Fatal(err)
	}
	gen, err := e.Install(1, tab.Words(), abi.Enforce)
	if err != nil {
		t.Fatal(err)
	}
	t.Log("gen", gen)
	os.Mkdir("/secret", 0o755)
	os.WriteFile("/secret/key", []byte("hush"), 0o644)
	os.WriteFile("/plain", []byte("plain\n"), 0o644)
	os.Mkdir("/sys/fs/cgroup/smoke", 0o755)
	var st syscall.Stat_t
	syscall.Stat("/sys/fs/cgroup/smoke", &st)
	if err := e.Confine(st.Ino, 1); err != nil {
		t.Fatal(err)
	}
	fd, _ := syscall.Open("/sys/fs/cgroup/smoke", syscall.O_RDONLY|syscall.O_DIRECTORY, 0)
	ev, err := e.Events()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "cat /plain; cat /secret/key; mv /secret/key /k; ln /secret/key /k; echo x > /secret/n; chmod 777 /secret/key; (cd /secret; cat key); cp /bin/busybox /secret/bb; mount -t tmpfs x /mnt; cat /plain")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: fd}
	out, err := cmd.CombinedOutput()
	t.Logf("%s %v", out, err)
	ev.Flush()
	for {
		x, err := ev.Read()
		if err != nil {
			t.Log(err)
			break
		}
		t.Logf("%+v", x)
	}
	c, _ := e.Counters(1)
	fmt.Println(c)
}
