package sink

import (
	"fmt"
	"maps"
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
