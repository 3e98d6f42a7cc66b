package vmtest

import (
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Policies are Cedar text. In them "@" stands for the fixture directory.
//
// permit and forbid write the usual policy: the actions, separated by blanks
// ("*": all), on places. A place that ends in a slash is a directory with all
// that lies beneath, any other is a file by its exact path.

func permit(actions string, places ...string) string { return policy("permit", actions, places) }

func forbid(actions string, places ...string) string { return policy("forbid", actions, places) }

func policy(effect, actions string, places []string) string {
	scope := "action"
	if actions != "*" {
		var list []string
		for name := range strings.FieldsSeq(actions) {
			list = append(list, fmt.Sprintf("file_system::Action::%q", name))
		}
		scope = "action in [" + strings.Join(list, ", ") + "]"
	}
	var cond []string
	for _, place := range places {
		if dir, ok := strings.CutSuffix(place, "/"); ok {
			cond = append(cond, "resource in file_system::Dir::"+literal(dir))
		} else {
			cond = append(cond, "resource == file_system::File::"+literal(place))
		}
	}
	return fmt.Sprintf("%s (principal, %s, resource) when { %s };\n", effect, scope, strings.Join(cond, " || "))
}

// literal writes a Cedar string.
func literal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ':
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

const (
	anyUse = "open read write create delete chmod chown move" // of files, without running them
	look   = "open read"
)

// base permits what a probe needs besides what it tries: Go's runtime reads
// /proc and /sys, and the probe is this very program.
func base(exe string) string {
	return permit(look, "/proc/", "/sys/") + permit("open read execute map", exe)
}

// compile makes a plan of policies, with "@" replaced by dir.
func compile(exe, dir string, policies ...string) (*compiler.Plan, error) {
	text := base(exe) + strings.NewReplacer("@mode(", "@mode(", "@respond(", "@respond(", "@", dir).Replace(strings.Join(policies, "\n"))
	return compiler.Compile(compiler.Input{
		Sources:   []compiler.Source{{Name: "test.cedar", Text: []byte(text)}},
		Principal: `User::"tester"`,
		Handled:   abi.EnforcedActions,
	})
}
