package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/agent"
)

// was says since when it was so, and by whom, of what is asked for again.
func was(r *agent.Response) string {
	switch {
	case r.Already == nil:
		return ""
	case r.Verb == agent.VerbFreeze:
		return fmt.Sprintf("  it was frozen before: %s: that stays\n", r.Already)
	}
	return fmt.Sprintf("  it was locked down before: %s: that stays\n", r.Already)
}

// steps lists what was done; the lines of an error are beneath its step, once.
func steps(list []agent.Step) string {
	text, told := "", map[string]bool{}
	for _, s := range list {
		text += fmt.Sprintf("  %s  %8.3f s  %s", s.At.Format("15:04:05.000"), s.Seconds, s.Name)
		fresh, again := s.News(told)
		switch {
		case len(fresh) > 0:
			text += ", with an error:"
		case again:
			text += ", with an error that is told above"
		}
		text += "\n"
		for _, line := range fresh {
			text += "      " + plainLine(line) + "\n"
		}
		if again && len(fresh) > 0 {
			text += "      and what is told above\n"
		}
	}
	return text
}

// plainLine is a line as it is, unless a terminal might act on it.
func plainLine(line string) string {
	if quoted := strconv.Quote(line); strings.Contains(strings.NewReplacer(`\\`, "", `\"`, "").Replace(quoted), `\`) {
		return quoted
	}
	return line
}

// stays says until when a workload is locked down, and what unlocks it: a lock is undone by
// what it was made with.
func stays(r *agent.Response, by *agent.Lock) string {
	var list []string
	add := func(what string) {
		if what = fmt.Sprintf("`stockade unlock %s`", what); len(list) == 0 || list[0] != what {
			list = append(list, what)
		}
	}
	if by != nil {
		add(by.Selection.String())
	}
	for i := range r.Locks {
		add(r.Locks[i].Selection.String())
	}
	locked := len(list) > 0
	if !locked {
		add(r.Workload)
	}
	until := strings.Join(list, " and ")
	switch over := r.Verb == agent.VerbKill && r.Run && r.Verified; {
	case r.Verb == agent.VerbThaw && r.Verified:
		return fmt.Sprintf("  where it is locked down, it stays so until %s\n", until)
	case !r.LockedDown():
		return ""
	case over && locked:
		return fmt.Sprintf("  its run is over; nothing like it starts until %s\n", until)
	case over:
		return "  its run is over, and needs no unlock\n"
	}
	return fmt.Sprintf("  it stays locked down until %s\n", until)
}
