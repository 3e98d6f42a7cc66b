package host

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/stockade-dev/stockade/bpf/fault"
)

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
		err = os.WriteFile(path+".new", text, 0o600)
	}
	if err == nil {
		err = fault.At("agent.memory-rename")
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	return err
}
