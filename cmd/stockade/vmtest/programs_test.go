package vmtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/docs"
)

// programs are what a coding agent runs all day. Each function makes a folder of its
// own and looks at what came of it: the first command that fails ends it (no &&, whose
// failures set -e passes over).
const programs = `
export HOME=/home/agent
repository() {
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
	git init -q -b main one; cd one
	echo one >f; git add f; git commit -q -m one
	git branch topic; git checkout -q topic; echo two >g; git add g; git commit -q -m two
	git checkout -q main; echo three >>f; git commit -q -a -m three; git merge -q --no-edit topic
	git clone -q . ../two; git -C ../two config user.name b; git -C ../two mv g h; git -C ../two stash -q
	git worktree add -q ../tree topic; test -f ../tree/g; git worktree remove ../tree
	git gc -q; git fsck --strict 2>/dev/null; test "$(git -C ../two log --oneline | wc -l)" = 4
}
packages() {
	mkdir tell app
	echo '{"name": "tell", "version": "1.0.0", "bin": "tell.js"}' >tell/package.json
	printf '#!/usr/bin/env node\nconsole.log("told", require("os").userInfo().uid)\n' >tell/tell.js
	cd app
	echo '{"name": "app", "version": "1.0.0", "dependencies": {"tell": "file:../tell"}, "scripts": {"postinstall": "tell >said"}}' >package.json
	# Once, and without its compiler: in a VM npm is slow.
	NODE_OPTIONS=--jitless npm install --offline --no-audit --no-fund >/dev/null
	test -f node_modules/tell/tell.js; grep -q '"node_modules/tell"' package-lock.json
	test "$(cat said)" = "told $(id -u)"
	test "$(node_modules/.bin/tell)" = "told $(id -u)"
}
scripts() {
	python3 -m venv --without-pip venv
	cat >work.py <<'END'
import multiprocessing, sqlite3, subprocess, sys, tempfile
def add(n):
    db = sqlite3.connect("db", timeout=60)
    with db: db.execute("insert into t values (?)", (n,))
if __name__ == "__main__":
    assert sys.prefix.endswith("/venv"), sys.prefix
    db = sqlite3.connect("db")
    assert db.execute("pragma journal_mode=wal").fetchone() == ("wal",)
    with db: db.execute("create table t (n)")
    with multiprocessing.Pool(2) as pool: pool.map(add, range(10))
    with tempfile.TemporaryDirectory() as d, tempfile.TemporaryFile(dir=d) as f:
        subprocess.run(["/bin/echo", "text"], stdout=f, check=True)
        f.seek(0)
        assert f.read() == b"text\n"
    print(db.execute("select sum(n) from t").fetchone()[0])
END
	test "$(venv/bin/python work.py)" = 45
}
build() {
	echo 'int twice(int n) { return 2 * n; }' >twice.c
	printf '#include <stdio.h>\nint twice(int);\nint main(void) { printf("%%d\\n", twice(21)); }\n' >main.c
	printf 'CFLAGS = -O1 -Wall\nprogram: main.o libtwice.a\n\t$(CC) -o $@ $^\nlibtwice.a: twice.o\n\t$(AR) rcs $@ $^\nclean:\n\trm -f *.o *.a\n' >Makefile
	make -s -j2 CC=gcc; test "$(./program)" = 42; make -s clean; test ! -e main.o
}
database() {
	test "$(sqlite3 db 'pragma journal_mode=wal; create table t (n);')" = wal
	sqlite3 -cmd '.timeout 60000' db 'insert into t values (1)' &
	sqlite3 -cmd '.timeout 60000' db 'insert into t values (2)'
	wait $!
	sqlite3 db .dump >dump; sqlite3 copy <dump; sqlite3 copy vacuum
	test "$(sqlite3 copy 'pragma integrity_check; select sum(n) from t')" = "ok
3"
}
terminal() {
	export TMUX_TMPDIR=$PWD
	tmux -f /dev/null new-session -d -x 80 -y 24 'exec bash --norc'
	tmux send-keys 'echo $((6 * 7)) $(tty)' Enter
	for i in $(seq 200); do
		if tmux capture-pane -p | grep -q '^42 /dev/pts/'; then break; fi
		sleep 0.1
	done
	tmux capture-pane -p | grep -q '^42 /dev/pts/'; tmux split-window; test "$(tmux list-panes | wc -l)" = 2
	tmux kill-server
}
for name in repository packages scripts build database terminal; do
	mkdir $name
	began=$SECONDS
	( set -e; cd $name; $name )
	echo "$name $?"
	echo "$name took $((SECONDS - began)) s" >&2
done
`

