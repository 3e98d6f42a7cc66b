package container

import "path/filepath"

// SettingsFile tells the wrapper of a runtime what it stands before. `stockade
// install-runtime` writes it. The environment, which an engine's user may choose, says
// nothing there.
const SettingsFile = "/etc/stockade/runtime.json"

// DefaultWait is how long an agent is waited for where the file does not say it.
const DefaultWait = "60s"

// Settings say what the wrapper stands before.
type Settings struct {
	// Runtime is the path of the runtime; Socket the agent's; Wait how long an agent is
	// waited for, such as 60s.
	Runtime string `json:"runtime"`
	Socket  string `json:"socket"`
	Wait    string `json:"wait"`
}

// Runtimes are the real ones, by their names: the first that is there is taken.
var Runtimes = []string{"runc", "crun"}

// Programs are the folders in which they are looked for.
var Programs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// FindRuntime returns the first runtime that is a program; "" if there is none.
func FindRuntime(is func(path string) bool, names ...string) string {
	for _, name := range names {
		for _, dir := range Programs {
			if path := filepath.Join(dir, name); name != "" && is(path) {
				return path
			}
		}
	}
	return ""
}
