package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kinds are the sinks that a configuration can name: each opens one by its argument,
// in which paths count from a folder. A new kind is a file of its own and a line here.
var kinds = map[string]func(argument, folder string) (Sink, error){
	"json": func(file, folder string) (Sink, error) { return OpenFile(within(folder, file), Format{JSON: true}) },
	"text": func(file, folder string) (Sink, error) { return OpenFile(within(folder, file), Format{}) },
}

func within(folder, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(folder, file)
}

// Kinds lists the sinks that Open knows.
func Kinds() []string { return slices.Sorted(maps.Keys(kinds)) }

// CheckKind says what is wrong with the name of a kind.
func CheckKind(kind string) error {
	if kinds[kind] == nil {
		return fmt.Errorf("sink %q: unknown: nothing is changed; use one of %s", kind, strings.Join(Kinds(), ", "))
	}
	return nil
}

// Open opens a sink of a kind, with room for some events that wait for it.
func Open(kind, argument, folder string) (*Queue, error) {
	if err := CheckKind(kind); err != nil {
		return nil, err
	}
	to, err := kinds[kind](argument, folder)
	if err != nil {
		return nil, fmt.Errorf("sink %s: %w", kind, err)
	}
	return NewQueue(kind+" "+argument, to, queueRoom), nil
}

// FileOf is the file that a sink of a kind would write to, "" for none or if the kind is
// unknown.
func FileOf(kind, argument, folder string) string {
	if kind == "json" || kind == "text" {
		return within(folder, argument)
	}
	return ""
}

// SameFile reports whether two names are of one regular file, there or yet to be made: what
// isSame says of open ones, for who opens none.
func SameFile(a, b string) bool {
	info, err := os.Stat(a)
	other, err2 := os.Stat(b)
	if err == nil && err2 == nil {
		return info.Mode().IsRegular() && os.SameFile(info, other)
	}
	return errors.Is(err, fs.ErrNotExist) && errors.Is(err2, fs.ErrNotExist) && target(a, 0) == target(b, 0)
}

// target is the name of the file that would be made, behind links.
func target(name string, links int) string {
	if to, err := os.Readlink(name); err == nil && links < 40 {
		return target(within(filepath.Dir(name), to), links+1)
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(name))
	if err != nil { // nothing can be made there
		return filepath.Clean(name)
	}
	return filepath.Join(folder, filepath.Base(name))
}
