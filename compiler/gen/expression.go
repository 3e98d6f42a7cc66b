package gen

import (
	"fmt"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// operators are written by expression; the table only names them.
var operators = []production{{name: "&&"}, {name: "||"}, {name: "!"}, {name: "if"}, {name: "=="}, {name: "!="}}

// expression makes a boolean expression.
func (g *generator) expression(depth int) *Expr {
	if depth == 0 || g.oneIn(4) {
		return g.leaf()
	}
	sub := func() *Expr { return g.expression(depth - 1) }
	op := pick(g, "&&", "&&", "||", "||", "!", "if", "==", "!=")
	g.productions[op]++
	switch op {
	case "&&":
		return And(sub(), sub())
	case "||":
		return Or(sub(), sub())
	case "!":
		return Not(sub())
	case "if":
		return If(sub(), sub(), sub())
	}
	return infix(sub(), " "+op+" ", sub())
}

// leaf makes a condition without boolean operators, apart from guards.
func (g *generator) leaf() *Expr {
	switch n := g.IntN(8); {
	case n < 1:
		return Leaf(g.draw(knownLeaves))
	case n < 5 && len(g.themes) > 0:
		return g.themed(pick(g, g.themes...))
	}
	text := g.draw(resourceLeaves)
	if strings.Contains(text, "resource.path") && (g.scope.wide || g.oneIn(3)) {
		return guarded("resource has path", Leaf(text))
	}
	return Leaf(text)
}

// guarded is guard && x.
func guarded(guard string, x *Expr) *Expr {
	return &Expr{[]string{guard + " && (", ")"}, []*Expr{x}}
}

// knownLeaves are conditions on the principal or the action. Some of them
// error: overflow, extension values that do not parse, a boss, a tag or a
// principal that does not exist.
var knownLeaves = []production{
	{"in team", func(g *generator) string { return `principal in Team::"` + pick(g, "dev", "ops", "all") + `"` }},
	{"in teams", func(*generator) string { return `principal in [Team::"dev", Team::"none"]` }},
	{"principal is T", func(g *generator) string { return "principal is " + pick(g, g.typ, "User") }},
	{"long", func(g *generator) string { return fmt.Sprintf("principal.tier > %d", g.IntN(4)) }},
	{"overflow", func(*generator) string { return "principal.tier + 9223372036854775806 > 0" }},
	{"arithmetic", func(g *generator) string {
		return fmt.Sprintf("principal.tier * 2 - %d <= -1 + %d", g.IntN(4), g.IntN(4))
	}},
	{"missing entity", func(*generator) string { return "principal.boss.tier >= 2" }},
	{"has", func(*generator) string { return "principal has lead && principal.lead" }},
	{"bool", func(*generator) string { return "principal.active" }},
	{"attribute of team", func(g *generator) string { return `Team::"` + pick(g, "dev", "ghost") + `".level == 1` }},
	{"action == a", func(g *generator) string { return "action == " + pick(g, abi.EnforcedActions.Actions()...).Cedar() }},
	{"action in set", func(g *generator) string {
		return "action in [" + pick(g, abi.EnforcedActions.Actions()...).Cedar() + `, file_system::Action::"stat"]`
	}},
	{"principal == p", func(g *generator) string { return "principal == " + g.typ + `::"bob"` }},
	{"home in", func(g *generator) string { return "principal.home in " + g.dir() }},
	{"literal", func(g *generator) string { return pick(g, "true", "false") }},
	{"roles contains", func(g *generator) string { return "principal.roles.contains(" + pick(g, `"dev"`, `"admin"`) + ")" }},
	{"roles containsAny", func(*generator) string { return `principal.roles.containsAny(["admin", "audit"])` }},
	{"roles containsAll", func(*generator) string { return `principal.roles.containsAll(["dev", "audit"])` }},
	{"roles isEmpty", func(*generator) string { return "principal.roles.isEmpty()" }},
	{"purpose like", func(g *generator) string {
		return "principal.purpose like " + pick(g, `"re*"`, `"*view"`, `"*"`, `"b*d"`)
	}},
	{"clearance", func(g *generator) string {
		return fmt.Sprintf("principal.clearance %s %d", pick(g, ">=", "<", "==", "!="), g.IntN(5))
	}},
	{"decimal", func(g *generator) string {
		return "principal.quota." + pick(g, "lessThan", "greaterThanOrEqual") + `(decimal("1.5"))`
	}},
	{"ipaddr", func(*generator) string { return `principal.net.isInRange(ip("10.0.0.0/8"))` }},
	{"ipaddr loopback", func(*generator) string { return `principal.net.isLoopback() || principal.net.isIpv6()` }},
	{"record", func(*generator) string { return `principal.desk.floor == 2 && principal.desk has room` }},
	{"record literal", func(*generator) string { return `{a: principal.tier, "b c": "x"} == {"b c": "x", a: 2}` }},
	{"tag", func(g *generator) string {
		return `principal.hasTag("env") && principal.getTag("env") == ` + pick(g, `"prod"`, `"test"`)
	}},
	{"set equality", func(*generator) string { return `principal.roles == ["dev", "admin", "dev"]` }},
	{"datetime", func(*generator) string { return `principal.since < datetime("2026-01-01T00:00:00Z")` }},
}

// resourceLeaves are conditions on the resource.
var resourceLeaves = []production{
	{"resource == f", func(g *generator) string { return "resource == " + g.file() }},
	{"resource != f", func(g *generator) string { return "resource != " + g.file() }},
	{"d == resource", func(g *generator) string { return g.dir() + " == resource" }},
	{"in dir", func(g *generator) string { return "resource in " + g.dir() }},
	{"in dir", func(g *generator) string { return "resource in " + g.dir() }},
	{"in dirs", func(g *generator) string { return "resource in " + g.list(4, g.dir) }},
	{"in files", func(g *generator) string { return "resource in " + g.list(3, g.file) }},
	{"in home", func(*generator) string { return "resource in principal.home" }},
	{"in homes", func(*generator) string { return "resource in principal.homes" }},
	{"in homes of boss", func(*generator) string { return "resource in principal.boss.homes" }},
	{"in mixed set", func(g *generator) string { return "resource in [principal.home, " + g.dir() + "]" }},
	{"== note", func(*generator) string { return "resource == principal.note" }},
	{"home !=", func(*generator) string { return "principal.home != resource" }},
	{"is T", func(g *generator) string { return "resource is file_system::" + pick(g, "File", "Dir") }},
	{"is T in set", func(g *generator) string { return "resource is file_system::Dir in " + g.list(3, g.dir) }},
	{"is T in attribute", func(*generator) string { return "resource is file_system::File in principal.boss.home" }},
	{"contains(resource)", func(g *generator) string {
		return "resource is file_system::File && " + g.list(4, g.file) + ".contains(resource)"
	}},
	{"homes.contains", func(*generator) string { return "resource is file_system::Dir && principal.homes.contains(resource)" }},
	{"files.containsAny", func(*generator) string {
		return "resource is file_system::File && principal.files.containsAny([resource])"
	}},
	{"containsAll(resource)", func(g *generator) string {
		return "resource is file_system::Dir && " + g.list(2, g.dir) + ".containsAll([resource, principal.home])"
	}},
	{"path ==", func(g *generator) string { return "resource.path == " + quote(g.path()) }},
	{"!= path", func(g *generator) string { return quote(g.path()) + " != resource.path" }},
	{"path == attribute", func(*generator) string { return "resource.path == principal.path" }},
	{"contains(path)", func(g *generator) string { return g.list(4, g.quotedPath) + ".contains(resource.path)" }},
	{"paths.contains", func(*generator) string { return "principal.paths.contains(resource.path)" }},
	{"paths of boss", func(*generator) string { return "principal.boss.paths.contains(resource.path)" }},
	{"[path].contains", func(g *generator) string {
		return "[resource.path, " + g.quotedPath() + "].contains(principal.path)"
	}},
	{"containsAny(path)", func(g *generator) string {
		return g.list(3, g.quotedPath) + ".containsAny([resource.path, principal.path])"
	}},
	{"containsAll(path)", func(g *generator) string { return g.list(3, g.quotedPath) + ".containsAll([resource.path])" }},
	{"resource has", func(g *generator) string { return "resource has " + pick(g, "path", "nothing") }},
	{"in itself", func(*generator) string { return "resource in resource" }},
	{"in team", func(*generator) string { return `resource in Team::"dev"` }},
	{"== user", func(*generator) string { return `resource == User::"ann"` }},
	{"== if", func(g *generator) string {
		return "resource == (if principal.active then " + g.file() + " else principal.note)"
	}},
}

func (g *generator) quotedPath() string { return quote(g.path()) }