// programDenials are what of it is denied, and the words of docs/limits.md about it.
var programDenials = []programDenial{
	{regexp.MustCompile(`denied create /usr/lib/python3[^ ]*/__pycache__[/ ]`), "`__pycache__`"},
}

type programDenial struct {
	denial *regexp.Regexp
	named  string
}

// TestPrograms runs them as root and as an ordinary user, under the profile that fits:
// where nobody else runs git, and what is built may run.
func TestPrograms(t *testing.T) {
	byAgent(t)
	dir, err := filepath.Abs(examples)
	must(err)
	later, err := os.ReadFile(filepath.Join(dir, "later-code.cedar"))
	must(err)
	without := regexp.MustCompile(`(?s)\n@id\("later-git"\).*?\n};\n`).ReplaceAll(later, nil)
	if bytes.Equal(without, later) {
		t.Fatal("later-code.cedar has no policy later-git")
	}
	must(os.WriteFile("/policy/later.cedar", without, 0o644))
	must(os.WriteFile("/policy/built.cedar", []byte(`@id("built") permit (
  principal,
  action in [file_system::Action::"execute", file_system::Action::"map"],
  resource in file_system::Dir::"/home/agent/work");`), 0o644))
	// As Debian does when it installs Python's modules, but for one.
	must(exec.Command("bash", "-ec", `python3 -c 'import argparse, venv, multiprocessing.pool, sqlite3, subprocess, tempfile'
		rm -rf /usr/lib/python3*/venv/__pycache__`).Run())
	for _, user := range []string{"0", "1000"} {
		t.Run("uid "+user, func(t *testing.T) {
			must(exec.Command("bash", "-ec", "rm -rf /home/agent && mkdir -p /home/agent/work && chown -R "+user+":"+user+" /home/agent").Run())
			cmd := exec.Command(program, "run", confinedBy, "--user", user, "--policy", filepath.Join(dir, "claude-code.cedar"),
				"--policy", "/policy/later.cedar", "--policy", "/policy/built.cedar", "--", "bash", "-c", programs)
			cmd.Dir = "/home/agent/work"
			cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=linux", "SHELL=/bin/bash")
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			cmd.Run()
			r := result{cmd.ProcessState.ExitCode(), out.String(), errs.String(), 0}
			t.Logf("%s", r.stderr)
			if want := "repository 0\npackages 0\nscripts 0\nbuild 0\ndatabase 0\nterminal 0\n"; r.code != 0 || r.stdout != want {
				t.Errorf("exit %d:\n%s%s", r.code, r.stdout, r.stderr)
			}
			r.wantDocumented(t)
		})
	}
	nothingLeft(t)
}

// wantDocumented is want where what is denied may be denied any number of times: every
// denial is one that the documents name, each of those occurred, and none was lost.
func (r result) wantDocumented(t *testing.T) {
	t.Helper()
	seen := make([]bool, len(programDenials))
	for _, line := range r.denials() {
		i := slices.IndexFunc(programDenials, func(d programDenial) bool { return d.denial.MatchString(line) })
		if i < 0 {
			t.Errorf("docs/limits.md does not name this: %s", line)
			continue
		}
		seen[i] = true
	}
	for i, d := range programDenials {
		if !seen[i] {
			t.Errorf("this was not denied: %v", d.denial)
		}
		if !strings.Contains(docs.Limits, d.named) {
			t.Errorf("docs/limits.md does not name this: %v", d.denial)
		}
	}
	if summary := fmt.Sprintf(", %d operation", len(r.denials())); !strings.Contains(r.stderr, summary) || !strings.Contains(r.stderr, ", 0 events dropped") {
		t.Errorf("the summary lacks %q, or tells of dropped events:\n%s", summary, r.stderr)
	}
}
