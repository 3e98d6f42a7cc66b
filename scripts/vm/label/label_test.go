//go:build linux

package label

import (
	"strings"
	"testing"
)

func TestKernelsAreCheckedByTheirLabels(t *testing.T) {
	const list = "KERNEL         RELEASE                 PACKAGE VERSION\n6.1            6.1.0-49-cloud-amd64    6.1.174-1\n" +
		"6.12           - (run: vm fetch 6.12)  \ndebian root    - (run: vm fetch debian)\n"
	for _, c := range []struct {
		kernels []string
		want    string
	}{
		{nil, ""}, {[]string{"6.1"}, ""}, {[]string{"6.12", "6.1"}, ""},
		{[]string{"6.1", "9.9"}, `kernel "9.9": not one that vm lists: nothing is run; use some of 6.1, 6.12`},
		{[]string{"6"}, `kernel "6": not one`}, {[]string{"debian"}, `kernel "debian": not one`}, {[]string{"KERNEL"}, `kernel "KERNEL": not one`},
	} {
		if err := among(c.kernels, list); (err != nil) != (c.want != "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.kernels, err, c.want)
		}
	}
}
