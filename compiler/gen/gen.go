// Package gen makes random policy sets with matching entities and requests, by
// the grammar that the compiler supports. Tests of every walker compare their
// answers on them with cedar-go's.
package gen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Options bound a case. The zero value is a good default.
type Options struct {
	// Policies is the most policies of a case, Requests the number of requests.
	Policies, Requests int
	// Depth is the deepest nesting of conditions.
	Depth int
	// Themes are what conditions are about besides the principal and the
	// resource's path; nil means a few of all themes.
	Themes []Theme
	// Audits puts policies in audit in half of the cases, and says of some forbids in
	// half of the cases how to respond to what they deny.
	Audits bool
}

// Theme is a part of a request that conditions of a case are about. A few
// themes a case make conditions meet each other.
type Theme string

// The themes.
const (
	Globs     Theme = "globs"     // resource.path like
	Processes Theme = "processes" // context.process
	Users     Theme = "users"     // context.user.uid, context.group.gid
	Times     Theme = "times"     // context.now
	Moves     Theme = "moves"     // context.destination
	Xattrs    Theme = "xattrs"    // context.xattr
	Workloads Theme = "workloads" // context.workload
	Classes   Theme = "classes"   // entity data of files and directories
	Residuals Theme = "residuals" // what only the agent knows
)

// AllThemes lists every theme.
var AllThemes = []Theme{Globs, Processes, Users, Times, Moves, Xattrs, Workloads, Classes, Residuals}

// None is the list of no themes.
var None = []Theme{}

// New makes the case of a seed. Equal seeds and options give equal cases.
func New(seed uint64, o Options) *Case {
	g := &generator{
		Rand: rand.New(rand.NewPCG(seed, 0x5ade)), depth: orElse(o.Depth, 3),
		used: map[string][]string{}, bounds: map[string][]int64{}, productions: map[string]int{},
	}
	if g.themes = o.Themes; g.themes == nil {
		for range 1 + g.IntN(3) {
			g.themes = append(g.themes, pick(g, AllThemes...))
		}
	}
	g.favoured = []abi.Action{pick(g, named...), pick(g, named...)}
	for theme, a := range own {
		if g.about(theme) {
			g.favoured = append(g.favoured, a)
		}
	}
	slices.Sort(g.favoured)
	g.typ = pick(g, "User", "Agent", "corp::Agent")
	g.self = fmt.Sprintf(`%s::"%s"`, g.typ, pick(g, "ann", "bob", "eve"))
	g.seedPaths()
	c := &Case{Principal: g.self, Data: g.entities(), Productions: g.productions}
	for i := range 1 + g.IntN(orElse(o.Policies, 7)) {
		c.Set = append(c.Set, g.policy(i))
	}
	if o.Audits {
		c.wire(seed)
		c.audit(seed)
	}
	c.Write()
	for range orElse(o.Requests, 100) {
		c.Requests = append(c.Requests, g.request())
	}
	return c
}

// audit puts policies in audit. It draws from numbers of its own: the rest of
// the case stays the same.
func (c *Case) audit(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0xa0d1))
	if r.IntN(2) == 0 {
		return
	}
	for i := range c.Set {
		draw := r.IntN(4)
		c.Set[i].Audit = draw == 0 || draw < 3 && c.Set[i].Effect == "forbid" // what these would deny is reported
	}
}

// wire says of forbids how to respond, likewise.
func (c *Case) wire(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0x317e))
	if r.IntN(2) == 0 {
		return
	}
	for i := range c.Set {
		if draw := r.IntN(5); draw < len(responses) && c.Set[i].Effect == "forbid" {
			c.Set[i].Respond = responses[draw]
		}
	}
}

var responses = [...]string{"lockdown", "freeze", "kill"}

func orElse(n, otherwise int) int {
	if n == 0 {
		return otherwise
	}
	return n
}

