// Package stockade holds no code: the tests here are about the whole
// repository.
package stockade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stockade-dev/stockade"

// layout lists what each package may import of this module. "X/*" stands for
// every package below X. A package that no line matches may import nothing of
// ours, and nobody may import it.
var layout = []struct {
	from string
	may  []string
}{
	{"bpf/abi", nil},
	{"bpf/fault", nil},
	{"docs", nil}, // for tests
	{"inotify", nil},
	{"thread", nil},
	{"cgroup", []string{"inotify", "thread"}}, // thread for tests
	{"compiler/rule", []string{"bpf/abi"}},
	{"compiler/pattern", nil},
	{"compiler/schema", nil},
	{"compiler/gen", []string{"bpf/abi"}}, // random cases, for tests
	{"compiler/table", []string{"compiler/rule", "compiler/pattern", "bpf/abi"}},
	{"compiler", []string{"compiler/rule", "compiler/pattern", "compiler/schema", "compiler/table", "bpf/abi"}},
	{"compiler/report", []string{"compiler", "compiler/table", "bpf/abi"}},
	{"bpf", []string{"bpf/abi", "bpf/fault"}},
	{"bpf/vmtest/*", []string{"bpf/vmtest/*", "bpf/abi"}}, // small programs for tests
	{"agent/*", []string{"bpf/abi", "bpf/fault"}},
	{"agent/label", []string{"compiler"}},
	{"agent/lock", []string{"agent/file", "agent/label"}},
	{"agent/tripwire", []string{"agent/sink", "bpf/abi"}},
	{"agent/dial", nil},
	{"agent/file", nil},
	{"agent/container", []string{"agent/dial"}},
	{"agent/config", []string{"agent/dial", "agent/container", "agent/label", "agent/tripwire", "agent/sink", "bpf/abi"}},
	{"agent/engine", []string{"thread", "agent/container", "agent/dial", "agent/file"}},
	{"agent/image", []string{"thread", "bpf/abi"}},
	{"agent/socket", []string{"thread"}},
	{"agent/inspect", nil},
	{"agent/evidence", nil},
	{"agent/api", []string{"agent/dial", "agent/container", "agent/tripwire", "agent/evidence", "agent/socket", "agent/label", "agent/lock", "bpf/abi", "bpf/fault"}},
	{"agent/explain", []string{"agent/sink", "compiler", "bpf/abi"}},
	{"agent/delivery", []string{"agent/sink", "bpf/abi"}},
	{"agent/policies", []string{"agent/config", "compiler", "bpf/abi"}},
	{"agent/decide", []string{"compiler", "bpf/abi"}},
	{"agent/host", []string{"agent/file", "thread", "agent/delivery", "cgroup", "bpf", "bpf/abi", "bpf/fault"}},
	{"agent/host/hosttest", []string{"agent/*", "compiler", "bpf", "bpf/abi", "cgroup"}}, // fakes, for tests
	{"agent/hold", []string{"agent/host", "agent/explain", "agent/image", "agent/fanotify", "agent/sink", "agent/api", "compiler", "bpf", "bpf/abi", "bpf/fault"}},
	{"agent/respond", []string{"agent/evidence", "agent/inspect", "agent/socket", "agent/sink", "compiler", "agent/api", "agent/lock", "cgroup", "bpf", "bpf/abi", "bpf/fault"}},
	{"agent/memory", []string{"agent/file", "agent/container", "agent/api", "agent/host", "agent/label", "agent/tripwire", "compiler", "bpf/abi", "bpf/fault"}},
	{"agent/deputy", []string{"agent/memory", "agent/respond", "agent/host", "agent/api", "agent/lock", "cgroup", "bpf", "bpf/abi"}},
	{"agent/reach", []string{"agent/run", "agent/inspect", "agent/respond", "agent/deputy", "cgroup", "agent/host", "agent/api", "agent/label", "agent/lock"}},
	{"agent/run", []string{"thread", "agent/memory", "agent/tripwire", "agent/respond", "agent/label", "agent/lock", "agent/host", "agent/delivery", "agent/explain", "agent/sink", "agent/api", "compiler", "bpf", "bpf/abi", "cgroup"}},
	{"agent/daemon", []string{"agent/container", "agent/memory", "agent/tripwire", "agent/label", "agent/lock", "agent/run", "agent/hold", "agent/respond", "agent/host", "agent/delivery", "agent/explain", "agent/policies", "agent/sink", "agent/config", "agent/api",
		"compiler", "bpf", "bpf/abi", "bpf/fault", "cgroup", "inotify"}},
	{"agent", []string{"agent/container", "agent/dial", "agent/engine", "agent/daemon", "agent/run", "agent/reach", "agent/socket", "agent/tripwire", "agent/inspect", "agent/evidence", "agent/label", "agent/lock", "agent/decide", "agent/policies", "agent/host", "agent/sink", "agent/config", "agent/api", "compiler", "bpf/abi"}},
	{"agent/kube/v1alpha1", nil},
	{"agent/kube/plan", []string{"agent/kube/v1alpha1", "agent/label", "agent/policies", "compiler", "compiler/rule", "bpf/abi"}},
	{"agent/kube", []string{"agent/kube/v1alpha1", "agent/kube/plan", "agent/api", "agent/dial", "agent/file", "agent/sink"}},
	{"cmd/stockade-kube", []string{"agent/kube"}},
	{"cmd/stockade", []string{"agent", "compiler", "compiler/report", "cgroup", "bpf", "bpf/abi"}},
	{"cmd/stockade-runc", []string{"agent/dial", "agent/container"}},
	{"scripts/*", []string{"*"}},
}

