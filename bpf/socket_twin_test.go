package bpf

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// TestSocketKindsAreTwins compares the kinds by name with those of the C side.
func TestSocketKindsAreTwins(t *testing.T) {
	src, err := os.ReadFile("kern/abi.h")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)enum socket_kind \{(.*?)\}`).FindSubmatch(src)
	if m == nil {
		t.Fatal("no enum socket_kind in kern/abi.h")
	}
	names := regexp.MustCompile(`SOCKET_[A-Z0-9_]+`).FindAllString(string(m[1]), -1)
	if n := int(abi.SocketUDPEncap) + 2; len(names) != n { // and SOCKET_NETLINK
		t.Fatalf("%d kinds in C, %d in Go", len(names), n)
	}
	if last := "SOCKET_NETLINK = 32"; !strings.Contains(string(m[1]), last) || abi.SocketNetlink != 32 {
		t.Errorf("the kinds of netlink begin elsewhere than at %s", last)
	}
	for i, name := range names[:len(names)-1] {
		want := "SOCKET_" + strings.ToUpper(strings.ReplaceAll(abi.Socket(i).String(), "-", "_"))
		if name != want {
			t.Errorf("kind %d is %s in C, %s in Go", i, name, want)
		}
		if _, granted := abi.ParseSocket(abi.Socket(i).String()); granted != (i > int(abi.SocketOther)) {
			t.Errorf("kind %d, %s: granted by its name: %v", i, name, granted)
		}
	}
}
