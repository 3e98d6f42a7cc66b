//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// userlandSuites is where busybox and the debian root come from. Its
// programs run on all the kernels.
var userlandSuites = []string{"trixie"}

func busyboxDir(cache *Cache) string { return cache.path("roots", "busybox") }

// fetchBusybox gets a static busybox and the list of its applets.
func fetchBusybox(cache *Cache) error {
	if _, err := os.Stat(busyboxDir(cache)); err == nil {
		return nil
	}
	apt, err := openApt(cache, "userland", userlandSuites)
	if err != nil {
		return err
	}
	defer apt.trim()
	fmt.Println("vm: busybox: fetching")
	return cache.install(busyboxDir(cache), func(dir string) error {
		tree := filepath.Join(dir, "tree")
		if err := apt.unpack("busybox-static", tree); err != nil {
			return fmt.Errorf("busybox: %w: not fetched", err)
		}
		program := firstMatch(tree, "usr/bin/busybox", "bin/busybox")
		if program == "" {
			return errors.New("busybox: not in its package: not fetched; its layout has changed, initramfs.go must follow")
		}
		applets, err := tool("", nil, program, "--list")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "applets"), applets, 0o644); err != nil {
			return err
		}
		if err := os.Rename(program, filepath.Join(dir, "busybox")); err != nil {
			return err
		}
		return os.RemoveAll(tree)
	})
}

// Small files that every root needs.
const (
	passwdFile = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
	groupFile  = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"
	hostsFile  = "127.0.0.1 localhost vm\n::1 localhost\n"
)

// addBusyboxRoot puts the small root into the archive.
func addBusyboxRoot(a *Archive, cache *Cache) error {
	applets, err := os.ReadFile(filepath.Join(busyboxDir(cache), "applets"))
	if err != nil {
		return errors.New("busybox: not in the cache: nothing booted; run: vm fetch")
	}
	root := func(name string) string { return wire.FilesDir + name }
	for _, name := range []string{"/bin", "/sbin", "/usr/bin", "/usr/sbin", "/lib", "/etc", "/mnt", "/opt", "/srv", "/var/log", "/var/lib", "/home/user"} {
		a.Folder(root(name), 0o755)
	}
	a.Folder(root("/root"), 0o700)
	a.Folder(root("/var/tmp"), 0o777|os.ModeSticky)
	a.Link(root("/var/run"), "/run")
	a.HostFile(root("/bin/busybox"), filepath.Join(busyboxDir(cache), "busybox"))
	for _, applet := range strings.Fields(string(applets)) {
		if applet != "busybox" {
			a.Link(root("/bin/"+applet), "busybox")
		}
	}
	a.File(root("/etc/passwd"), 0o644, []byte(passwdFile))
	a.File(root("/etc/group"), 0o644, []byte(groupFile))
	a.File(root("/etc/hosts"), 0o644, []byte(hostsFile))
	a.File(root("/etc/hostname"), 0o644, []byte("vm\n"))
	return nil
}

// buildGuest compiles init. Go's own cache makes this quick.
func buildGuest(cache *Cache, into string) error {
	env := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS="}
	_, err := tool(cache.Repo, env, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", into, "./scripts/vm/guest")
	if err != nil {
		return fmt.Errorf("init of the guest: not built: %w", err)
	}
	return nil
}

// writeInitramfs packs init, the modules, the files and the configuration,
// whose list of modules it fills in.
func writeInitramfs(cache *Cache, o *Options, config *wire.Config, run string) (string, error) {
	kernel := findKernel(o.Kernel)
	names := append([]string{}, standardModules...)
	if o.onDisk() {
		names = append(names, debianModules...)
	}
	modules, err := findModules(filepath.Join(kernel.dir(cache), "modules"), append(names, o.Modules...))
	if err != nil {
		return "", err
	}
	guest := filepath.Join(run, "init")
	if err := buildGuest(cache, guest); err != nil {
		return "", err
	}
	name := filepath.Join(run, "initramfs.cpio")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	defer file.Close()
	buffer := bufio.NewWriterSize(file, 1<<20)
	a := NewArchive(buffer)
	a.HostFile("/init", guest)
	for _, module := range modules {
		base := filepath.Base(module)
		config.Modules = append(config.Modules, base)
		a.HostFile(path.Join(wire.ModulesDir, base), module)
	}
	a.Folder(wire.FilesDir, 0o755)
	if o.Root == rootInitramfs {
		if err := addBusyboxRoot(a, cache); err != nil {
			return "", err
		}
	}
	if o.Runtimes != "" {
		if err := addRuntimes(a, cache, o.Runtimes); err != nil {
			return "", err
		}
	}
	for _, pair := range o.Files {
		a.HostTree(wire.FilesDir+pair.Guest, pair.Host)
	}
	text, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	a.File(wire.ConfigPath, 0o600, text)
	if err := a.Close(); err != nil {
		return "", fmt.Errorf("initramfs: %w: nothing booted; check --file", err)
	}
	if err := buffer.Flush(); err != nil {
		return "", err
	}
	return name, file.Close()
}
