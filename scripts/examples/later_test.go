package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

const library = "later-code.cedar"

// profiles are run beside the library.
var profiles = []string{"claude-code.cedar", "codex.cedar", "coding-agent.cedar"}

// later lists, for each line of the library, paths that it is about; a folder ends in
// a slash. That programs run what is there was seen for those that
// TestProgramsRunWhatTheLibraryNames plants; the others are here by their name.
var later = strings.Fields(`
~/.profile ~/.bashrc ~/.bash_profile ~/.bash_login ~/.bash_logout ~/.bash_aliases ~/.bash_completion
~/.bashrc.d/a.sh ~/.config/sway/config ~/.config/i3/config ~/.config/hypr/hyprland.conf ~/.config/kitty/kitty.conf
work/.nvim.lua ~/.codex/hooks.json ~/.codex/rules/a.rules work/.cursor/hooks.json work/.aider.conf.yml
~/.zshenv ~/.zprofile ~/.zshrc ~/.zlogin ~/.zlogout ~/.oh-my-zsh/custom/a.zsh
~/.kshrc ~/.mkshrc ~/.cshrc ~/.tcshrc ~/.login ~/.inputrc
~/.config/fish/ ~/.config/fish/config.fish ~/.config/nushell/ ~/.config/nushell/env.nu
~/.config/powershell/ ~/.config/powershell/profile.ps1 ~/.config/starship.toml
~/.config/direnv/ ~/.config/direnv/direnvrc ~/.pam_environment
~/.ssh/authorized_keys ~/.ssh/authorized_keys2 ~/.ssh/config ~/.ssh/environment ~/.ssh/rc

~/.config/systemd/ ~/.config/systemd/user/a.service ~/.local/share/systemd/ ~/.local/share/systemd/user/a.timer
~/.config/environment.d/ ~/.config/environment.d/a.conf ~/.config/autostart/ ~/.config/autostart/a.desktop
~/.config/mimeapps.list ~/.local/share/applications/ ~/.local/share/applications/a.desktop
~/.local/share/dbus-1/ ~/.local/share/dbus-1/services/a.service
~/.local/bin/ ~/.local/bin/ls ~/.cargo/bin/ ~/.cargo/bin/cargo ~/.cargo/env ~/.nvm/nvm.sh ~/bin/ ~/bin/ls
~/.local/share/bash-completion/completions/git ~/.local/share/gnome-shell/extensions/a/extension.js
~/.config/plasma-workspace/env/a.sh
~/.xinitrc ~/.xprofile ~/.xsession ~/.xsessionrc ~/.forward ~/.procmailrc
/etc/crontab /etc/cron.d/a /etc/cron.daily/a /etc/profile /etc/profile.d/a.sh /etc/bash.bashrc /etc/environment
/etc/ld.so.preload /etc/gitconfig /etc/systemd/system/a.service /etc/udev/rules.d/a.rules /etc/init.d/a
/var/spool/cron/crontabs/agent

~/.vimrc ~/.gvimrc ~/.exrc work/.exrc ~/.nvimrc ~/.vim/plugin/a.vim ~/.config/nvim/ ~/.config/nvim/init.lua
~/.local/share/nvim/site/plugin/a.lua
~/.emacs ~/.emacs.d/init.el ~/.config/emacs/ ~/.config/emacs/init.el work/.dir-locals.el
~/.nanorc ~/.tmux.conf ~/.config/tmux/ ~/.config/tmux/tmux.conf ~/.screenrc ~/.lesskey ~/.config/lesskey
~/.gdbinit work/.gdbinit ~/.gdbearlyinit ~/.config/gdb/ ~/.config/gdb/gdbinit ~/.lldbinit
~/.psqlrc ~/.sqliterc ~/.mailcap ~/.curlrc ~/.wgetrc
~/.config/Code/User/ ~/.config/Code/User/settings.json ~/.vscode-server/ ~/.vscode-server/data/a
~/.docker/config.json ~/.docker/cli-plugins/ ~/.docker/cli-plugins/docker-a ~/.kube/ ~/.kube/config ~/.gnupg/gpg-agent.conf
~/.pythonrc ~/.pythonrc.py ~/.pdbrc ~/.ipython/ ~/.ipython/profile_default/startup/a.py
~/.local/lib/python3.11/ ~/.local/lib/python3.11/site-packages/a.pth ~/.local/lib/python3.13/site-packages/usercustomize.py
~/.config/pip/ ~/.config/pip/pip.conf ~/.pip/pip.conf ~/.config/go/env ~/.irbrc ~/.gemrc ~/.Rprofile ~/.ghci ~/.ocamlinit
~/.julia/config/ ~/.julia/config/startup.jl ~/.gradle/init.gradle ~/.gradle/init.gradle.kts ~/.gradle/init.d/
~/.gradle/init.d/a.gradle ~/.m2/settings.xml ~/.mavenrc ~/.config/yarn/ ~/.config/yarn/global/a

work/.vscode/ work/.vscode/settings.json work/.idea/ work/.idea/workspace.xml
work/.devcontainer/ work/.devcontainer/devcontainer.json work/.devcontainer.json
work/.envrc work/.husky/ work/.husky/pre-commit work/.npmrc ~/.npmrc work/.yarnrc work/.yarnrc.yml work/.pnpmfile.cjs
work/.cargo/config work/.cargo/config.toml ~/.cargo/config.toml work/.bundle/config work/.mvn/ work/.mvn/extensions.xml
work/.mise.toml work/mise.toml work/.zed/tasks.json work/a.code-workspace ~/.hgrc work/.hg/hgrc work/sitecustomize.py work/lib/usercustomize.py work/.mcp.json
work/.claude/settings.json ~/.claude/settings.local.json work/.claude/hooks/ work/.claude/hooks/a.sh
~/.codex/config.toml work/.cursor/mcp.json work/.gemini/settings.json

~/.zshenv.zwc ~/.zprofile.zwc ~/.zshrc.zwc ~/.zlogin.zwc ~/.zlogout.zwc ~/.zcompdump ~/.zcompdump-host-5.9.zwc ~/.zsh/a.zsh ~/.config/zsh/a.zsh
~/.zprezto/init.zsh ~/.zim/init.zsh ~/.local/share/zinit/zinit.git/zinit.zsh ~/.p10k.zsh ~/.cache/p10k-instant-prompt-agent.zsh ~/.cache/gitstatus/gitstatusd
~/.oh-my-bash/oh-my-bash.sh ~/.bash_it/bash_it.sh ~/.fzf.bash ~/.fzf/bin/fzf ~/.local/share/fish/vendor_conf.d/a.fish
~/.local/share/powershell/Modules/a/a.psm1 ~/.terminfo/x/xterm ~/.k5login ~/.rhosts
~/.config/user-tmpfiles.d/a.conf ~/.local/share/user-tmpfiles.d/a.conf ~/.config/user-dirs.dirs ~/.config/containers/systemd/a.container
~/.nvm/bash_completion ~/.nvm/versions/node/v22/bin/node ~/.rustup/toolchains/stable/bin/cargo ~/.pyenv/shims/python ~/.rbenv/shims/ruby
~/.asdf/shims/a ~/.volta/bin/node ~/.sdkman/bin/sdkman-init.sh ~/.deno/env ~/.ghcup/env ~/.bun/bin/bun ~/.cabal/bin/a ~/.dotnet/tools/a
~/.npm-global/bin/a ~/.opam/opam-init/init.sh ~/.local/share/mise/shims/a ~/.local/share/pipx/venvs/a/bin/a ~/.local/share/uv/tools/a/bin/a
~/.local/share/claude/versions/1 ~/.local/share/flatpak/exports/bin/a ~/go/bin/ ~/go/bin/gopls ~/miniconda3/bin/conda ~/miniconda3/etc/profile.d/conda.sh
~/.local/share/plasma/plasmoids/a/b ~/.local/share/konsole/a.profile ~/.local/share/nautilus-python/extensions/a.py ~/.local/share/nautilus/scripts/a
~/.local/share/vulkan/implicit_layer.d/a.json ~/.config/chromium/NativeMessagingHosts/a.json ~/.mozilla/native-messaging-hosts/a.json
~/.config/dconf/user ~/.config/gtk-3.0/settings.ini ~/.config/xfce4/helpers.rc ~/.asoundrc ~/.config/openbox/autostart ~/.config/bspwm/bspwmrc
~/.config/alacritty/alacritty.toml ~/.alacritty.toml ~/.config/foot/foot.ini ~/.config/ghostty/config ~/.config/wezterm/wezterm.lua ~/.wezterm.lua
~/.config/zellij/config.kdl ~/.xinputrc ~/.xserverrc ~/.xscreensaver ~/.vnc/xstartup ~/.gnomerc ~/.xbindkeysrc ~/.Xresources ~/.Xdefaults
~/.mailrc ~/.muttrc ~/.config/neomutt/neomuttrc ~/.bazelrc ~/.mypy.ini ~/.pylintrc
~/.config/vim/vimrc ~/.local/share/nvim/lazy/a/plugin/a.lua ~/.cache/nvim/luac/a.luac ~/.emacs.el ~/.emacs.elc ~/.doom.d/init.el work/.dir-locals-2.el
~/.config/nano/nanorc ~/.config/micro/init.lua ~/.config/kak/kakrc ~/.config/helix/languages.toml work/.helix/languages.toml
~/.tmux.conf.local ~/.tmux/plugins/tpm/tpm ~/.less ~/.lessfilter ~/.lldbinit-lldb ~/.config/sqlite3/sqliterc ~/.config/curlrc
~/.ripgreprc ~/.config/bat/config ~/.tigrc ~/.config/lazygit/config.yml ~/.config/yazi/yazi.toml ~/.config/mpv/scripts/a.lua
~/.config/Cursor/User/settings.json ~/.config/VSCodium/User/settings.json ~/.config/zed/settings.json ~/.config/sublime-text/Packages/User/a.py
~/.config/JetBrains/a/idea64.vmoptions ~/.local/share/JetBrains/a/p.jar ~/.config/Claude/claude_desktop_config.json
~/.vscode-oss/extensions/a/e.js ~/.cursor-server/data/a ~/.cursor/extensions/a/e.js ~/.docker/contexts/meta/a/meta.json ~/.config/docker/daemon.json
~/.aws/config ~/.aws/credentials ~/.aws/cli/alias ~/.terraformrc ~/.terraform.d/plugins/a ~/.ansible.cfg ~/.ansible/plugins/modules/a.py
~/.vagrant.d/Vagrantfile ~/.gnupg/gpg.conf ~/.gnupg/dirmngr.conf ~/.gnupg/scdaemon.conf ~/.pdbrc.py ~/.jupyter/jupyter_lab_config.py
~/.local/share/jupyter/kernels/a/kernel.json ~/.pryrc work/.bundle/plugin/index work/.Renviron work/.RData work/.octaverc ~/.gnuplot ~/.perldb
~/.iex.exs ~/.gradle/gradle.properties ~/.antrc ~/.config/ccache/ccache.conf ~/.cmake/packages/a/b ~/.rpmmacros ~/.devscripts ~/.quiltrc
~/.npm-init.js ~/.bunfig.toml ~/.asdfrc ~/.config/mise/config.toml ~/.local/state/mise/trusted-configs/a work/mise.local.toml
~/.config/hg/hgrc work/.hg/hgrc-not-shared ~/.subversion/config ~/.config/jj/config.toml ~/.jjconfig.toml work/.jj/repo/config.toml
~/.claude/plugins/a/hooks/hooks.json

work/.git/hooks/ work/.git/hooks/pre-commit work/vendor/a/b/.git/hooks/post-checkout work/vendor/a/.git/hooks/post-checkout
work/.git/config work/vendor/a/.git/config work/.git/config.worktree work/.git/commondir
work/.git/worktrees/a/config.worktree work/.git/worktrees/a/commondir work/.git/modules/a/commondir
work/.git/config.lock work/a.git/hooks/post-receive work/a.git/config work/.bare/hooks/post-checkout work/.bare/config.lock
work/.git/config.worktree.lock work/.git/worktrees/a/hooks/post-checkout work/.git/worktrees/a/config work/.git/worktrees/a/modules/b/hooks/post-checkout
work/.git/worktrees/a/modules/b/config work/a.git/worktrees/b/commondir work/.bare/worktrees/a/config.worktree
work/.git/remotes/ work/.git/remotes/origin work/.git/branches/ work/.git/branches/origin ~/.gitconfig.lock ~/.gitconfig.local ~/.config/git/config.lock
work/.git/modules/a/hooks/ work/.git/modules/a/b/hooks/pre-commit work/.git/modules/a/config work/.git/modules/a/config.worktree
~/.gitconfig ~/.config/git/ ~/.config/git/config ~/.config/git/attributes work/vendor/a/.git
`)

