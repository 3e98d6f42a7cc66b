//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Kernel is one kernel that vm knows how to get and to boot.
type Kernel struct {
	Label  string
	Suites []string // of Debian
	CPU    string   // the processor model it boots under reliably
	Extra  bool     // left out of "fetch all"
}

// The emulator of Debian 12 corrupts flags in cmpxchg16b: 10-30 % of the
// boots of 6.12 with cx16 die in the slab allocator, and some die later. 7.2
// must have it: without, task storage of BPF is always NULL there.
var kernels = []Kernel{
	{Label: "6.1", Suites: []string{"bookworm", "bookworm-security"}, CPU: "qemu64"},
	{Label: "6.12", Suites: []string{"trixie"}, CPU: "qemu64,-cx16"},
	{Label: "6.12-security", Suites: []string{"trixie", "trixie-security"}, CPU: "qemu64,-cx16", Extra: true},
	{Label: "7.2", Suites: []string{"sid"}, CPU: "qemu64"}, // and whatever follows it
}

const (
	defaultKernel = "6.12"
	kernelPackage = "linux-image-cloud-amd64"
)

func findKernel(label string) *Kernel {
	for i := range kernels {
		if kernels[i].Label == label {
			return &kernels[i]
		}
	}
	return nil
}

func kernelLabels() string {
	var labels []string
	for _, kernel := range kernels {
		labels = append(labels, kernel.Label)
	}
	return strings.Join(labels, ", ")
}

// dir is the folder of the kernel in the cache: vmlinuz, modules/, and the
// files release (uname -r), version (of the package) and config.
func (k *Kernel) dir(cache *Cache) string { return cache.path("kernels", k.Label) }

// release is what uname -r prints; an error means the kernel is not there.
func (k *Kernel) release(cache *Cache) (string, error) { return k.fact(cache, "release") }

// version is the version of the Debian package.
func (k *Kernel) version(cache *Cache) (string, error) { return k.fact(cache, "version") }

func (k *Kernel) fact(cache *Cache, name string) (string, error) {
	text, err := os.ReadFile(filepath.Join(k.dir(cache), name))
	if err != nil {
		return "", fmt.Errorf("kernel %s: not in the cache: nothing booted; run: vm fetch %s", k.Label, k.Label)
	}
	return strings.TrimSpace(string(text)), nil
}

// fetch gets what the arguments name; nothing named means all.
func fetch(cache *Cache, args []string) error {
	wanted, containers := map[string]bool{}, false // kernels and userlands by name
	if len(args) == 0 {
		args = []string{"all"}
	}
	for _, arg := range args {
		switch {
		case arg == "all":
			for _, kernel := range kernels {
				wanted[kernel.Label] = wanted[kernel.Label] || !kernel.Extra
			}
			for _, u := range userlands {
				wanted[u.Name] = wanted[u.Name] || !u.Extra
			}
		case arg == runtimesWord:
			containers = true
		case findKernel(arg) != nil, findUserland(arg) != nil:
			wanted[arg] = true
		default:
			return fmt.Errorf("fetch %s: no such thing: nothing fetched; known are %s, %s, %s, %s, %s and all", arg, kernelLabels(), rootDebian, rootEngines, rootKubernetes, runtimesWord)
		}
	}
	if missing := missingPackages(); len(missing) > 0 {
		return fmt.Errorf("tools of %s: not installed: nothing fetched; run: vm deps", strings.Join(missing, ", "))
	}
	unlock, err := cache.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for i := range kernels {
		if wanted[kernels[i].Label] {
			if err := kernels[i].fetch(cache); err != nil {
				return err
			}
		}
	}
	if err := fetchBusybox(cache); err != nil {
		return err
	}
	for _, u := range userlands {
		if wanted[u.Name] {
			if err := u.build(cache); err != nil {
				return err
			}
		}
	}
	if containers {
		return fetchRuntimes(cache)
	}
	return nil
}

var (
	versionLine = regexp.MustCompile(`(?m)^Version: (\S+)$`)
	dependsLine = regexp.MustCompile(`(?m)^Depends: (.*)$`)
	imageName   = regexp.MustCompile(`\blinux-image-([0-9][^\s,]*)`)
)

