package socket

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// configured tells by other sources whether this kernel can do something: a module that is
// loaded, or an option that is built in. known: there is such a source.
func configured(t *testing.T, module, option string) (has, known bool) {
	t.Helper()
	if _, err := os.Stat("/sys/module/" + module); err == nil {
		return true, true
	}
	packed, err := os.ReadFile("/proc/config.gz")
	if err != nil {
		return false, false
	}
	r, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), option+"=y"), !strings.Contains(string(text), option+"=m")
}

func TestTheKernelIsAskedWhatItListsAndDestroys(t *testing.T) {
	w := newWorld(t)
	var a Ability
	if err := w.ns.inside(func() (err error) { a, err = Probe(); return err }); err != nil {
		t.Fatal(err)
	}
	for module, c := range map[string]struct{ protocol, option string }{
		moduleTCP: {"TCP", "CONFIG_INET_TCP_DIAG"}, "udp_diag": {"UDP", "CONFIG_INET_UDP_DIAG"}, "raw_diag": {"RAW", "CONFIG_INET_RAW_DIAG"},
		"unix_diag": {"UNIX", "CONFIG_UNIX_DIAG"}, "netlink_diag": {"NETLINK", "CONFIG_NETLINK_DIAG"},
	} {
		has, known := configured(t, module, c.option)
		lists := slices.Contains(a.Listed, c.protocol)
		if lists == slices.Contains(a.Unlisted[module], c.protocol) || known && lists != has {
			t.Errorf("%s: listed %v, %+v; by the kernel's configuration %v (known %v)", c.protocol, lists, a, has, known)
		}
	}
	if !a.Connections() {
		t.Skip("this kernel lists no TCP")
	}
	if has, known := configured(t, "", "CONFIG_INET_DIAG_DESTROY"); known && a.Destroys != has {
		t.Errorf("destroys %v, by the kernel's configuration %v", a.Destroys, has)
	}
	// The control: what it says is what Destroy meets.
	number := inode(w.open(spec{Family: unix.AF_INET, Type: unix.SOCK_STREAM, Local: "127.0.0.1:0", Listen: true})[0])
	match := Match{Inodes: map[uint32]bool{number: true}}
	list := w.list(match)
	if _, err := Probe(); err != nil || len(w.list(match)) != 1 {
		t.Errorf("the probe destroyed what there was: %v", err)
	}
	if err := Destroy(w.held, list); (err == nil) != a.Destroys {
		t.Errorf("Destroy: %v; the probe said %v", err, a.Destroys)
	}
}

// What a kernel lacks is sorted by what would mend it.
func TestWhatIsNotListedIsToldByItsModule(t *testing.T) {
	a := able([]string{"AF_VSOCK", "PING", "RAW", "RAWv6", "TCP", "TCPv6", "UDPLITEv6", "XDP"}, map[string]bool{"TCP": true})
	if !slices.Equal(a.Listed, []string{"TCP"}) || a.Connections() || len(a.Unlisted) != 5 {
		t.Errorf("%+v", a)
	}
	for module, want := range map[string][]string{moduleTCP: {"TCPv6"}, "raw_diag": {"RAW", "RAWv6"}, "udp_diag": {"UDPLITEv6"}, "vsock_diag": {"AF_VSOCK"}, "xsk_diag": {"XDP"}} {
		if !slices.Equal(a.Unlisted[module], want) {
			t.Errorf("%s: %v, want %v", module, a.Unlisted[module], want)
		}
	}
	for protocol, says := range map[string]string{"XDP": "(modprobe xsk_diag), or compare", "UDPLITEv6": "(modprobe udp_diag)", "PING": "is not known; compare the descriptors"} {
		if text := (&Unasked{1, protocol, 1}).Error(); !strings.Contains(text, says) {
			t.Errorf("%s: no %q in %s", protocol, says, text)
		}
	}
}

// Who answers a page has each module by its name.
func TestTheGuideNamesEveryModule(t *testing.T) {
	guide, err := os.ReadFile("../../docs/responding.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds {
		if k.module == "" || !strings.Contains(string(guide), k.module) {
			t.Errorf("%v: %q is not in docs/responding.md", k.names, k.module)
		}
	}
}
