package rule

import "strings"

// Uses is a set of facts of a request that conditions may depend on and that
// are not simply at hand: the agent has to find each out, or give no answer.
// What is always known exactly is not listed: action, kind, path, uid, gid, now,
// destination, xattr, workload.
type Uses uint16

// The facts.
const (
	UsesArguments   Uses = 1 << iota // flags, positional values, tags $ARGn
	UsesKeys                         // arguments.keys, and tags of other names
	UsesEnvironment                  // context.environment
	UsesUsername                     // context.user.username
	UsesGroupname                    // context.group.groupname
	UsesNamespace                    // context.namespace
	UsesExe                          // the exact text of context.process.exe
	UsesParent                       // the exact text of context.process.parent_exe

	UsesAll = 1<<iota - 1
)

var usesNames = [...]string{"arguments", "keys", "environment", "username", "groupname", "namespace", "exe", "parent_exe"}

// Has reports whether u has any of x.
func (u Uses) Has(x Uses) bool { return u&x != 0 }

// String joins the names of the facts with commas.
func (u Uses) String() string {
	var list []string
	for i, name := range usesNames {
		if u>>i&1 == 1 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ",")
}