// links lists what may be a folder, and no link to one.
var links = strings.Fields(`~/.config ~/.local ~/.ssh ~/.gnupg ~/.docker ~/.cargo work/.bundle ~/.claude ~/.codex work/.cursor
work/.gemini ~/.vim ~/.emacs.d ~/.oh-my-zsh ~/.gradle ~/.m2 ~/.julia ~/.pip work/.git work/.git/modules work/.git/modules/a work/.git/worktrees
~/.config/go ~/.config/Code
~/.local/share ~/.local/lib`)

// files lists what git writes through a symbolic link.
var files = strings.Fields(`.git/HEAD .git/FETCH_HEAD .git/ORIG_HEAD .git/COMMIT_EDITMSG .git/TAG_EDITMSG .git/MERGE_MSG .git/SQUASH_MSG
.git/index .git/packed-refs .git/description .git/info/exclude .git/logs/HEAD .git/logs/refs/stash
.git/logs/refs/heads/main .git/logs/refs/heads/master .git/logs/refs/heads/develop .git/logs/refs/heads/trunk
.git/worktrees/a/index .git/worktrees/a/HEAD .git/worktrees/a/logs/HEAD .git/worktrees/a/COMMIT_EDITMSG .git/modules/a/index .git/modules/a/logs/HEAD`)

