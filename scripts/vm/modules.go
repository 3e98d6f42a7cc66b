//go:build linux

package main

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// standardModules are loaded into every machine, with what they need. Each
// may be built in.
var standardModules = []string{"virtio_pci", "virtio_console", "overlay", "fuse"}

// debianModules are loaded too where the root is a disk.
var debianModules = []string{"virtio_blk"}

// moduleTree are the modules of one kernel. The packages hold no
// modules.dep, which depmod makes on installation: what a module needs is
// read from the module.
type moduleTree struct {
	dir     string
	files   map[string]string // normalised name to path, maybe with .xz
	builtin map[string]bool
}

func openModules(dir string) (*moduleTree, error) {
	tree := &moduleTree{dir: dir, files: map[string]string{}, builtin: map[string]bool{}}
	err := filepath.WalkDir(filepath.Join(dir, "kernel"), func(path string, entry fs.DirEntry, err error) error {
		if name, ok := moduleName(path); err == nil && ok {
			tree.files[name] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	for _, line := range strings.Fields(string(builtin)) {
		if name, ok := moduleName(line); ok {
			tree.builtin[name] = true
		}
	}
	return tree, nil
}

// moduleName turns a path into the name the kernel uses.
func moduleName(path string) (string, bool) {
	name, found := strings.CutSuffix(strings.TrimSuffix(filepath.Base(path), ".xz"), ".ko")
	return strings.ReplaceAll(name, "-", "_"), found
}

// findModules returns the plain .ko files of the named modules and of all
// they need, in loading order. Built-in ones are left out.
func findModules(dir string, names []string) ([]string, error) {
	tree, err := openModules(dir)
	if err != nil {
		return nil, err
	}
	var order []string
	done := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = strings.ReplaceAll(name, "-", "_")
		if done[name] || tree.builtin[name] {
			return nil
		}
		done[name] = true
		file, err := tree.plain(name)
		if err != nil {
			return err
		}
		needs, err := moduleNeeds(file)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, need := range needs {
			if err := visit(need); err != nil {
				return fmt.Errorf("module %s: %w", name, err)
			}
		}
		order = append(order, file)
		return nil
	}
	for _, name := range names {
		if err := visit(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// plain returns the uncompressed file of a module, which it makes once.
func (t *moduleTree) plain(name string) (string, error) {
	packed, found := t.files[name]
	if !found {
		return "", fmt.Errorf("module %s: not in this kernel: nothing booted; check --module against %s", name, t.dir)
	}
	if !strings.HasSuffix(packed, ".xz") {
		return packed, nil
	}
	folder := filepath.Join(t.dir, "plain")
	plain := filepath.Join(folder, name+".ko")
	if _, err := os.Stat(plain); err == nil {
		return plain, nil
	}
	content, err := tool("", nil, "xz", "--decompress", "--stdout", packed)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	file, err := os.CreateTemp(folder, ".new-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	if _, err := file.Write(content); err != nil {
		file.Close()
		return "", err
	}
	if err := file.Close(); err != nil {
		return "", err
	}
	return plain, os.Rename(file.Name(), plain)
}

// moduleNeeds reads "depends=a,b" from a module.
func moduleNeeds(file string) ([]string, error) {
	module, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer module.Close()
	section := module.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("%s: has no .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseNeeds(info), nil
}

func parseNeeds(info []byte) []string {
	for _, entry := range bytes.Split(info, []byte{0}) {
		if list, found := bytes.CutPrefix(entry, []byte("depends=")); found && len(list) > 0 {
			return strings.Split(string(list), ",")
		}
	}
	return nil
}
