package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/file"
)

// maxPast bounds what is remembered of a workload: the first, which says what it began
// with, and the last ones.
const maxPast = 8

// Book has what was done to workloads, a file for each. Those of an agent, and those of runs
// that have a set of their own, are two: one name can be in both.
type Book string

// BookOfAgent is that of an agent's workloads, in the folder of its state.
func BookOfAgent(state string) Book { return Book(Dir(state) + "/") }

// BookOfRuns is that of runs.
func BookOfRuns(state string) Book { return Book(Dir(state) + "/@") }

func (b Book) path(name string) string { return string(b) + name + ".past" }

// Past lists what was done to a workload since it was last unlocked, by an agent or without
// one, the oldest first. What cannot be read is nothing.
func (b Book) Past(name string) (list []api.Past) {
	text, err := os.ReadFile(b.path(name))
	if err != nil || json.Unmarshal(text, &list) != nil {
		return nil
	}
	return list
}

// sameCommand is within what time what one process asks for may be one command.
const sameCommand = time.Minute

// begins reports whether a note is of the beginning of a response: its own, that of a keeper
// that died over it or hung, or the lockdown of who waits for a keeper.
func begins(q, p *api.Past) bool {
	if q.Verb == p.Verb && q.Unfinished && (q.By == p.By || q.At.Equal(p.At)) {
		return true
	}
	early := q.Unattended && q.Verb == api.VerbLockdown
	hung := !q.Unattended && p.Unattended && q.Verb == p.Verb
	return (early || hung) && q.By == p.By && !q.At.After(p.At) && p.At.Sub(q.At) < sameCommand
}

// outran reports whether a response was made without its keeper while that hung over it: who
// asked was told of that one.
func outran(q, p *api.Past) bool {
	return q.Unattended && !q.Unfinished && !p.Unattended && q.Verb == p.Verb && q.By == p.By && p.At.Before(q.At)
}

// Remember adds one, in place of what is known of its beginning: one command is one note,
// whoever took part in it.
func (b Book) Remember(name string, p api.Past) error {
	list := slices.DeleteFunc(b.Past(name), func(q api.Past) bool { return begins(&q, &p) })
	if !slices.ContainsFunc(list, func(q api.Past) bool { return outran(&q, &p) }) {
		list = append(list, p)
	}
	if len(list) > maxPast {
		list = slices.Delete(list, 1, 2)
	}
	text, err := json.Marshal(list)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(string(b)+name), 0o700)
	}
	draft := fmt.Sprintf("%s.%d", b.path(name), os.Getpid()) // an agent, and who does without it
	if err == nil {
		err = file.Replace(b.path(name), draft, text, nil)
	}
	if err != nil {
		return fmt.Errorf("workload %s: %w: who stopped it is not remembered; make room in %s", name, err, filepath.Dir(draft))
	}
	return nil
}

// Forget is for a workload that was unlocked, or is over.
func (b Book) Forget(name string) error {
	if err := os.Remove(b.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("workload %s: %w: who stopped it is told on; remove it by hand", name, err)
	}
	return nil
}