// fetch gets the newest kernel of the suites. One that is there already is
// kept when it is that one.
func (k *Kernel) fetch(cache *Cache) error {
	apt, err := openApt(cache, k.Label, k.Suites)
	if err != nil {
		return err
	}
	defer apt.trim()
	about, err := apt.run("", "apt-cache", "show", "--no-all-versions", kernelPackage)
	if err != nil {
		return fmt.Errorf("kernel %s: %w: not fetched", k.Label, err)
	}
	version, image := versionLine.FindSubmatch(about), dependsLine.FindSubmatch(about)
	if version == nil || image == nil || imageName.FindSubmatch(image[1]) == nil {
		return fmt.Errorf("kernel %s: %s names no image: not fetched; its packaging has changed, kernels.go must follow", k.Label, kernelPackage)
	}
	release := string(imageName.FindSubmatch(image[1])[1])
	if old, err := k.version(cache); err == nil && old == string(version[1]) {
		fmt.Printf("vm: kernel %s: %s (package version %s) is there\n", k.Label, release, old)
		return nil
	}
	fmt.Printf("vm: kernel %s: fetching %s (package version %s)\n", k.Label, release, version[1])
	return cache.install(k.dir(cache), func(dir string) error {
		if err := k.unpack(apt, dir, release); err != nil {
			return fmt.Errorf("kernel %s: %w: not fetched", k.Label, err)
		}
		for name, text := range map[string]string{"release": release, "version": string(version[1])} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
				return err
			}
		}
		_, err := findModules(filepath.Join(dir, "modules"), append(standardModules, debianModules...))
		return err
	})
}

// unpack fills dir with vmlinuz, config and modules. Since 7.x the image
// package is empty and its parts are packages of their own.
func (k *Kernel) unpack(apt *Apt, dir, release string) error {
	tree := filepath.Join(dir, "tree")
	if err := apt.unpack("linux-image-"+release, tree); err != nil {
		return err
	}
	image := firstMatch(tree, "boot/vmlinuz-"+release, "usr/lib/modules/"+release+"/vmlinuz")
	if image == "" {
		for _, part := range []string{"linux-base-", "linux-binary-", "linux-modules-"} {
			if err := apt.unpack(part+release, tree); err != nil {
				return err
			}
		}
		image = firstMatch(tree, "boot/vmlinuz-"+release, "usr/lib/modules/"+release+"/vmlinuz")
	}
	modules := firstMatch(tree, "usr/lib/modules/"+release+"/kernel", "lib/modules/"+release+"/kernel")
	if image == "" || modules == "" {
		return fmt.Errorf("no vmlinuz or no modules in the packages: their layout has changed, kernels.go must follow")
	}
	if err := os.Rename(image, filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	if config := firstMatch(tree, "boot/config-"+release, "usr/lib/modules/"+release+"/config"); config != "" {
		if err := os.Rename(config, filepath.Join(dir, "config")); err != nil {
			return err
		}
	}
	if err := os.Rename(filepath.Dir(modules), filepath.Join(dir, "modules")); err != nil {
		return err
	}
	return os.RemoveAll(tree)
}

func firstMatch(tree string, names ...string) string {
	for _, name := range names {
		path := filepath.Join(tree, name)
		if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSymlink == 0 {
			return path
		}
	}
	return ""
}

// unpack downloads one package and unpacks it into a folder.
func (a *Apt) unpack(name, into string) error {
	download, err := os.MkdirTemp(a.dir, "download-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(download)
	if _, err := a.run(download, "apt-get", "download", name); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(download, "*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("%s: %d files downloaded instead of one", name, len(packages))
	}
	_, err = tool("", nil, "dpkg-deb", "-x", packages[0], into)
	return err
}

func list(cache *Cache) error {
	fmt.Printf("%-14s %-32s %s\n", "KERNEL", "RELEASE", "PACKAGE VERSION")
	for i := range kernels {
		k := &kernels[i]
		release, err := k.release(cache)
		version, _ := k.version(cache)
		if err != nil {
			release = "- (run: vm fetch " + k.Label + ")"
		}
		fmt.Printf("%-14s %-32s %s\n", k.Label, release, version)
	}
	for _, u := range userlands {
		fmt.Printf("%-14s %s\n", u.Name+" root", u.list(cache))
	}
	fmt.Printf("%-14s %s\n", runtimesWord, listRuntimes(cache))
	return nil
}
