package engine

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/dial"
)

// executable says whether a program lies there.
func (w *work) executable(path string) bool {
	info, err := w.stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// isWrapper says whether a program is the wrapper, whatever its name.
func (w *work) isWrapper(path string) bool {
	if path == w.Wrapper || filepath.Base(path) == filepath.Base(DefaultWrapper) {
		return true
	}
	one, err := w.stat(path)
	if err != nil {
		return false
	}
	other, err := w.stat(w.Wrapper)
	return err == nil && os.SameFile(one, other)
}

// find is the first program among names, which are paths or are searched for; "" if there is
// none.
func (w *work) find(names ...string) string {
	is := func(path string) bool { return w.executable(path) && !w.isWrapper(path) }
	for _, n := range names {
		if filepath.IsAbs(n) {
			if is(n) {
				return n
			}
		} else if path := container.FindRuntime(is, n); path != "" {
			return path
		}
	}
	return ""
}

// real is the real runtime: the one that was asked for, else the engine's own.
func (w *work) real(engines string) (string, error) {
	if w.Runtime != "" {
		switch {
		case !w.executable(w.Runtime):
			return "", fmt.Errorf("runtime %s: no program there: %s; name runc or crun with --runtime", w.Runtime, unchanged)
		case w.isWrapper(w.Runtime):
			return "", fmt.Errorf("runtime %s: the wrapper itself: it would start itself for ever: %s; name runc or crun with --runtime", w.Runtime, unchanged)
		}
		return w.Runtime, nil
	}
	if engines != "" && !w.isWrapper(engines) {
		if path := w.find(engines); path != "" {
			return path, nil
		}
		return "", fmt.Errorf("runtime %s: %s is configured to use it, and no program is there: %s; install it, or name another with --runtime", engines, w.Engine, unchanged)
	}
	if path := w.find(container.Runtimes...); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("runtime: neither runc nor crun in %s: %s; install one, or name it with --runtime", strings.Join(container.Programs, ":"), unchanged)
}

// wrapperConfig plans the wrapper's file: what is there stays, unless it is asked for
// otherwise or names no program.
func (w *work) wrapperConfig(engines string) error {
	text, err := w.read(container.SettingsFile)
	if err != nil {
		return err
	}
	var now container.Settings
	doc := text
	if len(bytes.TrimSpace(doc)) == 0 {
		doc = []byte("{}\n")
	}
	tree, err := parseJSON(container.SettingsFile, doc)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(doc, &now); err != nil {
		return fmt.Errorf("%s: %w: %s; mend it, or remove the file", container.SettingsFile, err, unchanged)
	}
	runtime, socket := now.Runtime, now.Socket
	if w.Runtime != "" || w.find(now.Runtime) == "" || !filepath.IsAbs(now.Runtime) {
		if runtime, err = w.real(engines); err != nil {
			return err
		}
	}
	if w.Socket != "" {
		socket = w.Socket
	} else if socket == "" {
		socket = dial.DefaultSocket
	}
	for _, f := range []struct{ key, is, want string }{{"runtime", now.Runtime, runtime}, {"socket", now.Socket, socket}, {"wait", now.Wait, cmp.Or(now.Wait, container.DefaultWait)}} {
		if f.is == f.want {
			continue
		}
		doc = tree.set(doc, quote(f.want), f.key)
		if tree, err = parseJSON(container.SettingsFile, doc); err != nil {
			return err
		}
	}
	if bytes.Equal(doc, text) {
		w.note("%s: names %s already", container.SettingsFile, runtime)
	}
	w.change(container.SettingsFile, text, doc, false, "names the real runtime, "+runtime)
	return nil
}

// realNow is the real runtime as it is planned.
func (w *work) realNow() (string, error) {
	text, err := w.after(container.SettingsFile)
	if err != nil {
		return "", err
	}
	var is container.Settings
	if err := json.Unmarshal(text, &is); err != nil {
		return "", fmt.Errorf("%s: %w: %s; mend it, or remove the file", container.SettingsFile, err, unchanged)
	}
	return is.Runtime, nil
}

// users are the files that may name the wrapper.
var users = []string{
	"/etc/docker/daemon.json",
	"/etc/containerd/config.toml", "/etc/containerd/conf.d/*.toml",
	"/etc/containers/containers.conf", "/etc/containers/containers.conf.d/*.conf",
	"/etc/crio/crio.conf", "/etc/crio/crio.conf.d/*",
	"/var/lib/rancher/*/agent/etc/containerd/*.toml*", "/var/lib/rancher/*/agent/etc/containerd/*.toml.d/*.toml",
	"/var/snap/microk8s/current/args/containerd*.toml",
}

// removeWrapperConfig plans that the wrapper's file, and the copy, go with the last entry.
func (w *work) removeWrapperConfig() error {
	text, err := w.read(container.SettingsFile)
	if err != nil || text == nil && w.CopyTo == "" {
		return err
	}
	root := w.at("/")
	for _, pattern := range users {
		found, err := filepath.Glob(w.at(pattern))
		if err != nil {
			return err
		}
		for _, file := range found {
			if info, err := os.Stat(file); strings.HasSuffix(file, suffix) || err == nil && info.IsDir() {
				continue
			}
			path := filepath.Join("/", strings.TrimPrefix(file, root))
			after, err := w.after(path)
			if err != nil {
				return err
			}
			if bytes.Contains(after, []byte(w.Wrapper)) {
				w.note("%s: stays: %s uses the wrapper", cmp.Or(w.CopyTo, container.SettingsFile), path)
				return nil
			}
		}
	}
	w.change(container.SettingsFile, text, nil, false, "removed: no engine uses the wrapper")
	if w.CopyTo != "" {
		return w.removeCopy()
	}
	return nil
}