// outside lists what must not be reached at all, not even through others: a
// policy is checked on a laptop, and what shows denials needs no kernel either.
var outside = []struct{ from, never string }{
	{"compiler", "github.com/cilium/ebpf"},
	{"compiler/*", "github.com/cilium/ebpf"},
	{"agent/sink", "github.com/cilium/ebpf"},
	{"agent/delivery", "github.com/cilium/ebpf"},
	{"agent/explain", "github.com/cilium/ebpf"},
	{"agent/policies", "github.com/cilium/ebpf"},
	{"agent/decide", "github.com/cilium/ebpf"},
	{"agent/config", "github.com/cilium/ebpf"},
	{"agent/api", "github.com/cilium/ebpf"},
	{"agent/kube*", "github.com/cilium/ebpf"}, // it asks the agent by its socket
	{"cmd/stockade-kube", "github.com/cilium/ebpf"},
}

// cluster lists whose packages speak to clusters: agent/kube alone, and what is built on it,
// reaches them, so that all else stays small.
var cluster = []string{"k8s.io/*", "sigs.k8s.io/*"}

// ofCluster are the packages that may.
var ofCluster = []string{"agent/kube*", "cmd/stockade-kube", "scripts/*"}

func matches(pattern, name string) bool {
	below, star := strings.CutSuffix(pattern, "*")
	return pattern == name || star && strings.HasPrefix(name, below)
}

// forbidden says why the package from may not import the package to, both
// relative to the module; "" if it may.
func forbidden(from, to string) string {
	if matches("scripts/*", to) && !matches("scripts/*", from) {
		return "scripts are tools: nothing imports them"
	}
	// Among the lines that match, the longest pattern is the package's own.
	best := -1
	for i, line := range layout {
		if matches(line.from, from) && (best < 0 || len(line.from) > len(layout[best].from)) {
			best = i
		}
	}
	if best < 0 {
		return "the importing package is not in the layout"
	}
	if slices.ContainsFunc(layout[best].may, func(p string) bool { return matches(p, to) }) {
		return ""
	}
	return fmt.Sprintf("it may import %q", layout[best].may)
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath    string
	Imports, Deps []string
}

// violations checks a list of packages: imports of non-test code only.
func violations(packages []pkg) []string {
	var list []string
	for _, p := range packages {
		from, ours := relative(p.ImportPath)
		if !ours {
			continue
		}
		for _, path := range p.Imports {
			if to, ours := relative(path); ours {
				if why := forbidden(from, to); why != "" {
					list = append(list, fmt.Sprintf("%s imports %s: forbidden; %s", from, to, why))
				}
			}
		}
		for _, rule := range outside {
			reached := slices.ContainsFunc(p.Deps, func(path string) bool { return matches(rule.never+"*", path) })
			if matches(rule.from, from) && reached {
				list = append(list, fmt.Sprintf("%s reaches %s: forbidden", from, rule.never))
			}
		}
		is := func(name string) func(string) bool {
			return func(pattern string) bool { return matches(pattern, name) }
		}
		if i := slices.IndexFunc(p.Deps, func(path string) bool { return slices.ContainsFunc(cluster, is(path)) }); i >= 0 && !slices.ContainsFunc(ofCluster, is(from)) {
			list = append(list, fmt.Sprintf("%s reaches %s: forbidden; agent/kube does", from, p.Deps[i]))
		}
	}
	return list
}

func relative(path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

func TestImportsFollowTheLayout(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
		cmd.Env = append(cmd.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v: imports are not checked\n%s", err, stderr.Bytes())
		}
		var packages []pkg
		for d := json.NewDecoder(bytes.NewReader(out)); ; {
			var p pkg
			if err := d.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			packages = append(packages, p)
		}
		if len(packages) < 8 {
			t.Fatalf("go list: %d packages: too few to be the whole module", len(packages))
		}
		for _, v := range violations(packages) {
			t.Errorf("%s: %s", arch, v)
		}
	}
}

