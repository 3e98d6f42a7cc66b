package gen

import (
	"fmt"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// policy makes one policy.
func (g *generator) policy(i int) Policy {
	p := Policy{Effect: pick(g, "permit", "permit", "permit", "forbid")}
	if g.oneIn(3) {
		p.ID = fmt.Sprintf("p%d", i)
	}
	g.scope = actionScope{}
	p.Action = g.draw(actionScopes)
	p.Principal = g.draw(principalScopes)
	table := resourceScopes
	if !g.scope.dirs {
		table = table[:6]
	}
	p.Resource = g.draw(table)
	for range pick(g, 0, 1, 1, 1, 2) {
		p.Clauses = append(p.Clauses, Clause{g.oneIn(3), g.expression(g.depth)})
	}
	return p
}

// actionScope is what the conditions of a policy have to know of its scope to
// be valid.
type actionScope struct {
	// dirs says that an action applies to directories.
	dirs bool
	// wide says that the scope reaches beyond file actions, to resources
	// without a path and to requests without a context.
	wide bool
	// one says that only is the only action of the scope.
	one  bool
	only abi.Action
}

func (g *generator) action() string {
	a := pick(g, named...)
	if !g.oneIn(4) {
		a = pick(g, g.favoured...)
	}
	g.scope.only = a
	g.scope.dirs = g.scope.dirs || !fileOnly.Has(a)
	return a.Cedar()
}

var principalScopes = []production{
	{"principal ==", func(g *generator) string { return "principal == " + g.self }},
	{"principal == other", func(*generator) string { return `principal == User::"ann"` }},
	{"principal in", func(g *generator) string {
		return `principal in Team::"` + pick(g, "dev", "ops", "all", "none") + `"`
	}},
	{"principal is", func(g *generator) string { return "principal is " + g.typ }},
	{"principal is in", func(g *generator) string {
		return "principal is " + g.typ + ` in Team::"` + pick(g, "dev", "all") + `"`
	}},
	{"principal", anyone}, {"principal", anyone}, {"principal", anyone}, {"principal", anyone}, {"principal", anyone},
	{"principal", anyone}, {"principal", anyone}, {"principal", anyone}, {"principal", anyone}, {"principal", anyone},
}

func anyone(*generator) string { return "principal" }

var actionScopes = []production{
	{"action in group", func(g *generator) string {
		g.scope = actionScope{dirs: true}
		return `action in file_system::Action::"SafeIO"`
	}},
	{"action ==", func(g *generator) string {
		text := "action == " + g.action()
		g.scope.one = true
		return text
	}},
	{"action ==", func(g *generator) string {
		text := "action == " + g.action()
		g.scope.one = true
		return text
	}},
	{"action in", func(g *generator) string {
		return "action in " + g.list(4, g.action)
	}},
	{"action in", func(g *generator) string {
		return "action in " + g.list(4, g.action)
	}},
	{"action in unenforced", func(g *generator) string {
		text := "action in [" + g.action() + `, file_system::Action::"stat", sysctl::Action::"load"]`
		g.scope = actionScope{dirs: true, wide: true}
		return text
	}},
	{"action", func(g *generator) string {
		g.scope = actionScope{dirs: true, wide: true}
		return "action"
	}},
	{"action", func(g *generator) string {
		g.scope = actionScope{dirs: true, wide: true}
		return "action"
	}},
}

// resourceScopes: the first six need no action that applies to directories.
var resourceScopes = []production{
	{"resource in", func(g *generator) string { return "resource in " + g.dir() }},
	{"resource == file", func(g *generator) string { return "resource == " + g.file() }},
	{"resource is file in", func(g *generator) string { return "resource is file_system::File in " + g.dir() }},
	{"resource is file", func(*generator) string { return "resource is file_system::File" }},
	{"resource", func(*generator) string { return "resource" }},
	{"resource", func(*generator) string { return "resource" }},
	{"resource == dir", func(g *generator) string { return "resource == " + g.dir() }},
	{"resource is dir in", func(g *generator) string { return "resource is file_system::Dir in " + g.dir() }},
	{"resource is dir", func(*generator) string { return "resource is file_system::Dir" }},
}
