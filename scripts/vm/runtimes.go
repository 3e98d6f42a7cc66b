//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/scripts/vm/wire"
)

// runtimesWord names the container runtimes among what can be fetched. They are left out
// of "fetch all": one is built, which wants gcc.
const runtimesWord = "runtimes"

// Runtime is a program that starts OCI containers. Debian's are linked to the libraries
// of the debian root; what is built is static.
type Runtime struct {
	Program string
	Suite   string   // of Debian; none: it is built of a Go module
	Version string   // of that module
	Library []string // packages with libraries that the debian root lacks
}

// runtimes are those that the tests start containers with: one that copies itself before
// it enters a container, those that protect their program in other ways, another project's.
var runtimes = []Runtime{
	{Program: "runc", Suite: "trixie"},
	{Program: "runc", Suite: "sid"},
	{Program: "runc", Version: "1.5.2"},
	{Program: "crun", Suite: "trixie", Library: []string{"libyajl2"}},
}

// runtimesDir has a folder for each, PROGRAM-VERSION, and one with libraries.
func runtimesDir(cache *Cache) string { return cache.path("runtimes") }

// origin is the name of the file in a runtime's folder that says where it is from.
const origin = "origin"

func (r Runtime) origin(version string) string {
	if r.Suite == "" {
		return "github.com/opencontainers/" + r.Program + " " + version
	}
	return r.Suite + " " + version
}

// fetchRuntimes gets all of them. One that is there already is kept.
func fetchRuntimes(cache *Cache) error {
	var kept []string
	for _, r := range runtimes {
		fetch := r.build
		if r.Suite != "" {
			fetch = r.fetch
		}
		dir, err := fetch(cache)
		if err != nil {
			return fmt.Errorf("runtime %s: %w: not fetched", r.Program, err)
		}
		kept = append(kept, dir)
	}
	return removeOthers(runtimesDir(cache), append(kept, filepath.Join(runtimesDir(cache), "lib")))
}

// removeOthers removes older versions.
func removeOthers(dir string, kept []string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		keep := false
		for _, k := range kept {
			keep = keep || k == name
		}
		if !keep {
			err = errors.Join(err, os.RemoveAll(name))
		}
	}
	return err
}

// fetch gets a package of Debian, and unpacks of it what is run.
func (r Runtime) fetch(cache *Cache) (string, error) {
	apt, err := openApt(cache, "runtimes-"+r.Suite, []string{r.Suite})
	if err != nil {
		return "", err
	}
	defer apt.trim()
	about, err := apt.run("", "apt-cache", "show", "--no-all-versions", r.Program)
	if err != nil {
		return "", err
	}
	version := versionLine.FindSubmatch(about)
	if version == nil {
		return "", fmt.Errorf("%s of %s has no version", r.Program, r.Suite)
	}
	dir := filepath.Join(runtimesDir(cache), r.Program+"-"+upstream(string(version[1])))
	if r.there(dir, string(version[1])) {
		return dir, nil
	}
	fmt.Printf("vm: %s: fetching (package version %s)\n", filepath.Base(dir), version[1])
	if err := r.libraries(cache, apt); err != nil {
		return "", err
	}
	return dir, cache.install(dir, func(dir string) error {
		tree := filepath.Join(dir, "tree")
		if err := apt.unpack(r.Program, tree); err != nil {
			return err
		}
		program := firstMatch(tree, "usr/bin/"+r.Program, "usr/sbin/"+r.Program)
		if program == "" {
			return fmt.Errorf("the package has no program %s: its layout has changed, runtimes.go must follow", r.Program)
		}
		if err := os.Rename(program, filepath.Join(dir, r.Program)); err != nil {
			return err
		}
		return errors.Join(os.RemoveAll(tree), r.note(dir, string(version[1])))
	})
}

