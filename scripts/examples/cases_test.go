package examples

import (
	. "github.com/stockade-dev/stockade/bpf/abi"
)

const (
	tree = "/tmp/stockade_example"
	home = "/home/agent"
	shop = "/home/agent/work/shop"
	ws   = "/home/agent/work"
)

// What release.cedar is about.
const (
	app           = "/srv/app"
	holidays      = 1798070400000 // 2026-12-24, in milliseconds since 1970
	afterHolidays = 1799020800000 // 2027-01-04
)

var builder = Facts{UID: 1000, GID: 1000, Now: 1795000000000, Exe: "/usr/bin/make", Parent: "/usr/bin/bash"}

func by(exe string) Facts      { f := builder; f.Exe = exe; return f }
func at(now int64) Facts       { f := builder; f.Now = now; return f }
func moving(dest string) Facts { f := builder; f.Dest = dest; return f }

var change = []Action{Write, Create, Delete, Move, Chmod}

var expectations = map[string]expectation{
	library: { // with claude-code.cedar; every line of it: later_test.go
		allowed: join(
			file(ws+"/Makefile", append(change, Open, Read)...),
			file(ws+"/.git/index.lock", append(change, Open, Read)...),
			file(home+"/.zsh_history", append(change, Open, Read)...),
			file(home+"/.lesshst", append(change, Open, Read)...),
			file(home+"/.npm/_npx/a/node_modules/.bin/a", change...),
			file(home+"/.cache/pre-commit/a", change...),
			file(home+"/go/pkg/mod/a", change...),
			file(home+"/miniconda3/envs/a/bin/python", change...),
			file(ws+"/node_modules/a/.vscode/settings.json", change...),
			with(Facts{Dest: ws + "/lib"}, dir(ws+"/src", Move)),
			with(Facts{Dest: ws + "/node_modules/a"}, dir(ws+"/node_modules/.a-x1", Move)),
		),
		denied: join(
			file(ws+"/.vscode/settings.json", change...),
			file(ws+"/vendor/a/.git/hooks/pre-commit", change...),
			file(ws+"/vendor/a/.git", Create),
			file(ws+"/.git/config.lock", change...),
			dir(ws+"/.git/COMMIT_EDITMSG", Create), // a link
			file(home+"/.config", Create),
			with(Facts{Dest: ws + "/vendor/.git"}, dir(ws+"/evil", Move)),
			with(Facts{Dest: ws + "/a"}, dir(ws+"/node_modules/a", Move)),
		),
	},
	"honeytokens.cedar": { // it only forbids
		denied: join(
			file(home+"/.aws/credentials.old", append(change, Open, Read)...),
			file("/root/.ssh/id_rsa.old", Open, Read),
			file(home+"/passwords.txt", append(change, Open, Read)...),
		),
	},
	"read-only-tree.cedar": {
		allowed: join(
			dir(tree, Open, Read),
			file(tree+"/a/b.txt", Open, Read),
		),
		denied: join(
			file(tree+"/a/b.txt", Write, Create, Delete, Move, Chmod, Chown, Execute, Map),
			file(tree+"2/b.txt", Open, Read),
			dir("/tmp", Open, Read),
			dir("/", Open, Read),
		),
	},
	"read-write-tree.cedar": {
		allowed: join(
			dir(tree, Open, Read, Create),
			file(tree+"/new", Open, Read, Write, Create, Delete, Move),
			file(tree+"/originals/a", Open, Read),
			file(tree+"/originals2", Write, Delete),
		),
		denied: join(
			file(tree+"/originals/a", Write, Create, Delete, Move),
			dir(tree+"/originals", Delete, Move),
			file(tree+"/new", Chmod, Chown, Execute, Map),
			file("/tmp/other", Open, Read, Write, Create),
		),
	},
	"release.cedar": {
		allowed: join(
			with(builder, file(app+"/main.go", Open, Read, Write, Create, Delete)),
			with(moving(app+"/new.go"), file(app+"/main.go", Move)),
			with(builder, file(app+"/.git/HEAD", Open, Read)),
			with(by("/usr/bin/git"), file(app+"/.git/HEAD", Write, Create, Delete)),
			with(builder, file(app+"/release/1.tar", Write, Create)),
			with(at(afterHolidays), file(app+"/release/1.tar", Write, Create)),
		),
		denied: join(
			with(builder, file(app+"/tls/server.pem", Open, Read, Write)),
			with(builder, file(app+"/.env.local", Read)),
			with(builder, file(app+"/deploy/id_rsa.bak", Read)),
			with(builder, file("/srv/apple/main.go", Read)),
			with(by("/usr/bin/vim"), file(app+"/.git/HEAD", Write)),
			with(at(holidays), file(app+"/release/1.tar", Write, Create)),
			with(at(afterHolidays-1), file(app+"/release/1.tar", Write)),
			with(moving("/srv/other/main.go"), file(app+"/main.go", Move)),
			with(Facts{}, file(app+"/main.go", Read)), // root
		),
	},
	"exec-usr-bin.cedar": {
		allowed: join(
			file("/usr/bin/git", Execute),
			file("/usr/bin/python3.11", Execute),
		),
		denied: join(
			file("/usr/bin/sudo", Execute, Map),
			file("/usr/bin/su", Execute, Map),
			file("/usr/sbin/nft", Execute),
			file("/usr/bin-evil", Execute),
			file("/usr/bin/git", Write, Delete, Open, Read),
			file("/tmp/git", Execute, Map),
		),
	},
	"coding-agent.cedar": {
		allowed: join(
			dir(shop, Open, Read),
			file(shop+"/main.py", append(change, Open, Read)...),
			file(shop+"/.git/index.lock", append(change, Open, Read)...),
			file(shop+"/.git/hooks/pre-commit", Open, Read),
			file(shop+"/.git/config", Open, Read),
			file(home+"/.gitconfig", Open, Read),
			file("/usr/bin/git", Execute, Open, Read),
			file("/usr/bin/python3.13", Execute),
			file("/usr/lib/python3.11/os.py", Open, Read),
			with(Facts{Xattr: "system.posix_acl_access"}, file(shop+"/a", SetXattr)),
			systemState,
			temporary,
			dir("/tmp/shop-agent", Open, Read, Create),
			file("/tmp/shop-agent/a", append(change, Open, Read)...),
		),
		denied: join(
			with(Facts{Xattr: "security.capability"}, file(shop+"/a", SetXattr)), // and set-user-ID
			with(Facts{Xattr: "system.posix_acl_access"}, file("/etc/passwd", SetXattr)),
			systemSecrets,
			file("/tmp/other", Open, Read, Write, Create),
			file("/tmp/tmux-1000/default", Open, Write),
			dir("/tmp", Open, Read),
			file(home+"/.ssh/id_ed25519", Open, Read, Write, Create, Execute),
			dir(home+"/.ssh", Open, Read),
			file(home+"/.aws/credentials", Open, Read),
			file(home+"/.netrc", Open, Read),
			file("/etc/shadow", Open, Read),
			file("/etc/ssh/ssh_host_ed25519_key", Open, Read),
			file("/etc/ssl/private/key.pem", Open, Read),
			file("/etc/passwd", Write, Chmod),
			file(home+"/.gitconfig", Write),
			file(home+"/work/bank/ledger.csv", append(change, Open, Read)...),
			dir(home+"/work/bank", Open, Read, Delete, Move),
			file(shop+"/.git/hooks/pre-commit", change...),
			file(shop+"/.git/config", change...),
			file(shop+"/upload", Execute, Map),
			file("/usr/bin/curl", Execute, Map),
			file("/usr/bin/sudo", Execute, Map),
			file("/usr/bin/git", Write, Map),
			file("/proc/1/environ", Open, Read),
		),
	},
	"claude-code.cedar": {
		allowed: join(
			file(ws+"/src/main.go", append(change, Open, Read)...),
			file(home+"/.claude/projects/a.jsonl", append(change, Open, Read)...),
			file(home+"/.claude.json.tmp.4711.a0b1", append(change, Open, Read)...),
			dir(home+"/.claude.json.lock", Create, Delete),
			dir("/tmp/claude-1000", Open, Read, Create),
			file(home+"/.claude/settings.json", Open, Read),
			file("/usr/bin/node", Execute, Open, Read),
			file("/usr/lib/x86_64-linux-gnu/libc.so.6", Execute),
			with(Facts{Xattr: "system.posix_acl_access"}, file(ws+"/a", SetXattr)),
			systemState, kernelState, temporary,
			file("/dev/null", Open, Read, Write),
			file("/dev/pts/ptmx", Open, Read, Write),
		),
		denied: join(
			with(Facts{Xattr: "security.capability"}, file(ws+"/a", SetXattr)), // and set-user-ID
			with(Facts{Xattr: "system.posix_acl_access"}, file("/etc/passwd", SetXattr)),
			secrets, systemSecrets, kernelSecrets, otherSessions,
			file("/dev/pts/3", Open, Read, Write),
			file(home+"/.claude/settings.json", append(change, Chown)...),
			file(ws+"/.claude/settings.local.json", change...),
			laterCode,
			file(home+"/.claude/tool", Execute, Map),
			file(ws+"/tool", Execute, Map),
			file("/tmp/tool", Execute, Map),
			file("/usr/bin/git", Write, Delete),
			file("/etc/cron.d/job", Create, Write),
			file("/home/other/notes", Open, Read),
			file("/dev/sda", Open, Read),
			file("/proc/sys/kernel/core_pattern", Write),
		),
	},
	"codex.cedar": {
		allowed: join(
			file(ws+"/src/main.go", append(change, Open, Read)...),
			file(home+"/.codex/state.sqlite-wal", append(change, Open, Read)...),
			file(home+"/.cache/x", Create, Write, Open),
			file(home+"/.npm/_cacache/x", Create, Write, Open),
			file("/var/tmp/#1234", Open, Read, Write, Create),
			file(home+"/.codex/config.toml", Open, Read),
			file(home+"/.gitconfig", Open, Read),
			file(home+"/.config/git/ignore", Open, Read),
			file("/usr/bin/lsb_release", Execute),
			file("/usr/bin/mawk", Execute),
			with(Facts{Xattr: "system.posix_acl_access"}, file(ws+"/a", SetXattr)),
			systemState, kernelState, temporary,
			file("/dev/urandom", Open, Read),
		),
		denied: join(
			with(Facts{Xattr: "security.capability"}, file(ws+"/a", SetXattr)), // and set-user-ID
			with(Facts{Xattr: "system.posix_acl_access"}, file("/etc/passwd", SetXattr)),
			secrets, systemSecrets, kernelSecrets, otherSessions,
			file(home+"/.codex/config.toml", append(change, Chown)...),
			laterCode,
			file(home+"/letters/a.txt", Open, Read, Write),
			dir(home, Read, Create),
			file(home+"/.codex/tool", Execute, Map),
			file(home+"/.gitconfig", Write),
			file("/home/other/notes", Open, Read),
		),
	},
}

