package vmtest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// attempts runs a script of lines "NAME: COMMAND" under policies, and tells which
// commands succeeded.
func attempts(t *testing.T, dir, script string, args ...string) (map[string]bool, result) {
	t.Helper()
	var text strings.Builder
	var names []string
	for line := range strings.Lines(script) {
		name, command, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		names = append(names, name)
		text.WriteString("if ( " + command + " ) >/dev/null; then echo yes " + name + "; else echo no " + name + "; fi\n")
	}
	cmd := exec.Command(program, append(args, "--", "bash", "-c", text.String())...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME=/home/agent", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C.UTF-8", "PYTHONDONTWRITEBYTECODE=1")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	done := map[string]bool{}
	for line := range strings.Lines(out.String()) {
		verdict, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		done[name] = verdict == "yes"
	}
	for _, n := range names {
		if _, ok := done[n]; !ok {
			t.Errorf("%s was not tried: the run ended with %v", n, err)
		}
	}
	return done, result{cmd.ProcessState.ExitCode(), out.String(), errs.String(), 0}
}

// expect compares: names that begin with "no-" must have failed.
func expect(t *testing.T, done map[string]bool, r result) {
	t.Helper()
	wrong := false
	for name, ok := range done {
		if ok == strings.HasPrefix(name, "no-") {
			t.Errorf("%s: succeeded: %v", name, ok)
			wrong = true
		}
	}
	if wrong || len(done) == 0 {
		t.Logf("exit code %d\n%s\n%s", r.code, r.stdout, r.stderr)
	}
}

func profile(name string) []string {
	dir, err := filepath.Abs(examples)
	must(err)
	return []string{"run", "--policy", filepath.Join(dir, name), "--policy", filepath.Join(dir, "later-code.cedar")}
}