// noLinks lists folders that only who may write configs makes.
var noLinks = strings.Fields(`.git/worktrees/a/modules .git/modules/a/modules`)

// placed gives the kind and path of an entry of the lists.
func placed(path string) (abi.Kind, string) {
	kind := abi.File
	if rest, ok := strings.CutSuffix(path, "/"); ok {
		kind, path = abi.Dir, rest
	}
	if rest, ok := strings.CutPrefix(path, "~"); ok {
		return kind, home + rest
	}
	if !strings.HasPrefix(path, "/") {
		path = shop + "/" + strings.TrimPrefix(path, "work/")
	}
	return kind, path
}

// everything permits all, so that what is denied is denied by the library.
var everything = compiler.Source{Name: "everything.cedar", Text: []byte(`@id("everything") permit (principal, action, resource);`)}

func TestLaterCodeIsRefused(t *testing.T) {
	plans := map[string]*compiler.Plan{"everything": compileSources(t, everything, source(t, library))}
	for _, name := range profiles {
		plans[name] = compileSources(t, source(t, name), source(t, library))
	}
	for name, plan := range plans {
		deny := func(kind abi.Kind, path string, actions ...abi.Action) {
			for _, r := range requests(kind, path, actions) {
				if got := plan.Decide(r); got != abi.Deny {
					t.Errorf("%s: %s %s: %s", name, r.Action, path, got)
				}
			}
		}
		for _, l := range later {
			kind, path := placed(l)
			deny(kind, path, append(slices.Clone(change), abi.Chown)...)
		}
		for _, l := range links {
			_, path := placed(l)
			deny(abi.File, path, abi.Create)
		}
		for _, l := range append(slices.Clone(files), noLinks...) {
			_, path := placed(l)
			deny(abi.Dir, path, abi.Create)
		}
		if name != "everything" {
			continue
		}
		for _, l := range append(slices.Clone(later), links...) {
			kind, path := placed(l)
			if r := (abi.Request{Action: abi.Read, Kind: kind, Path: path}); plan.Decide(r) != abi.Allow {
				t.Errorf("%s: the library is about changes, not about reading", path)
			}
		}
	}
}

