package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/dial"
)

// settings say what the wrapper stands before.
type settings struct {
	container.Settings
	wait time.Duration
}

func readSettings(name string) (*settings, error) {
	s := &settings{Settings: container.Settings{Socket: dial.DefaultSocket, Wait: container.DefaultWait}}
	text, err := readOwn(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("settings: %w: nothing was done; correct it", err)
	default:
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&s.Settings); err != nil {
			return nil, fmt.Errorf("settings: %s: %w: nothing was done; correct it", name, err)
		}
	}
	if s.wait, err = time.ParseDuration(s.Wait); err != nil || s.wait < 0 {
		return nil, fmt.Errorf("settings: %s: wait %q: no time: nothing was done; write for example 60s", name, s.Wait)
	}
	if s.Runtime == "" {
		s.Runtime = container.FindRuntime(executable, container.Runtimes...)
	}
	return s, own(name, s.Runtime)
}

// readOwn reads a file that only root can have written.
func readOwn(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("%s: others than root may write it", name)
	}
	return io.ReadAll(io.LimitReader(file, 1<<20))
}

// executable says whether a program lies there.
func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// own refuses a runtime that is none, or this program.
func own(name, runtime string) error {
	if !filepath.IsAbs(runtime) {
		return fmt.Errorf("settings: %s: runtime %q: not a whole path: nothing was done; name runc or crun there", name, runtime)
	}
	it, err := os.Stat(runtime)
	if err != nil {
		return fmt.Errorf("settings: %s: runtime: %w: nothing was done; correct it", name, err)
	}
	if self, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(self, it) {
		return fmt.Errorf("settings: %s: runtime %s: this program itself: nothing was done; name runc or crun there", name, runtime)
	}
	return nil
}
