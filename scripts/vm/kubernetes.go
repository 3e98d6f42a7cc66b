//go:build linux

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// The programs of Kubernetes are built of a module of their own, the first one first: it has
// what the others have. What they keep their objects in is Debian's.
var (
	kubernetesPrograms = []string{"kube-apiserver", "kubelet", "kubectl"}
	kubernetesStore    = "etcd"
)

const (
	kubernetesStoreSuite = "sid"
	kubernetesModule     = "scripts/kubernetes"
	kubernetesPath       = "k8s.io/kubernetes"
)

var kubernetesLine = regexp.MustCompile(`(?m)^\t` + kubernetesPath + ` (v(\d+)\.(\d+)\.\S+)`)

// kubernetesDir has the programs, and a file that says what they were built of.
func kubernetesDir(cache *Cache) string { return cache.path("kubernetes", "bin") }

// kubernetesOrigin is the version, and a digest of all that they are built of.
func kubernetesOrigin(cache *Cache) (text string, version []string, err error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(cache.Repo, kubernetesModule, name))
		if err != nil {
			return "", nil, err
		}
		sum.Write(content)
		if found := kubernetesLine.FindStringSubmatch(string(content)); found != nil {
			version = found
		}
	}
	if version == nil {
		return "", nil, fmt.Errorf("%s/go.mod: it requires no %s: kubernetes.go must follow", kubernetesModule, kubernetesPath)
	}
	fmt.Fprintln(sum, kubernetesPrograms, kubernetesStore, kubernetesStoreSuite, "linux/amd64")
	return fmt.Sprintf("%s %x", version[1], sum.Sum(nil)[:6]), version, nil
}

// fetchKubernetes builds the programs, which takes some 20 minutes of two processors.
func fetchKubernetes(cache *Cache) error {
	text, version, err := kubernetesOrigin(cache)
	if err != nil {
		return fmt.Errorf("kubernetes: %w: not built", err)
	}
	dir := kubernetesDir(cache)
	if there, err := os.ReadFile(filepath.Join(dir, origin)); err == nil && strings.TrimSpace(string(there)) == text {
		fmt.Printf("vm: kubernetes: %s is there\n", text)
		return nil
	}
	fmt.Printf("vm: kubernetes: building %s\n", text)
	err = cache.install(dir, func(dir string) error {
		if err := fetchStore(cache, dir); err != nil {
			return err
		}
		for _, name := range kubernetesPrograms {
			began := time.Now()
			const about = "k8s.io/component-base/version."
			flags := fmt.Sprintf("-s -w -X %[1]sgitVersion=%[2]s -X %[1]sgitMajor=%[3]s -X %[1]sgitMinor=%[4]s", about, version[1], version[2], version[3])
			_, err := tool(filepath.Join(cache.Repo, kubernetesModule), []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64"},
				"go", "build", "-trimpath", "-ldflags", flags, "-o", filepath.Join(dir, name), kubernetesPath+"/cmd/"+name)
			if err != nil {
				return err
			}
			fmt.Printf("vm: kubernetes: built %s in %.0f s\n", name, time.Since(began).Seconds())
		}
		return os.WriteFile(filepath.Join(dir, origin), []byte(text+"\n"), 0o644)
	})
	if err != nil {
		return fmt.Errorf("kubernetes: %w: not built", err)
	}
	return nil
}

// fetchStore gets the store, which runs on the host as well.
func fetchStore(cache *Cache, dir string) error {
	apt, err := openApt(cache, "userland-"+kubernetesStoreSuite, []string{kubernetesStoreSuite})
	if err != nil {
		return err
	}
	defer apt.trim()
	tree := filepath.Join(dir, "tree")
	err = apt.unpack(kubernetesStore+"-server", tree)
	return errors.Join(err, os.Rename(filepath.Join(tree, "usr/bin", kubernetesStore), filepath.Join(dir, kubernetesStore)), os.RemoveAll(tree))
}

// addKubernetes puts the programs into the tree of a root.
func addKubernetes(cache *Cache, tree string) error {
	dir := filepath.Join(tree, "usr/local/bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range append([]string{kubernetesStore}, kubernetesPrograms...) {
		text, err := os.ReadFile(filepath.Join(kubernetesDir(cache), name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