// Each line of the library is the only one about one of the paths above: a line that
// is lost is found.
func TestEachLineOfTheLibraryIsTested(t *testing.T) {
	text := string(source(t, library).Text)
	begin := func(id string) string { return text[strings.Index(text, `@id("`+id+`")`):] }
	sections := []struct {
		text  string
		paths []string
	}{
		{begin("later-code")[:strings.Index(begin("later-code"), "unless")], later},
		{begin("later-git")[:strings.Index(begin("later-git"), "};")], later},
		{begin("later-git-links")[:strings.Index(begin("later-git-links"), "};")], append(slices.Clone(files), noLinks...)},
		{begin("later-linked-in"), links},
	}
	lines := 0
	for _, s := range sections {
		matches := map[string][]string{}
		for _, m := range regexp.MustCompile(`(path like|Dir::|File::)\s*"([^"]+)"`).FindAllStringSubmatch(s.text, -1) {
			if strings.HasSuffix(s.text[:strings.Index(s.text, m[0])], "!(resource.") {
				continue // an exception
			}
			pattern := regexp.QuoteMeta(m[2])
			switch m[1] {
			case "path like":
				pattern = strings.ReplaceAll(pattern, `\*`, ".*")
			case "Dir::":
				pattern += "(/.*)?"
			}
			lines++
			matches[m[2]] = nil
			whole := regexp.MustCompile("^" + pattern + "$")
			for _, l := range s.paths {
				if _, path := placed(l); whole.MatchString(path) {
					matches[m[2]] = append(matches[m[2]], path)
				}
			}
		}
		by := map[string]int{}
		for _, paths := range matches {
			for _, p := range paths {
				by[p]++
			}
		}
		for pattern, paths := range matches {
			if !slices.ContainsFunc(paths, func(p string) bool { return by[p] == 1 }) {
				t.Errorf("%s: no path of the list depends on it alone: add one, or remove the line", pattern)
			}
		}
	}
	if lines < 150 {
		t.Errorf("%d lines found: the library is not read", lines)
	}
}

