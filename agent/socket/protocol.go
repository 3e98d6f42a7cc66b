package socket

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"

	"github.com/stockade-dev/stockade/thread"
)

// unlisted tells, by the counts that the kernel keeps of each protocol in a namespace, of
// those with sockets that are not in listed: each is an *Unasked. A protocol that the kernel
// does not know has no count.
func (n *namespace) unlisted(listed map[string]bool) error {
	counts, err := n.counts()
	if err != nil {
		return err
	}
	var failed trouble
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] > 0 && !listed[name] {
			failed.add(&Unasked{n.inode, name, counts[name]})
		}
	}
	return failed.err()
}

// counts has the number of sockets of each protocol that the kernel knows.
func (n *namespace) counts() (map[string]int, error) {
	var text []byte
	err := n.inside(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/protocols")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("network namespace %d: /proc/net/protocols: %w: which sockets were not asked for is not known; mount /proc", n.inode, err)
	}
	return protocols(string(text)), nil
}

// protocols reads the first and the third column of /proc/net/protocols: name and number
// of sockets, which is below 0 where nobody counts. Names may have spaces.
func protocols(text string) map[string]int {
	all := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		for i := 1; i+1 < len(fields); i++ {
			_, notSize := strconv.Atoi(fields[i])
			sockets, notCount := strconv.Atoi(fields[i+1])
			if notSize == nil && notCount == nil {
				all[strings.Join(fields[:i], " ")] += sockets
				break
			}
		}
	}
	return all
}

// inside does something on a thread that is in the namespace.
func (n *namespace) inside(do func() error) error {
	return thread.Do(func() error {
		if err := netns.Set(netns.NsHandle(n.file.Fd())); err != nil {
			return err
		}
		return do()
	})
}