// generator is the state of one case.
type generator struct {
	*rand.Rand
	depth     int
	themes    []Theme
	typ, self string
	// favoured are the actions that policies and requests are mostly about.
	favoured []abi.Action
	// paths are the paths that policies and requests draw from.
	paths []string
	// used are, by field, the strings and patterns that policies name, bounds
	// the numbers.
	used   map[string][]string
	bounds map[string][]int64
	// scope is the action scope of the policy at hand.
	scope       actionScope
	pattern     shaping
	productions map[string]int
}

// about reports whether the case has a theme.
func (g *generator) about(t Theme) bool { return slices.Contains(g.themes, t) }

// pick returns one of the choices.
func pick[T any](g *generator, choices ...T) T { return choices[g.IntN(len(choices))] }

// oneIn is true once in n times.
func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

// production is one way to write an expression, by name.
type production struct {
	name  string
	write func(g *generator) string
}

// draw uses one production of a table.
func (g *generator) draw(table []production) string {
	p := table[g.IntN(len(table))]
	g.productions[p.name]++
	return p.write(g)
}

// Productions lists the names of all productions.
func Productions() []string {
	var names []string
	for _, table := range [][]production{operators, knownLeaves, resourceLeaves, globLeaves, processLeaves, userLeaves,
		timeLeaves, moveLeaves, xattrLeaves, workloadLeaves, classLeaves, residualLeaves, principalScopes, actionScopes, resourceScopes, patterns} {
		for _, p := range table {
			names = append(names, p.name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// names have the bytes, lengths and shared prefixes that go wrong.
var names = []string{
	"a", "b", "c", "ab", "abc", "a b", "b.env", ".env", "..x", "...", "a*b", "*", "?", "[a]",
	"x\ny", "tab\t", `q"u`, `b\s`, "ü", "日本", "😀", "u\u0301", "-", "$HOME", "%s",
	strings.Repeat("i", 15), strings.Repeat("i", 16), strings.Repeat("i", 17), strings.Repeat("i", 18) + "j",
	strings.Repeat("l", 64), strings.Repeat("l", 254), strings.Repeat("l", 255), strings.Repeat("l", 254) + "m",
}

func (g *generator) name() string {
	if g.oneIn(3) {
		return names[g.IntN(len(names))]
	}
	return names[g.IntN(5)]
}

func (g *generator) seedPaths() {
	g.paths = []string{"/"}
	for range 8 {
		base := pick(g, g.paths...)
		for range 1 + g.IntN(3) {
			base = join(base, g.name())
			g.paths = append(g.paths, base)
		}
	}
	if g.oneIn(4) {
		deep := "/"
		for range 20 + g.IntN(20) {
			deep = join(deep, names[g.IntN(5)])
		}
		g.paths = append(g.paths, deep)
	}
}

func join(dir, name string) string {
	if dir == "/" {
		return dir + name
	}
	return dir + "/" + name
}

// path draws a path for a policy.
func (g *generator) path() string {
	p := pick(g, g.paths...)
	if g.oneIn(5) {
		p = join(p, g.name())
	}
	g.used["path"] = append(g.used["path"], p)
	return p
}

func quote(s string) string { return string(types.String(s).MarshalCedar()) }

func (g *generator) file() string { return "file_system::File::" + quote(g.path()) }
func (g *generator) dir() string  { return "file_system::Dir::" + quote(g.path()) }

// list writes a set of 1 to n elements.
func (g *generator) list(n int, element func() string) string {
	parts := make([]string, 1+g.IntN(n))
	for i := range parts {
		parts[i] = element()
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// own are the actions with a context of their own, which belong to a theme.
var own = map[Theme]abi.Action{Moves: abi.Move, Xattrs: abi.SetXattr, Residuals: abi.Execute}

// named are the actions that a policy names one by one: unmount, which applies
// to directories alone, comes with its group.
var named = (abi.EnforcedActions &^ abi.MaskOf(abi.Unmount)).Actions()

// fileOnly are the enforced actions that apply to files alone.
const fileOnly = abi.ActionMask(1<<abi.Write | 1<<abi.Execute | 1<<abi.Map | 1<<abi.Userns | 1<<abi.ConnectUnix)
