package agent

import (
	"slices"
	"testing"
)

func TestLookupUser(t *testing.T) {
	for text, want := range map[string][2]uint32{"root": {0, 0}, "0": {0, 0}, "root:7": {0, 7}, "4000000:7": {4000000, 7}, "0:root": {0, 0}} {
		a, err := lookupUser(text)
		if err != nil || a.credential.Uid != want[0] || a.credential.Gid != want[1] {
			t.Errorf("%q: %+v, %v; want %v", text, a, err, want)
		}
	}
	for _, text := range []string{"", ":", "no-such-user", "no-such-user:0", "4000000", "root:no-such-group", "-1:0", "99999999999:0"} {
		if a, err := lookupUser(text); err == nil {
			t.Errorf("%q is accepted: %+v", text, a.credential)
		}
	}
}

func TestEnvironReplacesTheUser(t *testing.T) {
	a := &account{home: "/home/a", name: "a"}
	got := a.environ([]string{"HOME=/root", "PATH=/bin", "USER=root", "HOMEX=1", "LOGNAME=root"})
	if want := []string{"PATH=/bin", "HOMEX=1", "HOME=/home/a", "USER=a", "LOGNAME=a"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
