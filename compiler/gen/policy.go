package gen

import (
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// policy writes one policy.
func (g *generator) policy(i int) string {
	action, dirs := g.actionScope()
	var b strings.Builder
	if g.oneIn(3) {
		fmt.Fprintf(&b, "@id(\"p%d\")\n", i)
	}
	b.WriteString(pick(g, "permit", "permit", "permit", "forbid"))
	fmt.Fprintf(&b, "(%s, %s, %s)", g.principalScope(), action, g.resourceScope(dirs))
	for range pick(g, 0, 1, 1, 1, 2) {
		fmt.Fprintf(&b, "\n  %s { %s }", pick(g, "when", "when", "unless"), g.expression(g.depth))
	}
	b.WriteString(";\n")
	return b.String()
}

func (g *generator) principalScope() string {
	switch g.IntN(9) {
	case 0:
		return "principal == " + g.self
	case 1:
		return `principal == User::"ann"`
	case 2:
		return `principal in Team::"` + pick(g, "dev", "ops", "all", "none") + `"`
	case 3:
		return "principal is " + g.typ
	case 4:
		return "principal is " + g.typ + ` in Team::"` + pick(g, "dev", "all") + `"`
	}
	return "principal"
}

// actionScope also says whether the scope has an action that applies to
// directories.
func (g *generator) actionScope() (text string, dirs bool) {
	g.wide = false
	one := func() string {
		a := pick(g, named...)
		dirs = dirs || appliesToDir(a)
		return a.Cedar()
	}
	switch g.IntN(8) {
	case 0:
		return `action in file_system::Action::"SafeIO"`, true
	case 1, 2:
		return "action == " + one(), dirs
	case 3, 4:
		return "action in " + g.list(4, one), dirs
	case 5:
		g.wide = true
		return "action in [" + one() + `, file_system::Action::"stat", sysctl::Action::"load"]`, true
	}
	g.wide = true
	return "action", true
}

func (g *generator) resourceScope(dirs bool) string {
	n := 8
	if !dirs {
		n = 5
	}
	switch g.IntN(n) {
	case 0:
		return "resource in " + g.dir()
	case 1:
		return "resource == " + g.file()
	case 2:
		return "resource is file_system::File in " + g.dir()
	case 3:
		return "resource is file_system::File"
	case 5:
		return "resource == " + g.dir()
	case 6:
		return "resource is file_system::Dir in " + g.dir()
	case 7:
		return "resource is file_system::Dir"
	}
	return "resource"
}

// expression writes a boolean expression.
func (g *generator) expression(depth int) string {
	if depth == 0 || g.oneIn(4) {
		if g.oneIn(3) {
			return g.knownLeaf()
		}
		return g.resourceLeaf()
	}
	sub := func() string { return "(" + g.expression(depth-1) + ")" }
	switch g.IntN(7) {
	case 0, 1:
		return sub() + " && " + sub()
	case 2, 3:
		return sub() + " || " + sub()
	case 4:
		return "!" + sub()
	case 5:
		return "if " + sub() + " then " + sub() + " else " + sub()
	}
	return sub() + pick(g, " == ", " != ") + sub()
}

// knownLeaf writes a condition on the principal or the action. Some of them
// error: overflow, a boss or a principal that does not exist.
func (g *generator) knownLeaf() string {
	switch g.IntN(14) {
	case 0:
		return `principal in Team::"` + pick(g, "dev", "ops", "all") + `"`
	case 1:
		return `principal in [Team::"dev", Team::"none"]`
	case 2:
		return "principal is " + pick(g, g.typ, "User")
	case 3:
		return fmt.Sprintf("principal.tier > %d", g.IntN(4))
	case 4:
		return "principal.tier + 9223372036854775806 > 0"
	case 5:
		return "principal.boss.tier >= 2"
	case 6:
		return "principal has lead && principal.lead"
	case 7:
		return "principal.active"
	case 8:
		return `Team::"` + pick(g, "dev", "ghost") + `".level == 1`
	case 9:
		return "action == " + pick(g, abi.EnforcedActions.Actions()...).Cedar()
	case 10:
		return "action in [" + pick(g, abi.EnforcedActions.Actions()...).Cedar() + `, file_system::Action::"stat"]`
	case 11:
		return "principal == " + g.typ + `::"bob"`
	case 12:
		return "principal.home in " + g.dir()
	}
	return pick(g, "true", "false")
}

// resourceLeaf writes a condition on the resource.
func (g *generator) resourceLeaf() string {
	str := func() string { return quote(g.path()) }
	leaves := []func() string{
		func() string { return "resource == " + g.file() },
		func() string { return "resource != " + g.file() },
		func() string { return g.dir() + " == resource" },
		func() string { return "resource in " + g.dir() },
		func() string { return "resource in " + g.dir() },
		func() string { return "resource in " + g.list(4, g.dir) },
		func() string { return "resource in " + g.list(3, g.file) },
		func() string { return "resource in principal.home" },
		func() string { return "resource in principal.homes" },
		func() string { return "resource in principal.boss.homes" },
		func() string { return "resource in [principal.home, " + g.dir() + "]" },
		func() string { return "resource == principal.note" },
		func() string { return "principal.home != resource" },
		func() string { return "resource is file_system::" + pick(g, "File", "Dir") },
		func() string { return "resource is file_system::Dir in " + g.list(3, g.dir) },
		func() string { return "resource is file_system::File in principal.boss.home" },
		func() string { return "resource is file_system::File && " + g.list(4, g.file) + ".contains(resource)" },
		func() string { return "resource is file_system::Dir && principal.homes.contains(resource)" },
		func() string { return "resource is file_system::File && principal.files.containsAny([resource])" },
		func() string {
			return "resource is file_system::Dir && " + g.list(2, g.dir) + ".containsAll([resource, principal.home])"
		},
		func() string { return "resource.path == " + str() },
		func() string { return str() + " != resource.path" },
		func() string { return "resource.path == principal.path" },
		func() string { return g.list(4, str) + ".contains(resource.path)" },
		func() string { return "principal.paths.contains(resource.path)" },
		func() string { return "principal.boss.paths.contains(resource.path)" },
		func() string { return "[resource.path, " + str() + "].contains(principal.path)" },
		func() string { return g.list(3, str) + ".containsAny([resource.path, principal.path])" },
		func() string { return g.list(3, str) + ".containsAll([resource.path])" },
		func() string { return "resource has " + pick(g, "path", "nothing") },
		func() string { return "resource in resource" },
		func() string { return `resource in Team::"dev"` },
		func() string { return `resource == User::"ann"` },
		func() string {
			return "resource == (if principal.active then " + g.file() + " else principal.note)"
		},
	}
	text := leaves[g.IntN(len(leaves))]()
	if strings.Contains(text, "resource.path") && (g.wide || g.oneIn(3)) {
		return "resource has path && " + text
	}
	return text
}
