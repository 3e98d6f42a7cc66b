package host

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/stockade-dev/stockade/agent/file"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// draft is what a file is called until it is whole.
const draft = ".new"

// RemoveFile removes what ReplaceFile wrote, and what is left of one that was killed there.
func RemoveFile(path string) error {
	for _, name := range []string{path + draft, path} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// ReplaceFile writes what something is in JSON: whole, or not at all.
func ReplaceFile(path string, what any) error {
	text, err := json.Marshal(what)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		err = fault.At("agent.memory-write")
	}
	if err == nil {
		err = file.Replace(path, path+draft, text, func(*os.File) error { return fault.At("agent.memory-rename") })
	}
	return err
}
