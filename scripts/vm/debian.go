//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Userland is a root of Debian packages; apt adds what they depend on. Their scripts never
// run: finishDebian does what is needed.
type Userland struct {
	Name     string
	Packages []string
	Suites   []string // of Debian; none: userlandSuites
	Cluster  bool     // it has the programs of Kubernetes
	Extra    bool     // left out of "fetch all"
}

// userlands are those that can be booted: one with what the tests and people use, one with
// container engines, one with Kubernetes, whose kubelet wants a newer containerd.
var userlands = []*Userland{
	{Name: rootDebian, Packages: strings.Fields(`
	acl attr base-files base-passwd bash bubblewrap bsdutils ca-certificates
	coreutils curl dash debianutils diffutils e2fsprogs findutils fuse3 gcc git
	gzip hostname iproute2 jq libc-bin libc6-dev libcap2-bin login make mawk mount
	ncurses-base npm passwd procps psmisc python3 sed socat sqlite3 strace tar time
	tmux systemd util-linux xz-utils grep less tzdata`)},
	{Name: rootEngines, Extra: true, Packages: strings.Fields(`
	base-files base-passwd bash bsdutils busybox-static ca-certificates conmon containerd coreutils crun dash
	debianutils diffutils docker-cli docker.io findutils grep gzip hostname iproute2 jq less
	libc-bin login mawk mount ncurses-base netavark passwd podman procps runc sed strace
	systemd tar tzdata util-linux`)},
	{Name: rootKubernetes, Extra: true, Cluster: true, Suites: []string{"sid"}, Packages: strings.Fields(`
	base-files base-passwd bash bsdutils busybox-static ca-certificates containerd containernetworking-plugins
	coreutils curl dash debianutils diffutils findutils grep gzip hostname iproute2 jq less libc-bin login
	mawk mount ncurses-base passwd procps runc sed socat strace systemd tar tzdata util-linux`)},
}

func (u *Userland) suites() []string {
	if len(u.Suites) > 0 {
		return u.Suites
	}
	return userlandSuites
}

func findUserland(name string) *Userland {
	for _, u := range userlands {
		if u.Name == name {
			return u
		}
	}
	return nil
}

// debianRecipe changes when finishDebian does, to make old images stale.
const debianRecipe = "2"

const debianSpare = 1536 // MiB free in the image, which is sparse

func (u *Userland) image(cache *Cache) string {
	recipe := debianRecipe + strings.Join(u.suites(), " ") + strings.Join(u.Packages, " ")
	if u.Cluster {
		text, _, _ := kubernetesOrigin(cache) // what is wrong with it keeps it from being built
		recipe += text
	}
	sum := sha256.Sum256([]byte(recipe))
	return cache.path("roots", fmt.Sprintf("%s-%x", u.Name, sum[:6]), "root.ext4")
}

// there reports whether it is in the cache.
func (u *Userland) there(cache *Cache) bool {
	_, err := os.Stat(u.image(cache))
	return err == nil
}

// list says how large it is.
func (u *Userland) list(cache *Cache) string {
	info, err := os.Stat(u.image(cache))
	if err != nil {
		return "- (run: vm fetch " + u.Name + ")"
	}
	return fmt.Sprintf("%d MiB", info.Size()>>20)
}

// build makes an ext4 image, without installing anything and without chroot.
func (u *Userland) build(cache *Cache) error {
	if u.there(cache) {
		fmt.Printf("vm: %s root: is there\n", u.Name)
		return nil
	}
	if os.Geteuid() != 0 {
		fmt.Fprintf(os.Stderr, "vm: %s root: built by a plain user: its files belong to that user in the guest; run vm fetch %[1]s as root, or under fakeroot, to have them belong to root\n", u.Name)
	}
	if u.Cluster {
		if err := fetchKubernetes(cache); err != nil {
			return err
		}
	}
	began := time.Now()
	lists := "userland"
	if len(u.Suites) > 0 {
		lists += "-" + strings.Join(u.Suites, "-")
	}
	apt, err := openApt(cache, lists, u.suites())
	if err != nil {
		return err
	}
	defer apt.trim()
	fmt.Printf("vm: %s root: fetching\n", u.Name)
	packages, err := apt.closure(u.Packages)
	if err != nil {
		return fmt.Errorf("%s root: %w: not built", u.Name, err)
	}
	fmt.Printf("vm: %s root: building from %d packages\n", u.Name, len(packages))
	image := u.image(cache)
	err = cache.install(filepath.Dir(image), func(dir string) error {
		tree := filepath.Join(dir, "tree")
		if err := unpackDebian(tree, packages); err != nil {
			return err
		}
		if err := finishDebian(tree); err != nil {
			return err
		}
		if u.Cluster {
			if err := addKubernetes(cache, tree); err != nil {
				return err
			}
		}
		if err := writeManifest(filepath.Join(dir, "packages"), packages); err != nil {
			return err
		}
		if err := packDebian(tree, filepath.Join(dir, "root.ext4")); err != nil {
			return err
		}
		return os.RemoveAll(tree)
	})
	if err != nil {
		return fmt.Errorf("%s root: %w: not built", u.Name, err)
	}
	u.removeOld(cache)
	fmt.Printf("vm: %s root: built in %.0f s\n", u.Name, time.Since(began).Seconds())
	return nil
}

// closure downloads packages and all they depend on.
func (a *Apt) closure(names []string) ([]string, error) {
	archives := filepath.Join(a.dir, "cache", "archives")
	if err := os.RemoveAll(archives); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(archives, "partial"), 0o755); err != nil {
		return nil, err
	}
	args := append([]string{"install", "--yes", "--download-only", "--no-install-recommends"}, names...)
	if _, err := a.run("", "apt-get", args...); err != nil {
		return nil, err
	}
	packages, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err == nil && len(packages) < len(names) {
		err = fmt.Errorf("%d packages downloaded, %d were asked for", len(packages), len(names))
	}
	return packages, err
}