// What programs need of the machine, and what they do not.
var (
	systemState = join(
		file("/etc/passwd", Open, Read), file("/etc/group", Open, Read), file("/etc/hosts", Open, Read),
		file("/etc/nsswitch.conf", Open, Read), file("/etc/resolv.conf", Open, Read), file("/etc/localtime", Open, Read),
		file("/etc/ld.so.cache", Open, Read), file("/etc/ld.so.conf.d/a.conf", Open, Read), file("/etc/gitconfig", Open, Read),
		file("/etc/machine-id", Open, Read), file("/etc/ssl/certs/ca-certificates.crt", Open, Read),
		file("/etc/ssl/openssl.cnf", Open, Read),
	)
	systemSecrets = join(
		file("/etc/wireguard/wg0.conf", Open, Read), file("/etc/NetworkManager/system-connections/a", Open, Read),
		file("/etc/kubernetes/admin.conf", Open, Read), file("/etc/rancher/k3s/k3s.yaml", Open, Read),
		file("/etc/shadow", Open, Read), file("/etc/gshadow", Open, Read), file("/etc/sudoers", Open, Read),
		file("/etc/sudoers.d/a", Open, Read), file("/etc/ssh/ssh_host_ed25519_key", Open, Read),
		file("/etc/ssl/private/key.pem", Open, Read), file("/etc/letsencrypt/live/a/privkey.pem", Open, Read),
		file("/etc/krb5.keytab", Open, Read), file("/etc/openvpn/a.key", Open, Read), file("/etc/docker/key.json", Open, Read),
		file("/etc/postgresql/a.conf", Open, Read), dir("/etc", Open, Read), file("/etc/passwd", Write, Create, Chmod),
		file("/etc/ssl/certs/a.pem", Write, Create),
	)
	kernelState = join(
		dir("/proc", Open, Read), file("/proc/4711/stat", Open, Read), file("/proc/10/status", Open, Read),
		file("/proc/4711/net/tcp", Open, Read), file("/proc/cpuinfo", Open, Read), file("/proc/meminfo", Open, Read),
		file("/proc/stat", Open, Read), file("/proc/version", Open, Read), file("/proc/filesystems", Open, Read),
		file("/proc/sys/kernel/pid_max", Open, Read), file("/proc/sys/net/core/somaxconn", Open, Read),
		file("/sys/fs/cgroup/cpu.max", Open, Read), file("/sys/devices/system/cpu/online", Open, Read),
	)
	kernelSecrets = join(
		file("/proc/1/environ", Open, Read), file("/proc/kmsg", Open, Read), file("/proc/kcore", Open, Read),
		file("/proc/kallsyms", Open, Read), file("/proc/keys", Open, Read), file("/proc/iomem", Open, Read),
		file("/proc/bus/pci/00/00.0", Open, Read), file("/proc/sys/kernel/core_pattern", Write),
		file("/proc/sys/net/ipv6/conf/eth0/stable_secret", Open, Read), file("/proc/sysrq-trigger", Open, Write),
		file("/sys/kernel/tracing/trace", Open, Read), file("/sys/kernel/debug/x", Open, Read),
		file("/sys/firmware/efi/efivars/a", Open, Read), file("/sys/kernel/security/lsm", Open, Read), file("/sys/fs/cgroup/cgroup.procs", Write),
	)
	temporary = join(
		file("/tmp/sh-thd.Ab12", Open, Read, Write, Create, Delete),
		file("/dev/shm/sem.mp-x", Open, Read, Write, Create, Delete),
		file("/dev/shm/psm_1", Open, Read, Write, Create, Delete),
		file("/dev/shm/pym-17-x", Open, Read, Write, Create, Delete),
	)
	otherSessions = join(
		file("/tmp/tmux-1000/default", Open, Write), file("/tmp/ssh-x/agent.1", Open, Write), file("/tmp/.X11-unix/X0", Open, Write),
		file("/tmp/.ICE-unix/1", Open, Write), file("/tmp/screens/S-a/1", Open, Write), file("/tmp/emacs1000/server", Open, Write),
		file("/tmp/.java_pid1", Open, Write), file("/tmp/dbus-x", Open, Write), dir("/tmp/systemd-private-x", Open, Read),
		file("/dev/shm/other", Open, Read, Write, Create), dir("/dev/shm", Open, Read),
	)
	// outsiders are sockets that no example connects to.
	outsiders = join(
		file("/tmp/tmux-1000/default", ConnectUnix), file("/tmp/a-state/sock", ConnectUnix), file("/tmp/x", ConnectUnix),
		file(ws+"/.a/docker.sock", ConnectUnix), file(shop+"/sock", ConnectUnix), file(home+"/.gnupg/S.gpg-agent", ConnectUnix),
		file("/run/docker.sock", ConnectUnix), file("/run/dbus/system_bus_socket", ConnectUnix), file("/run/stockade/agent.sock", ConnectUnix),
		file("/run/systemd/journal/dev-log", ConnectUnix), file("/dev/shm/sem.x", ConnectUnix), file("/usr/lib/x", ConnectUnix),
	)
)

// secrets and laterCode are what no agent of these profiles may touch.
var (
	secrets = join(
		file(home+"/.ssh/id_rsa", Open, Read, Write, Create, Move),
		dir(home+"/.ssh", Open, Read, Move),
		file(home+"/.gnupg/private-keys-v1.d/k", Open, Read),
		file(home+"/.aws/credentials", Open, Read),
		file(home+"/.kube/config", Open, Read),
		file(home+"/.config/gcloud/credentials.db", Open, Read),
		file(home+"/.netrc", Open, Read),
		file("/etc/shadow", Open, Read),
		file("/etc/gshadow-", Open, Read),
		file("/etc/ssl/private/key.pem", Open, Read),
	)
	laterCode = join(
		file(ws+"/.git/hooks/pre-commit", change...),
		dir(ws+"/.git/hooks", Delete, Move),
		file(ws+"/.git/config", change...),
		file(home+"/.bashrc", change...),
		file(home+"/.zshenv", change...),
		file(home+"/.profile", change...),
	)
)