// What an agent does all day goes on beside the library.
func TestTheLibraryLeavesWorkAlone(t *testing.T) {
	everyday := strings.Fields(`main.py Makefile package.json conftest.py .github/workflows/ci.yml .gitignore .gitattributes .gitmodules
		.editorconfig .env.example src/config src/hooks/use.ts hooks/pre-commit .claude/CLAUDE.md .claude/agents/a.md
		.git/index .git/index.lock .git/HEAD .git/COMMIT_EDITMSG .git/FETCH_HEAD .git/ORIG_HEAD .git/MERGE_MSG .git/packed-refs
		.git/refs/heads/topic .git/refs/heads/hooks/x .git/refs/remotes/origin/main .git/logs/HEAD .git/objects/ab/cdef
		.git/objects/pack/pack-1.pack .git/modules/a/index .git/modules/a/refs/heads/x .git/worktrees/a/index .git/worktrees/a/HEAD .git/info/exclude
		.git/rebase-merge/git-rebase-todo .git/rebase-apply/patch .git/refs/heads/feature/x .git/logs/refs/heads/feature/x .git/refs/stash .git/shallow
		.git/HEAD.lock .git/packed-refs.lock .git/refs/heads/main.lock .git/logs/refs/remotes/origin/main .git/worktrees/a/logs/refs/bisect/bad .git/lfs/a
		.tool-versions .bazelrc .pylintrc a.git/HEAD a.git/objects/ab/cdef a.git/refs/heads/main .zsh_history .terraform/a HEAD`)
	everyday = append(everyday, files...)
	folders := strings.Fields(`src .git/refs/heads/feature .git/logs/refs/heads/feature .git/rebase-merge .git/objects/ab .git/logs .git/info index docs/index`)
	links := strings.Fields(`node_modules node_modules/.bin node_modules/.bin/tsc node_modules/.pnpm/a/node_modules/b .venv/bin/python .venv/lib64 CLAUDE.md build/libx.so
		dist docs/latest .#main.py .github/x src/main.c .git/x docs/index .claude/skills target/debug/x .git/index.x .cache a/b/c/d`)
	fills := abi.MaskOf(abi.Create, abi.Write)
	for _, name := range profiles {
		plan := compileSources(t, source(t, name), source(t, library))
		for _, p := range everyday {
			for _, a := range append(slices.Clone(change), abi.Open, abi.Read) {
				if got := plan.Decide(abi.Request{Action: a, Kind: abi.File, Path: shop + "/" + p}); got != abi.Allow {
					t.Errorf("%s: %s %s: %s", name, a, p, got)
				}
			}
		}
		for _, p := range folders {
			for _, a := range []abi.Action{abi.Create, abi.Delete} {
				if got := plan.Decide(abi.Request{Action: a, Kind: abi.Dir, Path: shop + "/" + p}); got != abi.Allow {
					t.Errorf("%s: %s folder %s: %s", name, a, p, got)
				}
			}
		}
		for _, p := range files {
			if lock := shop + "/" + p + ".lock"; plan.Table.Gains(abi.File, lock, shop+"/"+p) || plan.Table.Gains(abi.File, shop+"/"+p, lock) {
				t.Errorf("%s: %s is not renamed to what it locks", name, lock)
			}
		}
		if !plan.Table.Gains(abi.File, shop+"/.git/config.lock", shop+"/x") || !plan.Table.Gains(abi.File, home+"/.gitconfig.lock", shop+"/x") {
			t.Errorf("%s: a lock that the developer's git made may be linked, to be the config", name)
		}
		for _, m := range [][2]string{{"/src", "/lib"}, {"/a", "/src/a"}, {"/build.tmp", "/build"}, {"/.cache", "/.cache2"},
			{"/node_modules/.a-x1", "/node_modules/a"}, {"/node_modules/a", "/node_modules/.a-x1"}, {"/.venv.tmp", "/.venv"}, {"/src", "/target/a/src"}} {
			if plan.Table.Gains(abi.Dir, shop+m[0], shop+m[1]) || plan.Table.Gains(abi.File, shop+m[0], shop+m[1]) {
				t.Errorf("%s: %v: the move is refused", name, m)
			}
			if plan.Table.Loses(shop+m[0], shop+m[1]) {
				t.Errorf("%s: %v: the move is refused for what could come along", name, m)
			}
			if got := plan.Decide(moveTo(abi.Dir, shop+m[0], shop+m[1])); got != abi.Allow {
				t.Errorf("%s: %v: %s", name, m, got)
			}
		}
		if !plan.Table.Gains(abi.Dir, shop+"/.git", shop+"/git") || !plan.Table.Gains(abi.Dir, shop+"/.git/hooks", shop+"/h") ||
			!plan.Table.Gains(abi.Dir, shop+"/.git/worktrees/a", shop+"/a") || !plan.Table.Gains(abi.Dir, shop+"/.git/modules/a", shop+"/a") {
			t.Errorf("%s: a repository may be moved away, to be changed and moved back", name)
		}
		for _, l := range links {
			if plan.Table.Guards(shop+"/"+l, fills) {
				t.Errorf("%s: a symbolic link is refused at %s", name, l)
			}
		}
		if !plan.Table.Guards(shop+"/.git", fills) || !plan.Table.Guards(shop+"/.git", abi.MaskOf(abi.Move, abi.Delete)) {
			t.Errorf("%s: .git is a name like any other", name)
		}
	}
}