// unpackDebian unpacks over a merged /usr: packages that still ship /bin or
// /lib must follow the links, which dpkg-deb -x would replace.
func unpackDebian(tree string, packages []string) error {
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.MkdirAll(filepath.Join(tree, "usr", name), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("usr/"+name, filepath.Join(tree, name)); err != nil {
			return err
		}
	}
	for _, name := range packages {
		unpack := exec.Command("dpkg-deb", "--fsys-tarfile", name)
		extract := exec.Command("tar", "-x", "--keep-directory-symlink", "-C", tree)
		var messages strings.Builder
		unpack.Stderr, extract.Stderr = &messages, &messages
		pipe, err := unpack.StdoutPipe()
		if err != nil {
			return err
		}
		extract.Stdin = pipe
		if err := unpack.Start(); err != nil {
			return err
		}
		err = errors.Join(extract.Run(), unpack.Wait())
		if err != nil {
			return fmt.Errorf("%s: unpacking failed: %w: %s", filepath.Base(name), err, messages.String())
		}
	}
	return nil
}

// finishDebian does what the scripts of the packages would have done.
func finishDebian(tree string) error {
	at := func(name string) string { return filepath.Join(tree, name) }
	read := func(name string) string {
		text, _ := os.ReadFile(at(name))
		return string(text)
	}
	certificates, err := concatenate(at("usr/share/ca-certificates/mozilla"), ".crt")
	if err != nil {
		return err
	}
	if err := writePAM(at("etc/pam.d")); err != nil {
		return err
	}
	user := "user:x:1000:1000:user:/home/user:/bin/bash\n"
	passwd := strings.Replace(read("usr/share/base-passwd/passwd.master"), "root:*:", "root:x:", 1)
	for name, text := range map[string]string{
		"etc/passwd":                        passwd + user,
		"etc/group":                         read("usr/share/base-passwd/group.master") + "user:x:1000:\n",
		"etc/shadow":                        "root:*:20000:0:99999:7:::\nuser:*:20000:0:99999:7:::\n",
		"etc/hosts":                         hostsFile,
		"etc/hostname":                      "vm\n",
		"etc/nsswitch.conf":                 "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
		"etc/resolv.conf":                   "",
		"etc/machine-id":                    "00000000000000000000000000000001\n",
		"etc/ssl/certs/ca-certificates.crt": certificates,
		"root/.bashrc":                      "PS1='\\u@\\h:\\w\\$ '\n",
		"root/.profile":                     ". ~/.bashrc\n",
	} {
		if err := os.MkdirAll(filepath.Dir(at(name)), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(at(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, mode := range map[string]fs.FileMode{
		"root": 0o700, "home/user": 0o755, "tmp": 0o777 | fs.ModeSticky, "var/tmp": 0o777 | fs.ModeSticky,
		"proc": 0o755, "sys": 0o755, "dev": 0o755, "run": 0o755, "etc/shadow": 0o600,
	} {
		if name != "etc/shadow" {
			if err := os.MkdirAll(at(name), 0o755); err != nil {
				return err
			}
		}
		if err := os.Chmod(at(name), mode); err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(at("home/user"), 1000, 1000); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils", "usr/bin/pager": "less",
		"etc/localtime": "/usr/share/zoneinfo/Etc/UTC",
	} {
		if _, err := os.Lstat(at(name)); err != nil {
			if err := os.Symlink(target, at(name)); err != nil {
				return err
			}
		}
	}
	return makeLinkerCache(tree)
}

// writePAM writes what pam-auth-update would have: it lets su work.
func writePAM(dir string) error {
	for name, kind := range map[string]string{
		"common-auth": "auth", "common-account": "account", "common-password": "password",
		"common-session": "session", "common-session-noninteractive": "session",
	} {
		text := kind + " required pam_unix.so\n"
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func makeLinkerCache(tree string) error {
	ldconfig, err := lookTool("ldconfig")
	if err != nil {
		return err
	}
	_, err = tool("", nil, ldconfig, "-r", tree)
	return err
}

func concatenate(dir, ending string) (string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	sort.Strings(names)
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		all.Write(text)
	}
	return all.String(), err
}

func writeManifest(name string, packages []string) error {
	var text strings.Builder
	for _, path := range packages {
		fmt.Fprintln(&text, strings.TrimSuffix(filepath.Base(path), ".deb"))
	}
	return os.WriteFile(name, []byte(text.String()), 0o644)
}

func packDebian(tree, image string) error {
	mke2fs, err := lookTool("mke2fs")
	if err != nil {
		return err
	}
	var used int64
	err = filepath.WalkDir(tree, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			used += (info.Size() + 4095) &^ 4095
		}
		return err
	})
	if err != nil {
		return err
	}
	size := fmt.Sprintf("%dM", used>>20*5/4+debianSpare)
	_, err = tool("", nil, mke2fs, "-q", "-t", "ext4", "-d", tree, "-L", "root", "-m", "0",
		"-O", "^has_journal", "-E", "lazy_itable_init=0", image, size)
	return err
}

// removeOld removes the images of other recipes.
func (u *Userland) removeOld(cache *Cache) {
	folders, _ := filepath.Glob(cache.path("roots", u.Name+"-*"))
	for _, folder := range folders {
		if folder != filepath.Dir(u.image(cache)) {
			os.RemoveAll(folder)
		}
	}
}
