package respond

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/socket"
)

// Where unix_diag is missing, a kill of what had no such socket is verified, and it is said
// that unix sockets were not looked at, and why that does not matter; of what had one it is
// not verified.
func TestSocketsThatAreNotLookedAtAreToldPlainly(t *testing.T) {
	other := errors.New("no answer")
	for _, c := range []struct {
		protocol string
		unlisted bool // the workload had a socket that is not listed
		forgiven bool // by verify
		plainly  bool
	}{
		{"UNIX", false, true, true},
		{"UNIX-STREAM", false, true, true},
		{"UDPv6", false, true, true},
		{"UNIX", true, false, false},
		{"TCP", false, false, false}, // it may go on without a process
		{"SCTPv6", false, false, false},
		{"TCPv6", true, false, false},
	} {
		n := &network{unlisted: c.unlisted}
		u := &socket.Unasked{Namespace: 7, Protocol: c.protocol, Sockets: 5}
		all := errors.Join(errors.Join(u), other)
		if rest := leafs(all, n.others); errors.Is(rest, u) == c.forgiven || !errors.Is(rest, other) {
			t.Errorf("%+v: verify has %v", c, rest)
		}
		err := n.plainly(all)
		const want = "5 sockets of other processes were not looked at, for this kernel does not list them: what is verified does not rest on them, since each process of the workload was found to have none, and such a socket is gone with the last process that has it; modprobe "
		if strings.Contains(err.Error(), want) != c.plainly || errors.Is(err, u) == c.plainly || !errors.Is(err, other) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (&network{}).plainly(nil); err != nil {
		t.Error(err)
	}
}

// No step of a kill that is verified says that something is not known, but of TCP, where
// that is not listed.
func TestAVerifiedKillSaysWhatItDoesNotRestOn(t *testing.T) {
	r := newOffice(t).must(alice, api.Respond{Verb: api.VerbKill, NoEvidence: true})
	at := slices.IndexFunc(r.Steps, func(s api.Step) bool { return s.Name == "list sockets" })
	if at < 0 || !r.Verified {
		t.Fatalf("%+v", r)
	}
	for line := range strings.Lines(r.Steps[at].Error) {
		if strings.Contains(line, "is not known") && (strings.Contains(line, "UNIX") || strings.Contains(line, "UDP")) {
			t.Error(line)
		}
	}
}