func moveTo(kind abi.Kind, from, to string) abi.Request {
	return abi.Request{Action: abi.Move, Kind: kind, Path: from, Facts: abi.Facts{Dest: to}}
}

func TestNoFolderBringsLaterCodeAlong(t *testing.T) {
	plan := compileSources(t, everything, source(t, library))
	for _, to := range strings.Fields(`work/vendor/a/.git work/.git/modules/a ~/.config ~/.config/systemd ~/.local ~/.local/share ~/.ssh ~/.gnupg
		~/.docker ~/.cargo work/.bundle ~/.claude ~/.codex work/.cursor work/.gemini ~/.vim ~/.emacs.d ~/.oh-my-zsh ~/.gradle ~/.m2 ~/.julia ~/.pip`) {
		_, path := placed(to)
		if got := plan.Decide(moveTo(abi.Dir, shop+"/innocent", path)); got != abi.Deny {
			t.Errorf("a folder moved to %s: %s", path, got)
		}
		if got := plan.Decide(abi.Request{Action: abi.Create, Kind: abi.Dir, Path: path}); got != abi.Allow && !strings.Contains(path, "systemd") {
			t.Errorf("mkdir %s: %s", path, got)
		}
	}
	// What lies beneath a folder comes along with it, and with a link to it, unless it
	// may be made nowhere.
	for _, l := range later {
		kind, path := placed(l)
		dir := filepath.Dir(path)
		denied := func(k abi.Kind, p string) bool {
			return plan.Decide(abi.Request{Action: abi.Create, Kind: k, Path: p}) == abi.Deny
		}
		if strings.Contains(path, ".git/modules/") || strings.Contains(path, ".git/worktrees/") {
			continue // folders of any name: see links and noLinks
		}
		if denied(abi.Dir, dir) || denied(kind, shop+"/innocent/"+filepath.Base(path)) {
			continue
		}
		if !plan.Table.Guards(dir, abi.MaskOf(abi.Create, abi.Write)) || !plan.Table.Loses(shop+"/innocent", dir) {
			t.Errorf("%s: its folder may be a link, or moved in", path)
		}
	}
	modules := ws + "/node_modules"
	if plan.Decide(moveTo(abi.Dir, modules+"/a", ws+"/a")) != abi.Deny || plan.Decide(moveTo(abi.Dir, modules+"/.a-x1", modules+"/a")) != abi.Allow {
		t.Error("packages are moved among packages, and not out of them")
	}
	for _, r := range file(modules+"/a/.vscode/settings.json", change...) {
		if got := plan.Decide(r); got != abi.Allow {
			t.Errorf("%s in a package: %s", r.Action, got)
		}
	}
	if plan.Decide(abi.Request{Action: abi.Write, Kind: abi.File, Path: modules + "/a/.git/hooks/pre-commit"}) != abi.Deny {
		t.Error("hooks are refused in packages, too")
	}
}

