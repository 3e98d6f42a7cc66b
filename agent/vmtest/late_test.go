package vmtest

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// crowded: a file that is there may be opened to be made where making is a tripwire, also
// while more calls wait for their end than have room; a new one locks down then, too.
//
//	/mnt/late/s1 … s70    file systems that never answer: opening to make there is denied
//	/mnt/late/ovl/old     an overlay, which forgets names: making there is a tripwire
func crowded(t *testing.T) {
	const dir, calls = "/mnt/late", 70
	must(os.MkdirAll(dir, 0o755))
	must(unix.Mount("late", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { must(unix.Unmount(dir, unix.MNT_DETACH)) })
	for _, name := range []string{"lower", "upper", "work", "ovl"} {
		must(os.Mkdir(dir+"/"+name, 0o777))
	}
	put(dir+"/lower/old", "old\n")
	must(os.Mkdir(dir+"/splain", 0o777))
	must(os.Symlink(dir+"/splain/new", dir+"/lower/link"))
	must(unix.Mount("ovl", dir+"/ovl", "overlay", 0, fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", dir, dir, dir)))
	put(agentFile, permitting("a", "both")+runPolicy+`permit (principal, action, resource);
forbid (principal, action == file_system::Action::"create", resource) when { resource.path like "`+dir+`/s*" };
@id("wire") @respond("kill") forbid (principal, action == file_system::Action::"create", resource in file_system::Dir::"`+dir+`/ovl");`)
	if r := stockade(t, "reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	mode := func() string {
		i, s := workloadNamed(t, "agents")
		return s.Workloads[i].Mode
	}
	open := func(name string) string {
		must(os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0))
		out, _ := in(agentGroup, "exec 3<>"+dir+"/ovl/"+name+" && echo opened")
		return string(out)
	}
	if out := open("old"); !strings.Contains(out, "opened") || mode() != "enforce" { // the control
		t.Fatalf("%s: %s", mode(), out)
	}
	var list []*silent
	for i := range calls {
		list = append(list, mountSilent(t, fmt.Sprintf("%s/s%d", dir, i)))
	}
	abort := func() {
		for _, fs := range list {
			_ = unix.Unmount(fs.dir, unix.MNT_FORCE|unix.MNT_DETACH)
		}
		list = nil
	}
	t.Cleanup(abort)
	begins(t, agentGroup, fmt.Sprintf("for i in {0..%d}; do (exec 3<>%s/s$i/x) & done; wait", calls-1, dir))
	await(t, "all calls to wait", func() bool {
		for _, fs := range list {
			if fs.asked.Load() == 0 {
				return false
			}
		}
		return true
	})
	if out := open("old"); !strings.Contains(out, "opened") || mode() != "enforce" {
		t.Errorf("a file that is there, while %d calls wait: %s: %s", calls, mode(), out)
	}
	if out := open("link"); strings.Contains(out, "opened") || mode() != "enforce" {
		t.Errorf("what fails by another rule, while %d calls wait: %s: %s", calls, mode(), out)
	}
	if out := open("new"); strings.Contains(out, "opened") || mode() != "lockdown" {
		t.Errorf("a new file, while %d calls wait: %s: %s", calls, mode(), out)
	}
	abort()
	r := respond(t, 0, "kill", "agents", "--no-evidence")
	if text, err := os.ReadFile(agentLog); err != nil || !strings.Contains(string(text), `"unsure":true`) {
		t.Errorf("no denial in the log is unsure (%v); %+v", err, r)
	}
	put(agentFile, permitting("a", "both")+runPolicy)
	stockade(t, "unlock", "agents")
	stockade(t, "reload")
}
