package vmtest

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

// TestNewerCalls changes what is mounted by calls that the small set takes for newer
// than itself: the mount API. Policy permits everything.
//
//	@
//	├── at/      for what known calls mount
//	├── own/     tmpfs
//	└── to/
func TestNewerCalls(t *testing.T) {
	b := &border{stage: stageOn(t, openSmall(t), everything)}
	b.tree("at/", "own/", "to/")
	b.mounted("tmpfs", "@/own")
	t.Cleanup(func() { unix.Unmount(b.at("@/at"), unix.MNT_DETACH); unix.Unmount(b.at("@/to"), unix.MNT_DETACH) })
	b.cross(
		crossing{name: "mount by a known call is allowed", probe: words("mount", "tmpfs", "@/at")},
		crossing{name: "umount by a known call is allowed", probe: words("umount", "@/at")},
	)
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"cloning a mount by a newer call is denied", words("attach", "@/own", "@/to")},
		{"context of a file system by a newer call is denied", words("newfs", "tmpfs")},
		{"context of a file system in a user namespace by a newer call is denied", words("inuser", "newns", "newfs", "tmpfs")},
		{"mount attributes by a newer call are denied", words("setattr", "@/own")},
	} {
		b.step(c.name, isDenied, func() {
			if a := b.loose(0, nil, c.argv); a.code != probes.Allowed {
				b.t.Errorf("unconfined task: %v", a)
			}
			unix.Unmount(b.at("@/to"), 0)
			before := must1(b.Counters(b.id))(b.t)
			if a := b.launch(eperm, nil, c.argv); a.startErr != nil || a.code != probes.Denied {
				b.t.Errorf("%v", a)
			}
			b.quiet("withheld capability")
			if after := must1(b.Counters(b.id))(b.t); after.Withheld == before.Withheld {
				b.t.Errorf("nothing was withheld: %+v", after)
			}
		})
	}
}
