//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Apt is a private apt: its own sources, lists and cache, and an empty
// package status. The host's apt is read but never changed.
type Apt struct {
	dir string
	env []string
}

// openApt prepares a private apt for some suites and updates its lists.
func openApt(cache *Cache, name string, suites []string) (*Apt, error) {
	dir := cache.path("apt", name)
	a := &Apt{dir: dir, env: []string{"APT_CONFIG=" + filepath.Join(dir, "apt.conf")}}
	for _, sub := range []string{"etc/parts", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, err
		}
	}
	mirror, err := findMirror()
	if err != nil {
		return nil, err
	}
	settings, err := hostTransport()
	if err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"state/status":   "",
		"apt.conf":       a.settings() + settings,
		"etc/vm.sources": mirror.sources(suites),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if _, err := a.run("", "apt-get", "update", "--error-on=any"); err != nil {
		return nil, fmt.Errorf("apt lists of %s: not fetched: %w; check the network and the host's apt sources, or set STOCKADE_DEBIAN_MIRROR", strings.Join(suites, ", "), err)
	}
	return a, nil
}

func (a *Apt) settings() string {
	lines := []string{
		fmt.Sprintf("Dir::Etc %q;", a.dir+"/etc"),
		fmt.Sprintf("Dir::Etc::sourcelist %q;", a.dir+"/etc/vm.sources"),
		`Dir::Etc::sourceparts "/dev/null";`,
		fmt.Sprintf("Dir::Etc::parts %q;", a.dir+"/etc/parts"),
		fmt.Sprintf("Dir::State %q;", a.dir+"/state"),
		fmt.Sprintf("Dir::State::status %q;", a.dir+"/state/status"),
		fmt.Sprintf("Dir::Cache %q;", a.dir+"/cache"),
		`APT::Architecture "amd64";`,
		`APT::Architectures { "amd64"; };`,
		`APT::Sandbox::User "root";`,
		`APT::Install-Recommends "false";`,
		`Acquire::GzipIndexes "true";`,
		`Acquire::Languages "none";`,
		`Acquire::Retries "3";`,
		`Debug::NoLocking "true";`, // the fetch holds the lock of the cache
	}
	return strings.Join(lines, "\n") + "\n"
}

// hostTransport returns the host's settings of how to reach a mirror:
// proxies, certificates, time checks.
func hostTransport() (string, error) {
	text, err := tool("", nil, "apt-config", "dump")
	if err != nil {
		return "", fmt.Errorf("apt: %w: nothing fetched; vm fetch needs a Debian or Ubuntu host", err)
	}
	var kept strings.Builder
	for _, line := range strings.SplitAfter(string(text), "\n") {
		lower := strings.ToLower(line)
		for _, prefix := range []string{"acquire::http", "acquire::check-", "acquire::max-validtime", "acquire::forceipv"} {
			if strings.HasPrefix(lower, prefix) {
				kept.WriteString(line)
			}
		}
	}
	return kept.String(), nil
}

// trim removes apt's own caches, which it can always make again.
func (a *Apt) trim() {
	for _, name := range []string{"pkgcache.bin", "srcpkgcache.bin", "archives"} {
		os.RemoveAll(filepath.Join(a.dir, "cache", name))
	}
}

// run runs an apt program with the private configuration.
func (a *Apt) run(dir, name string, args ...string) ([]byte, error) {
	return tool(dir, a.env, name, args...)
}

// Mirror is where the host gets Debian from.
type Mirror struct{ main, security string }

func findMirror() (Mirror, error) {
	mirror := Mirror{os.Getenv("STOCKADE_DEBIAN_MIRROR"), os.Getenv("STOCKADE_DEBIAN_SECURITY_MIRROR")}
	if mirror.main == "" {
		const format = "$(ORIGIN) $(RELEASE) $(REPO_URI)"
		text, err := tool("", nil, "apt-get", "indextargets", "--format", format, "Created-By: Packages")
		if err != nil {
			return mirror, fmt.Errorf("apt: %w: nothing fetched; mend the host's apt", err)
		}
		mirror = parseTargets(string(text), mirror)
	}
	if mirror.main == "" {
		return mirror, fmt.Errorf("apt sources: this host has none of Debian: nothing fetched; run apt-get update, or set STOCKADE_DEBIAN_MIRROR (and STOCKADE_DEBIAN_SECURITY_MIRROR) to the address of a mirror")
	}
	if mirror.security == "" {
		mirror.security = strings.TrimSuffix(mirror.main, "/") + "-security"
	}
	if _, err := os.Stat(keyring); err != nil {
		return mirror, fmt.Errorf("%s: missing: downloads could not be verified, nothing fetched; install debian-archive-keyring", keyring)
	}
	return mirror, nil
}

// parseTargets reads lines of "ORIGIN RELEASE URI". A host that never
// updated its lists has no origin in them.
func parseTargets(text string, mirror Mirror) Mirror {
	for _, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[0] != "Debian" {
			continue
		}
		release, uri := fields[1], fields[2]
		switch {
		case strings.HasSuffix(release, "-security"):
			if mirror.security == "" {
				mirror.security = uri
			}
		case !strings.Contains(release, "-") && mirror.main == "":
			mirror.main = uri
		}
	}
	return mirror
}

func (m Mirror) sources(suites []string) string {
	var text strings.Builder
	for _, suite := range suites {
		uri := m.main
		if strings.HasSuffix(suite, "-security") {
			uri = m.security
		}
		fmt.Fprintf(&text, "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n\n", uri, suite, keyring)
	}
	return text.String()
}