// The library and what programs are installed here agree on which files are run.
func TestProgramsRunWhatTheLibraryNames(t *testing.T) {
	const mark = "echo ran >$HOME/ran"
	const py = "import os; open(os.environ['HOME']+'/ran','w')"
	for _, c := range []struct {
		plant, text string
		run         string // by sh, in the project
	}{
		{"~/.bash_profile", mark, "bash -l -c :"},
		{"~/.bash_login", mark, "bash -l -c :"},
		{"~/.profile", mark, "bash -l -c :"},
		{"~/.bashrc", mark, "bash -i -c : </dev/null"},
		{"~/.zshenv", mark, "zsh -c :"},
		{"~/.config/fish/config.fish", mark, "fish -c true"},
		{"work/.git/hooks/pre-commit", "#!/bin/sh\n" + mark, "git commit -q --allow-empty -m x"},
		{"work/.git/config", "[core]\n\trepositoryformatversion = 0\n\tfsmonitor = \"" + mark + ";:\"\n", "git status"},
		{"~/.gitconfig", "[core]\n\tfsmonitor = \"" + mark + ";:\"\n", "git status"},
		{"~/.config/git/config", "[core]\n\tfsmonitor = \"" + mark + ";:\"\n", "git status"},
		{"work/vendor/a/.git/hooks/post-checkout", "#!/bin/sh\n" + mark, "git init -q vendor/a && cd vendor/a && git commit -q --allow-empty -m x && git checkout -q -b y"},
		{"work/vendor/a/.git", "gitdir: ../../evil\n", "git init -q --bare evil && git -C evil config core.bare false && git -C evil config core.fsmonitor '" + mark + ";:' && cd vendor/a && git status"},
		{"work/.git/commondir", "../evil\n", "git init -q --bare evil && git -C evil config core.bare false && git -C evil config core.fsmonitor '" + mark + ";:' && git status"},
		{"work/a.git/hooks/post-receive", "#!/bin/sh\n" + mark, "git init -q --bare a.git && git commit -q --allow-empty -m x && git push -q a.git HEAD:refs/heads/y"},
		{"work/.git/remotes/origin", "URL: evil\n", `git init -q --bare evil && printf '#!/bin/sh\n` + mark + `\n' >evil/hooks/post-receive && chmod +x evil/hooks/post-receive && git commit -q --allow-empty -m x && git push -q origin HEAD:refs/heads/y`},
		{"~/.npm-init.js", "require('fs').writeFileSync(process.env.HOME+'/ran', ''); module.exports = {}\n", "npm init -y"},
		{"~/.vimrc", "call system('" + mark + "')\n", "vim -es -u ~/.vimrc -c q </dev/null"},
		{"~/.gdbinit", "shell " + mark + "\n", "gdb -batch </dev/null"},
		{"~/.tmux.conf", "run-shell '" + mark + "'\n", "TMUX_TMPDIR=$HOME tmux -f ~/.tmux.conf start-server \\; new-session -d 'sleep 1' \\; kill-server"},
		{"~/.local/lib/python3.11/site-packages/a.pth", py, `v=$(python3 -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); cd ~/.local/lib; [ -d $v ] || mv python3.11 $v; python3 -c pass`},
		{"work/sitecustomize.py", py, "PYTHONPATH=. python3 -c pass"},
		{"~/.npmrc", "script-shell=$HOME/evil\n", `printf '#!/bin/sh\n` + mark + `\n' >~/evil && chmod +x ~/evil && echo '{"scripts":{"a":"true"}}' >package.json && npm run a`},
	} {
		name := strings.ReplaceAll(c.plant, "/", "_")
		t.Run(name, func(t *testing.T) {
			fields := strings.Fields(c.run)
			program := fields[0]
			if strings.Contains(program, "=") {
				program = fields[1]
			}
			switch filepath.Ext(c.plant) {
			case ".npmrc":
				program = "npm"
			case ".pth":
				program = "python3"
			}
			if _, err := exec.LookPath(program); err != nil {
				t.Skip("by name only: " + program + " is not installed")
			}
			if !slices.Contains(later, c.plant) {
				t.Fatal("not in the list above")
			}
			dir := t.TempDir()
			shopDir := filepath.Join(dir, "work")
			run := func(script string) ([]byte, error) {
				cmd := exec.Command("sh", "-c", script)
				cmd.Dir = shopDir
				cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH"), "TERM=dumb", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org"}
				return cmd.CombinedOutput()
			}
			if err := os.MkdirAll(shopDir, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := exec.LookPath("git"); err == nil {
				if out, err := run("git init -q ."); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			path := filepath.Join(dir, strings.TrimPrefix(c.plant, "~/"))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(c.text, "$HOME", dir)), 0o755); err != nil {
				t.Fatal(err)
			}
			out, _ := run(c.run)
			if _, err := os.Stat(filepath.Join(dir, "ran")); err != nil {
				t.Errorf("%s did not run it: %s", c.run, out)
			}
		})
	}
}