// libraries unpacks what the debian root lacks, under the names by which the linker
// finds it.
func (r Runtime) libraries(cache *Cache, apt *Apt) error {
	if len(r.Library) == 0 {
		return nil
	}
	return cache.install(filepath.Join(runtimesDir(cache), "lib"), func(dir string) error {
		tree := filepath.Join(dir, "tree")
		for _, name := range r.Library {
			if err := apt.unpack(name, tree); err != nil {
				return err
			}
		}
		links, err := filepath.Glob(filepath.Join(tree, "usr/lib/x86_64-linux-gnu/*.so.?"))
		if err == nil && len(links) < len(r.Library) {
			err = fmt.Errorf("%d libraries in %v: their layout has changed, runtimes.go must follow", len(links), r.Library)
		}
		for _, link := range links {
			text, readErr := os.ReadFile(link)
			err = errors.Join(err, readErr, os.WriteFile(filepath.Join(dir, filepath.Base(link)), text, 0o644))
		}
		return errors.Join(err, os.RemoveAll(tree))
	})
}

// build builds a static program, without seccomp.
func (r Runtime) build(cache *Cache) (string, error) {
	dir := filepath.Join(runtimesDir(cache), r.Program+"-"+r.Version)
	if r.there(dir, r.Version) {
		return dir, nil
	}
	if _, err := lookTool("gcc"); err != nil {
		return "", fmt.Errorf("gcc: not installed; run: apt-get install gcc libc6-dev")
	}
	fmt.Printf("vm: %s: building\n", filepath.Base(dir))
	return dir, cache.install(dir, func(dir string) error {
		_, err := tool(dir, []string{"GOBIN=" + dir, "CGO_ENABLED=1", "GOFLAGS=-trimpath"}, "go", "install",
			"-tags", "netgo osusergo", "-ldflags", "-s -w -extldflags -static", "github.com/opencontainers/"+r.Program+"@v"+r.Version)
		return errors.Join(err, r.note(dir, r.Version))
	})
}

func (r Runtime) there(dir, version string) bool {
	text, err := os.ReadFile(filepath.Join(dir, origin))
	there := err == nil && strings.TrimSpace(string(text)) == r.origin(version)
	if there {
		fmt.Printf("vm: %s: %s is there\n", filepath.Base(dir), r.origin(version))
	}
	return there
}

func (r Runtime) note(dir, version string) error {
	return os.WriteFile(filepath.Join(dir, origin), []byte(r.origin(version)+"\n"), 0o644)
}

// upstream is a package's version without what Debian says of it.
func upstream(version string) string {
	_, after, epoch := strings.Cut(version, ":")
	if epoch {
		version = after
	}
	end := strings.IndexAny(version, "+-~")
	if end < 0 {
		return version
	}
	return version[:end]
}

// addRuntimes puts those that match into the archive: as /vmtest/runtimes/PROGRAM-VERSION/PROGRAM,
// their libraries where the linker looks, and a static busybox for containers to run.
func addRuntimes(a *Archive, cache *Cache, glob string) error {
	origins, err := filepath.Glob(filepath.Join(runtimesDir(cache), glob, origin))
	if err != nil || len(origins) == 0 {
		return fmt.Errorf("--runtimes %s: none in the cache: nothing booted; run: vm fetch %s", glob, runtimesWord)
	}
	root := func(name string) string { return wire.FilesDir + name }
	for _, name := range origins {
		dir := filepath.Dir(name)
		a.HostTree(root("/vmtest/runtimes/"+filepath.Base(dir)), dir)
	}
	libraries, err := filepath.Glob(filepath.Join(runtimesDir(cache), "lib", "*"))
	for _, name := range libraries {
		a.HostFile(root("/usr/lib/x86_64-linux-gnu/"+filepath.Base(name)), name)
	}
	a.HostFile(root("/vmtest/busybox"), filepath.Join(busyboxDir(cache), "busybox"))
	return err
}

// listRuntimes says which are there.
func listRuntimes(cache *Cache) string {
	origins, _ := filepath.Glob(filepath.Join(runtimesDir(cache), "*", origin))
	if len(origins) < len(runtimes) {
		return "- (run: vm fetch " + runtimesWord + ")"
	}
	var names []string
	for _, name := range origins {
		names = append(names, filepath.Base(filepath.Dir(name)))
	}
	return strings.Join(names, ", ")
}
