//go:build faults

package fault

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// order is one fault that was ordered.
type order struct {
	point, name, action string // as ordered, and without the count

	left int // how often the point is still passed before it happens
}

var (
	mu     sync.Mutex
	text   string // what the orders were made from
	orders []*order
)

// At lets happen what was ordered for a point, and says so.
func At(name string) error {
	point, action := due(name)
	if action == "" {
		return nil
	}
	fmt.Fprintf(os.Stderr, "fault: %s: %s\n", point, action)
	switch kind, value, _ := strings.Cut(action, ":"); kind {
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "delay":
		d, err := time.ParseDuration(value)
		if err != nil {
			panic(err)
		}
		time.Sleep(d)
	case "error":
		return fmt.Errorf("fault %s", name)
	default:
		panic("fault: " + action + ": unknown")
	}
	return nil
}

// Leaves reports whether a test leaves a BPF program out, so that a start takes
// seconds under emulation: STOCKADE_FAULT_PROGRAMS lists those to load.
func Leaves(program string) bool {
	list := os.Getenv("STOCKADE_FAULT_PROGRAMS")
	return list != "" && !slices.Contains(strings.Split(list, ","), program)
}

// due returns what is to happen now, "" for nothing, and as what it was ordered.
func due(name string) (point, action string) {
	mu.Lock()
	defer mu.Unlock()
	read()
	for _, o := range orders {
		if o.name != name || o.left == 0 {
			continue
		}
		if o.left--; o.left == 0 {
			point, action = o.point, o.action
		}
	}
	return point, action
}

// read makes the orders, anew when they changed. What follows a # tells equal
// orders apart.
func read() {
	now := os.Getenv("STOCKADE_FAULT")
	if file, ok := strings.CutPrefix(now, "@"); ok {
		content, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			panic(err)
		}
		now = string(content)
	}
	if now == text {
		return
	}
	text, orders = now, nil
	list, _, _ := strings.Cut(strings.TrimSpace(now), "#")
	for one := range strings.SplitSeq(list, ",") {
		if one == "" {
			continue
		}
		point, action, _ := strings.Cut(one, "=")
		name, count, found := strings.Cut(point, ":")
		n := 1
		if found {
			var err error
			if n, err = strconv.Atoi(count); err != nil {
				panic(err)
			}
		}
		known := false
		for _, p := range Points {
			known = known || p.Name == name
		}
		if !known {
			panic("fault: " + name + ": no such point")
		}
		orders = append(orders, &order{point: point, name: name, action: action, left: n})
	}
}
