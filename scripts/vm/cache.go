//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

const modulePath = "github.com/stockade-dev/stockade"

// Cache is the folder with everything that was fetched or built. Finished
// things are only ever added by rename, so readers need no lock.
type Cache struct {
	Repo string // the repository this program belongs to
	Dir  string
}

func openCache() (*Cache, error) {
	repo, err := findRepo()
	if err != nil {
		return nil, err
	}
	dir := os.Getenv("STOCKADE_CACHE")
	if dir == "" {
		dir = filepath.Join(repo, ".cache", "vm")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	cache := &Cache{Repo: repo, Dir: dir}
	for _, name := range []string{"kernels", "roots", "runs", "logs", "apt"} {
		if err := os.MkdirAll(cache.path(name), 0o755); err != nil {
			return nil, fmt.Errorf("cache: %w: nothing done; set STOCKADE_CACHE to a folder that can be written", err)
		}
	}
	return cache, nil
}

func (c *Cache) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// findRepo looks upwards from the working folder, then from the program.
func findRepo() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	program, _ := os.Executable()
	for _, dir := range []string{start, filepath.Dir(program)} {
		for ; ; dir = filepath.Dir(dir) {
			text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
			if err == nil && bytes.HasPrefix(text, []byte("module "+modulePath+"\n")) {
				return dir, nil
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", fmt.Errorf("repository: not found above %s: nothing done; run vm inside a checkout of %s", start, modulePath)
}

// lock keeps other fetches out until the returned function is called.
func (c *Cache) lock() (func(), error) {
	file, err := os.OpenFile(c.path("lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		fmt.Fprintln(os.Stderr, "vm: cache: another fetch is under way: waiting for it")
		if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
			file.Close()
			return nil, fmt.Errorf("%s: locking failed: %w", file.Name(), err)
		}
	}
	c.removeHalves()
	return func() { file.Close() }, nil
}

// removeHalves removes what a killed fetch left behind. The lock is held.
func (c *Cache) removeHalves() {
	for _, pattern := range []string{"kernels/.new-*", "roots/.new-*", "runtimes/.new-*", "kubernetes/.new-*", "apt/*/download-*"} {
		names, _ := filepath.Glob(c.path(pattern))
		for _, name := range names {
			os.RemoveAll(name)
		}
	}
}

// install calls make with an empty folder, and renames that folder to its
// final name only when make succeeded.
func (c *Cache) install(final string, make func(dir string) error) error {
	if err := os.MkdirAll(filepath.Dir(final), 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(final), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	if err := make(dir); err != nil {
		return err
	}
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	return os.Rename(dir, final)
}

// newRun makes the folder for the files of one boot, and removes those that
// killed runners left behind.
func (c *Cache) newRun() (string, error) {
	entries, err := os.ReadDir(c.path("runs"))
	if err != nil {
		return "", err
	}
	for _, entry := range entries {
		owner, _, _ := strings.Cut(entry.Name(), "-")
		pid, err := strconv.Atoi(owner)
		if err == nil && syscall.Kill(pid, 0) == syscall.ESRCH {
			os.RemoveAll(c.path("runs", entry.Name()))
		}
	}
	c.trimLogs(50)
	return os.MkdirTemp(c.path("runs"), fmt.Sprintf("%d-", os.Getpid()))
}

func (c *Cache) trimLogs(keep int) {
	logs, _ := filepath.Glob(c.path("logs", "*.log"))
	sort.Strings(logs) // their names begin with the time
	for len(logs) > keep {
		os.Remove(logs[0])
		logs = logs[1:]
	}
}

// tool runs a program of the host in a folder and returns what it printed.
// A failure carries its messages.
func tool(dir string, env []string, name string, args ...string) ([]byte, error) {
	command := exec.Command(name, args...)
	command.Dir = dir
	command.Env = append(append(os.Environ(), "LC_ALL=C"), env...)
	var messages bytes.Buffer
	command.Stderr = &messages
	output, err := command.Output()
	if err != nil {
		text := strings.TrimSpace(messages.String())
		if text == "" {
			text = strings.TrimSpace(string(output))
		}
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(shorten(args), " "), err, text)
	}
	return output, nil
}

func shorten(args []string) []string {
	if len(args) > 6 {
		return append(append([]string{}, args[:6]...), "…")
	}
	return args
}