// Git writes through links to files of its own, as the library has it.
func TestGitWritesThroughLinks(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	for link, run := range map[string]string{
		".git/COMMIT_EDITMSG":       "git commit -q --allow-empty -m two",
		".git/FETCH_HEAD":           "git fetch -q . main",
		".git/logs/HEAD":            "git checkout -q -b b",
		".git/logs/refs/heads/main": "git commit -q --allow-empty -m two",
		".git/logs/refs/stash":      "git commit -q --allow-empty -m two; echo a >a; git add a; git stash -q",
		".git/index":                "echo a >a; git add a",
		".git/packed-refs":          "git pack-refs --all",
	} {
		cmd := exec.Command("sh", "-ec", "git init -q -b main .; git commit -q --allow-empty -m one; "+
			"mkdir -p .git/logs/refs; ln -sf $PWD/target $LINK; "+run+"; [ -s target ]")
		cmd.Dir = t.TempDir()
		cmd.Env = []string{"HOME=" + cmd.Dir, "PATH=" + os.Getenv("PATH"), "LINK=" + link, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org"}
		if out, err := cmd.CombinedOutput(); err != nil || !slices.Contains(files, link) {
			t.Errorf("%s: %v: %s", link, err, out)
		}
	}
}

// Whoever follows a command line of the documentation has the library.
func TestCommandLinesNameTheLibrary(t *testing.T) {
	var files []string
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "*.cedar", "../demo/*"} {
		list, _ := filepath.Glob(pattern)
		files = append(files, list...)
	}
	lines := regexp.MustCompile(`stockade run .*--policy [^ ]*(claude-code|codex|coding-agent)\.cedar.*`)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		joined := regexp.MustCompile(`\\\n[/ ]*`).ReplaceAllString(string(text), "") // a line that goes on
		for _, line := range lines.FindAllString(joined, -1) {
			if !strings.Contains(line, library) {
				t.Errorf("%s: %s: lacks --policy %s", f, line, library)
			}
		}
	}
}