// stage makes a home with a repository in it, and an origin for that.
func stage(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("bash", "-ec", `
export HOME=/home/agent GIT_CONFIG_NOSYSTEM=1
rm -rf /home/agent /tmp/shop-agent; mkdir -p /home/agent `+dir+`; cd `+dir+`
printf '[user]\n\tname = agent\n\temail = agent@example.org\n' >/home/agent/.gitconfig
git init -q -b main .; echo one >one; git add one; git commit -q -m one
git clone -q --bare . .origin.git; echo .origin.git >>.git/info/exclude; git remote add origin `+dir+`/.origin.git; git fetch -q
mkdir -p /etc/wireguard /etc/NetworkManager/system-connections /etc/kubernetes
echo key >/etc/wireguard/wg0.conf; echo key >/etc/NetworkManager/system-connections/a; echo key >/etc/kubernetes/admin.conf
`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

const git = `
	add: echo two >two && git add two
	commit: git commit -q -m two
	branch: git branch topic && git checkout -q topic && git checkout -q main
	merge: git merge -q topic
	stash: echo x >>one && git stash -q && git stash pop -q && git checkout -q one
	fetch: git fetch -q
	push: git push -q origin main
	gc: git gc -q
	status: git status
	rename: mkdir src && echo a >src/a && mv src lib && mv lib/a lib/b
`

const plants = `
	no-hook: echo x >.git/hooks/pre-commit
	no-hook-copied: cp one .git/hooks/pre-commit
	no-hook-moved: cp one x && mv x .git/hooks/pre-commit
	no-hook-linked: ln -f one .git/hooks/pre-commit
	no-hook-symlink: ln -s ../../one .git/hooks/pre-commit
	no-hooks-away: mv .git/hooks .git/h
	no-git-away: mv .git git
	git-whole: [ ! -e git ] && git status && ls .git/hooks
	no-config: git config core.fsmonitor evil
	no-commondir: echo /tmp >.git/commondir
	nested: mkdir -p vendor/a/.git vendor/b/hooks
	no-nested-hooks: mkdir vendor/a/.git/hooks
	no-nested-moved-in: mv -T vendor/b vendor/c.git && mv -T vendor/c.git vendor/.git
	no-nested-file: echo 'gitdir: ../b' >vendor/b/.git
	no-nested-link: ln -s b vendor/b/.git
	no-clone: git clone -q .origin.git other
	no-worktree: git worktree add -q ../wt
	no-vscode: mkdir .vscode
	no-envrc: echo x >.envrc
	no-mcp: echo x >.mcp.json
	no-claude: mkdir -p .claude && echo x >.claude/settings.json
	makefile: echo all: >Makefile
`

func TestLaterCodeStaysOutAndGitGoesOn(t *testing.T) {
	byAgent(t)
	const ws = "/home/agent/work"
	stage(t, ws)
	done, r := attempts(t, ws, git+plants+`
	no-bashrc: echo x >~/.bashrc
	no-aliases: echo x >~/.bash_aliases
	no-profile-moved: echo x >x && mv x ~/.bash_profile
	no-gitconfig: git config --global core.fsmonitor evil
	no-config-link: ln -sT work ~/.config
	no-config-moved: mkdir -p e/git && mv -T e ~/.config
	config-made: mkdir ~/.config && mkdir ~/.config/x
	no-unit: mkdir ~/.config/systemd
	no-local-bin: mkdir -p ~/.local/bin
	cache: mkdir -p ~/.cache/x && echo x >~/.cache/x/y
	no-wireguard: cat /etc/wireguard/wg0.conf
	no-networkmanager: cat /etc/NetworkManager/system-connections/a
	no-kubernetes: cat /etc/kubernetes/admin.conf
	no-shadow: cat /etc/shadow
	no-kallsyms: cat /proc/kallsyms
	no-kmsg: head -c 1 /proc/kmsg
	no-tracing: cat /sys/kernel/tracing/trace
	no-init: cat /proc/1/environ
	names: cat /etc/passwd /etc/hosts /etc/nsswitch.conf
	proc: cat /proc/self/status /proc/cpuinfo /proc/meminfo /proc/stat /proc/version /proc/sys/kernel/pid_max
	group: cat /proc/self/cgroup && ls /sys/fs/cgroup
	python: python3 -c 'import ssl, json, subprocess; subprocess.check_call(["true"])'
	here-document: [ $(wc -c <<<$(head -c 100000 /dev/zero | tr '\0' a)) -gt 100000 ]
	semaphore: python3 -c 'import multiprocessing as m; m.Lock()'
`, profile("claude-code.cedar")...)
	expect(t, done, r)

	stage(t, ws)
	outside, err := net.Listen("unix", "/tmp/outside")
	must(err)
	defer outside.Close()
	must(os.Chmod("/tmp/outside", 0o777))
	done, r = attempts(t, ws, git+plants+`
	upstream-not-noted: ! git checkout -q -b topic2 origin/main && git checkout -q topic2 && ! git config branch.topic2.remote
	no-kubernetes: cat /etc/kubernetes/admin.conf
	no-home: echo x >~/notes
	semaphore: python3 -c 'import multiprocessing as m; m.Lock()'
	socket: python3 -c 'import socket as s; a = s.socket(s.AF_UNIX); a.bind("/tmp/inside"); a.listen(); s.socket(s.AF_UNIX).connect("/tmp/inside")'
	no-socket: python3 -c 'import socket as s; s.socket(s.AF_UNIX).connect("/tmp/outside")'
`, profile("codex.cedar")...)
	expect(t, done, r)
	if !strings.Contains(r.stderr, " denied connect_unix /tmp/outside by ") {
		t.Errorf("no denial names the socket: %s", r.stderr)
	}
	nothingLeft(t)
}

func TestCodingAgentHasWhatProgramsNeed(t *testing.T) {
	byAgent(t)
	const shop = "/home/agent/work/shop"
	stage(t, shop)
	const here = `[ $(wc -c <<<$(python3 -c 'print("a"*100000)')) -gt 100000 ]`
	done, r := attempts(t, shop, git+plants+`
	here-document: `+here+`
	here-document-own: export TMPDIR=/tmp/shop-agent && mkdir -p $TMPDIR && `+here+`
	tempfile: TMPDIR=/tmp/shop-agent python3 -c 'import tempfile as t; f = t.NamedTemporaryFile(); f.write(b"a"); f.flush()'
	no-other-temp: echo x >/tmp/other
	no-list: ls /tmp
	semaphore: python3 -c 'import multiprocessing as m; m.Lock()'
	shared-memory: python3 -c 'from multiprocessing import shared_memory as s; m = s.SharedMemory(create=True, size=10); m.buf[0] = 1; m.close(); m.unlink()'
	no-shm: echo x >/dev/shm/other
	no-wireguard: cat /etc/wireguard/wg0.conf
	no-kubernetes: cat /etc/kubernetes/admin.conf
	names: cat /etc/passwd /etc/hosts
`, profile("coding-agent.cedar")...)
	expect(t, done, r)
	nothingLeft(t)
}

// What the baseline lets be mapped is libraries: the loader starts no program that
// may not be executed.
func TestBaselineMapsLibrariesAlone(t *testing.T) {
	byAgent(t)
	must(os.WriteFile("/policy/tools.cedar", []byte(`
permit (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/usr/bin");
permit (principal, action in [file_system::Action::"open", file_system::Action::"read"], resource)
when { resource in [file_system::Dir::"/usr", file_system::Dir::"/etc", file_system::Dir::"/home/agent"] };`), 0o644))
	stage(t, "/home/agent/work")
	must(exec.Command("cp", "/usr/bin/git", "/usr/lib/git-core/planted").Run())
	must(exec.Command("/usr/lib/git-core/planted", "--version").Run())
	loader, err := filepath.EvalSymlinks("/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		t.Skip(err)
	}
	done, r := attempts(t, "/home/agent/work", `
	git: git log
	python: python3 -c 'import ssl, ctypes, decimal, multiprocessing, readline'
	perl: perl -MPOSIX -MList::Util -MSocket -e 'print POSIX::floor(1.5)'
	locale: LC_ALL=C.UTF-8 sort /etc/passwd
	names: getent passwd root
	iconv: echo a | iconv -f latin1 -t utf16
	no-planted: /usr/lib/git-core/planted --version
	no-planted-by-loader: `+loader+` /usr/lib/git-core/planted --version
	by-loader: `+loader+` /usr/bin/git --version
`, "run", "--policy", "/policy/tools.cedar")
	expect(t, done, r)
	if !strings.Contains(r.stderr, "denied map /usr/lib/git-core/planted") {
		t.Errorf("no denial names the mapping:\n%s", r.stderr)
	}
	nothingLeft(t)
}
