package reach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/cgroup"
)

// ErrNoMember is an error about a process that is in no workload, or that is none.
var ErrNoMember = errors.New("in no workload")

// noMember is ErrNoMember in other words.
type noMember string

func (n noMember) Error() string { return string(n) }
func (n noMember) Unwrap() error { return ErrNoMember }

// groupOf tells the cgroup of a process.
var groupOf = cgroup.Of

// StatusOf is Status with the workload alone that a process is in: that whose cgroup it is
// in, else that whose mark it bears. note says so if it has left the cgroups of that one.
func (h *Host) StatusOf(ctx context.Context, pid int) (s api.Status, note string, err error) {
	rel, err := groupOf(strconv.Itoa(pid))
	if errors.Is(err, os.ErrNotExist) {
		return s, "", noMember(fmt.Sprintf("process %d: there is none: nothing is shown; give the number that one has which lives, as this host's /proc shows it", pid))
	}
	if err != nil {
		return s, "", fmt.Errorf("process %d: %w", pid, err)
	}
	s, unheard := h.Status(ctx)
	if unheard != nil && len(s.Workloads) == 0 {
		return s, "", unheard
	}
	list := holding(s.Workloads, rel)
	if len(list) == 0 {
		if list, err = h.bearing(ctx, s.Workloads, pid); len(list) > 0 {
			note = fmt.Sprintf("process %d is in cgroup %q, which is none of workload %s: it has left those, and is confined by its mark as before", pid, rel, list[0].Name)
		}
	}
	s.Workloads = list
	switch {
	case len(list) > 0:
		return s, note, unheard
	case err != nil:
		return s, "", errors.Join(fmt.Errorf("process %d: it is in the cgroup of no workload; whether it bears the mark of one is not known: %w", pid, err), unheard)
	}
	return s, "", noMember(fmt.Sprintf("process %d: it is in no workload (cgroup %q): nothing that was asked here confines it; `stockade ps` lists what there is", pid, rel))
}

// holding lists those with the innermost cgroup that a process in rel is in.
func holding(all []api.Workload, rel string) (list []api.Workload) {
	inner := -1
	for _, w := range all {
		for _, group := range w.Cgroups {
			if !cgroup.Within(rel, group) || len(group) < inner {
				continue
			}
			if len(group) > inner {
				inner, list = len(group), nil
			}
			list = append(list, w)
		}
	}
	return list
}

// bearing lists those among whose processes one is that is in none of their cgroups.
func (h *Host) bearing(ctx context.Context, all []api.Workload, pid int) (list []api.Workload, err error) {
	var mu sync.Mutex
	var going sync.WaitGroup
	room := make(chan struct{}, atOnce)
	var errs []error
	for _, w := range all {
		room <- struct{}{}
		going.Go(func() {
			defer func() { <-room }()
			has, err := h.has(ctx, w.Name, pid)
			mu.Lock()
			defer mu.Unlock()
			if has {
				list = append(list, w)
			}
			if err != nil && !errors.Is(err, api.ErrNotFound) { // it is over
				errs = append(errs, fmt.Errorf("workload %s: %w", w.Name, err))
			}
		})
	}
	going.Wait()
	slices.SortFunc(list, func(a, b api.Workload) int { return strings.Compare(a.Name, b.Name) })
	return list, errors.Join(errs...)
}

// atOnce is how many workloads are looked at at the same time.
const atOnce = 8

var errPart = errors.New("not all of its processes could be looked at; try again")

// has reports whether a process is among those of a workload.
func (h *Host) has(ctx context.Context, name string, pid int) (bool, error) {
	i, err := h.Inspect(ctx, name)
	if err != nil {
		return false, err
	}
	var doc inspect.ProcessDocument
	if err := json.Unmarshal(i.Processes, &doc); err != nil {
		return false, err
	}
	if slices.ContainsFunc(doc.Processes, func(p inspect.ProcessRecord) bool { return p.PID == pid }) {
		return true, nil
	}
	if len(doc.Cut) > 0 || doc.Incomplete != "" {
		return false, errPart
	}
	return false, nil
}