// own matches what changes the thread that calls it.
var own = regexp.MustCompile(`\b(unix|syscall)\.(Unshare|Setns|Chroot)\(`)

// TestOnlyThreadsThatEndAreChanged finds files that change their thread and do not use
// the package for that: on the first thread, now and then, it is the process that is
// changed. Programs for tests and guests are processes of their own.
func TestOnlyThreadsThatEndAreChanged(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && len(name) > 1 && name[0] == '.' {
			return fs.SkipDir
		}
		if err != nil || filepath.Ext(name) != ".go" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil || !own.Match(text) {
			return err
		}
		found++
		if !bytes.Contains(text, []byte(module+"/thread\"")) && !matches("bpf/vmtest/probes/*", name) && !matches("scripts/vm/guest/*", name) &&
			name != "agent/vmtest/boxroam_test.go" { // the first one, on purpose

			t.Errorf("%s: changes its thread, which may be the first; use the package thread", name)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v: threads are not checked", err)
	}
	if found < 5 {
		t.Errorf("%d files change their threads: too few to be all", found)
	}
}

// TestPlantedViolationIsFound proves that the rules refuse what they should.
func TestPlantedViolationIsFound(t *testing.T) {
	const ebpf, client = "github.com/cilium/ebpf", "k8s.io/client-go/kubernetes"
	for _, c := range []struct {
		from  string
		to    string
		legal bool
	}{
		{"compiler/table", "compiler/rule", true},
		{"compiler", "compiler/table", true},
		{"bpf", "bpf/abi", true},
		{"bpf", ebpf, true},
		{"agent", "agent/sink", true},
		{"agent/sink", "bpf/abi", true},
		{"cmd/stockade", "agent", true},
		{"cmd/stockade", "compiler/report", true},
		{"compiler/report", "compiler", true},
		{"scripts/bench", "compiler", true},
		{"scripts/vm/guest", "scripts/vm/wire", true},

		{"agent/daemon", "agent/hold", true},
		{"agent/run", "agent/host", true},
		{"bpf", "bpf/fault", true},
		{"agent/api", "bpf/fault", true},
		{"agent/kube", "agent/kube/plan", true},
		{"agent/kube", client, true},
		{"agent/kube/plan", "compiler", true},
		{"cmd/stockade-kube", "agent/kube", true},

		{"agent", "agent/kube", false},
		{"cmd/stockade", "agent/kube", false},
		{"cmd/stockade", client, false},
		{"agent/daemon", client, false},
		{"agent/kube", ebpf, false},
		{"agent/kube/plan", "agent/kube", false},
		{"bpf/fault", "bpf/abi", false},
		{"compiler", "bpf/fault", false},
		{"cmd/stockade", "bpf/fault", false},
		{"bpf/abi", "compiler/rule", false},
		{"cgroup", "bpf/abi", false},
		{"compiler/rule", "bpf/abi", true},
		{"compiler/pattern", "bpf/abi", false},
		{"compiler/rule", "compiler/table", false},
		{"compiler/table", "compiler", false},
		{"compiler/schema", "bpf/abi", false},
		{"compiler", "bpf", false},
		{"compiler", "compiler/gen", false},
		{"compiler", "compiler/report", false},
		{"agent", "compiler/report", false},
		{"compiler", ebpf, false},
		{"compiler/table", ebpf + "/btf", false},
		{"bpf", "compiler", false},
		{"agent/sink", "agent", false},
		{"agent/run", "agent/daemon", false},
		{"agent/hold", "agent/daemon", false},
		{"agent/hold", "agent/run", false},
		{"agent/host", "agent/run", false},
		{"agent/delivery", "bpf", false},
		{"agent/decide", ebpf, false},
		{"agent/daemon", "agent", false},
		{"agent", "bpf", false},
		{"agent", "agent/host/hosttest", false},
		{"agent/sink", "bpf", false},
		{"agent/sink", "agent/api", false},
		{"agent", "cmd/stockade", false},
		{"cmd/stockade", "compiler/table", false},
		{"cmd/stockade", "agent/sink", false},
		{"cmd/stockade", "scripts/examples", false},
		{"bpf", "scripts/vm/wire", false},
		{"surprise", "bpf/abi", false},
		{".", "bpf/abi", false},
	} {
		path := module + "/" + c.to
		if c.to == client || strings.HasPrefix(c.to, "github.com/") {
			path = c.to
		}
		found := violations([]pkg{{ImportPath: module + "/" + c.from, Imports: []string{path}, Deps: []string{path}}})
		if (len(found) == 0) != c.legal {
			t.Errorf("%s imports %s: found %q, legal is %v", c.from, c.to, found, c.legal)
		}
	}
}
