package abi

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestParseCapability(t *testing.T) {
	for _, name := range []string{"SYS_NICE", "CAP_SYS_NICE", "cap_sys_nice", "sys_nice"} {
		if bit, err := ParseCapability(name); err != nil || bit != 1<<23 {
			t.Errorf("%s: %#x, %v", name, bit, err)
		}
	}
	for name, want := range map[string]string{
		"": "no capability", "CAP_": "no capability", "NICE": "no capability", "SYS_ADMIN": "never granted", "CAP_BPF": "never granted",
	} {
		if bit, err := ParseCapability(name); err == nil || bit != 0 || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %#x, %v", name, bit, err)
		}
	}
	for _, name := range CapabilityNames() {
		if _, err := ParseCapability(name); err != nil || slices.Contains(always, name) {
			t.Errorf("%s is named as one to grant: %v", name, err)
		}
	}
	if bit, _ := ParseCapability("SYS_TIME"); bit != SysTime {
		t.Errorf("SYS_TIME: %#x", bit)
	}
	if n := len(capabilities); n != 41 || CapabilityName(40) != "CHECKPOINT_RESTORE" || CapabilityName(41) != "41" {
		t.Errorf("%d capabilities", n)
	}
}

// The masks of the kernel side are those of this one, and numbers follow names.
func TestCapabilitiesAreTwins(t *testing.T) {
	header, err := os.ReadFile("../kern/capability.h")
	if err != nil {
		t.Fatal(err)
	}
	numbers, err := os.ReadFile("../kern/numbers.h")
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range capabilities {
		if !regexp.MustCompile(`(?m)^#define CAP_` + name + ` ` + strconv.Itoa(i) + `$`).Match(numbers) {
			t.Errorf("%s is not %d in kern/numbers.h", name, i)
		}
	}
	for mask, want := range map[string][]string{"CAPS_NEVER": never, "CAPS_ALWAYS": always} {
		text := regexp.MustCompile(`(?s)#define ` + mask + `\s.*?\)\n\n`).FindString(string(header))
		var got []string
		for _, m := range regexp.MustCompile(`CAP\((\w+)\)`).FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		if len(got) != len(want) || maskOf(got) != maskOf(want) {
			t.Errorf("%s: %v in C, %v in Go", mask, got, want)
		}
	}
}

func TestKindsOfSocketsAreReadInAnyCase(t *testing.T) {
	for name, want := range map[string]Socket{"raw": SocketRaw, "RAW": SocketRaw, "Packet": SocketPacket, "Netlink-Audit": SocketNetlink + 9} {
		if kind, ok := ParseSocket(name); !ok || kind != want {
			t.Errorf("%s: %v, %v", name, kind, ok)
		}
	}
	for _, name := range SocketNames() {
		if strings.ToLower(name) != name {
			t.Errorf("%s: no name in small letters, and so never found", name)
		}
	}
}
