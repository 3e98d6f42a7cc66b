package vmtest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// daemonSetCaps are the capabilities of the agent's container
// (scripts/deploy/kubernetes): what it lacks of root's is not needed.
var daemonSetCaps = []string{"CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_DAC_READ_SEARCH", "CAP_DAC_OVERRIDE",
	"CAP_KILL", "CAP_NET_ADMIN", "CAP_SYSLOG", "CAP_SYS_CHROOT"}

// inDaemonSet makes a container of the agent as the DaemonSet does: the image's files, the
// host's processes, a cgroup namespace of its own.
func inDaemonSet(c *container) {
	bind := func(path string, options ...string) specs.Mount {
		return specs.Mount{Destination: path, Type: "bind", Source: path, Options: append([]string{"rbind", "rprivate"}, options...)}
	}
	text, err := os.ReadFile(program)
	must(err)
	must(os.RemoveAll(c.dir + "/rootfs"))
	for _, dir := range []string{"proc", "dev", "sys", "run/stockade", "var/lib/stockade", "var/log", "policy", "etc/stockade", "tmp"} {
		must(os.MkdirAll(c.dir+"/rootfs/"+dir, 0o755))
	}
	must(os.WriteFile(c.dir+"/rootfs/stockade", text, 0o755))
	for _, dir := range []string{"/run/stockade", "/var/lib/stockade"} {
		must(os.MkdirAll(dir, 0o700))
	}
	c.spec.Process.Args = []string{"/stockade", "agent", "--config", agentConf}
	c.spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: daemonSetCaps, Effective: daemonSetCaps, Permitted: daemonSetCaps}
	c.spec.Annotations = nil
	c.spec.Root.Readonly = true
	c.spec.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace}}
	c.spec.Mounts = append(slices.Clone(c.spec.Mounts[:2]),
		specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		bind("/sys/fs/cgroup"), bind("/sys/fs/bpf"), bind("/sys/kernel/security", "ro"), bind("/run/stockade"), bind("/var/lib/stockade"), bind("/var/log"), bind("/policy", "ro"), bind("/etc/stockade", "ro"))
}

// TestContainersHeldFromAContainer has the agent in a container, as its DaemonSet does.
func TestContainersHeldFromAContainer(t *testing.T) {
	runtime := oneRuntime(t)
	must(os.RemoveAll(agentLog))
	put(agentConf, containersYAML[:strings.Index(containersYAML, "  - name: asking")])
	put("/policy/box.cedar", boxPolicy)
	put(wrapperConf, fmt.Sprintf(`{"runtime": %q, "wait": %q}`+"\n", runtime, waits))
	if r := stockade(t, "uninstall", "--force"); r.code != 0 {
		t.Fatalf("uninstall: %+v", r)
	}
	a := newContainer(t, runtime, "daemonset", false, inDaemonSet)
	if err := a.create(); err != nil {
		t.Fatalf("create: %v: %s", err, a.said())
	}
	if out, err := a.do("start", a.id); err != nil {
		t.Fatalf("start: %v: %s%s", err, out, a.said())
	}
	for end := time.Now().Add(4 * time.Minute); !listens(); time.Sleep(time.Second) {
		if time.Now().After(end) || a.state() != "running" {
			t.Fatalf("the agent is %s: %s", a.state(), a.said())
		}
	}
	t.Log(a.said())
	f := &fleetOfBoxes{runtime, "held"}
	c := f.box(t, "entry").begin()
	c.isConfined()
	c.can("read", "/data/ok", "ok")
	c.cannot("read", "/data/secret")
	c.refuses("/bin/touch", "/vol/mark")
	c.wantDenials(secretDenied, touchDenied)
	if groups := groupsOf(t, c.workloadName()); !slices.Equal(groups, []string{"boxes/" + c.id}) {
		t.Errorf("its cgroups, as the agent names them: %q", groups)
	}
	if r := stockade(t, "kill", c.workloadName()); r.code != 0 || c.state() != "stopped" {
		t.Errorf("kill by the agent: %+v; it is %s", r, c.state())
	}
	c.end()
	c.gone()
	if out, err := a.do("exec", a.id, "/stockade", "ps"); err != nil {
		t.Errorf("ps in the agent's container: %v: %s", err, out)
	}
	if out, err := a.do("kill", a.id, "TERM"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	await(t, "the agent's end", func() bool { return a.state() == "stopped" })
	if r := stockade(t, "uninstall"); r.code != 0 {
		t.Errorf("uninstall: %+v", r)
	}
}

// groupsOf are the cgroups of a workload in ps.
func groupsOf(t *testing.T, name string) []string {
	t.Helper()
	out, err := exec.Command(program, "ps", "--json").Output()
	var s struct {
		Workloads []struct {
			Name    string
			Cgroups []string
		}
	}
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	must(err)
	for _, w := range s.Workloads {
		if w.Name == name {
			return w.Cgroups
		}
	}
	return nil
}
