// Package gen makes random policy sets with matching entities and requests, by
// the grammar that the compiler supports. Tests of every walker compare their
// answers on them with cedar-go's.
package gen

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Case is one policy set for one principal, and requests to try on it.
type Case struct {
	Policies  []byte
	Entities  []byte
	Principal string
	Requests  []abi.Request
}

// Options bound a case. The zero value is a good default.
type Options struct {
	// Policies is the most policies of a case, Requests the number of requests.
	Policies, Requests int
	// Depth is the deepest nesting of conditions.
	Depth int
}

// New makes the case of a seed. Equal seeds and options give equal cases.
func New(seed uint64, o Options) *Case {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 0x5ade)), depth: orElse(o.Depth, 3)}
	g.typ = pick(g, "User", "Agent", "corp::Agent")
	g.self = fmt.Sprintf(`%s::"%s"`, g.typ, pick(g, "ann", "bob", "eve"))
	g.seedPaths()
	c := &Case{Principal: g.self, Entities: g.entities()}
	var text strings.Builder
	for i := range 1 + g.IntN(orElse(o.Policies, 7)) {
		text.WriteString(g.policy(i))
	}
	c.Policies = []byte(text.String())
	for range orElse(o.Requests, 100) {
		c.Requests = append(c.Requests, g.request())
	}
	return c
}

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
	typ, self string
	// paths are the paths that policies and requests draw from.
	paths []string
	// used are the paths that policies name.
	used []string
	// wide says that the policy's action scope reaches beyond files, to
	// resources without a path.
	wide bool
}

// pick returns one of the choices.
func pick[T any](g *generator, choices ...T) T { return choices[g.IntN(len(choices))] }

// oneIn is true once in n times.
func (g *generator) oneIn(n int) bool { return g.IntN(n) == 0 }

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
	g.used = append(g.used, p)
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

type object = map[string]any

func ref(typ, id string) object { return object{"__entity": object{"type": typ, "id": id}} }

// entities writes the people of the case. Each has the same attributes, but
// lead is optional, boss may not exist, and the principal may be unknown.
func (g *generator) entities() []byte {
	var list []object
	set := func(typ string) []object {
		var s []object
		for range 1 + g.IntN(3) {
			s = append(s, ref(typ, g.path()))
		}
		return s
	}
	people := []struct{ typ, id string }{{g.typ, "ann"}, {g.typ, "bob"}, {g.typ, "eve"}}
	if g.typ != "User" {
		people = append(people, struct{ typ, id string }{"User", "ann"})
	}
	for _, person := range people {
		if fmt.Sprintf(`%s::"%s"`, person.typ, person.id) == g.self && g.oneIn(8) {
			continue
		}
		attrs := object{
			"tier": g.IntN(4), "active": g.oneIn(2), "path": g.path(),
			"home": ref("file_system::Dir", g.path()), "note": ref("file_system::File", g.path()),
			"homes": set("file_system::Dir"), "files": set("file_system::File"),
			"paths": []string{g.path(), g.path(), "not a path"},
			"boss":  ref(person.typ, pick(g, "ann", "bob", "ghost")),
		}
		if g.oneIn(2) {
			attrs["lead"] = g.oneIn(2)
		}
		list = append(list, object{"uid": ref(person.typ, person.id), "attrs": attrs, "parents": g.teams()})
	}
	list = append(list,
		object{"uid": ref("Team", "dev"), "attrs": object{"level": g.IntN(3)}, "parents": []object{ref("Team", "all")}},
		object{"uid": ref("Team", "ops"), "attrs": object{"level": g.IntN(3)}, "parents": []object{}})
	text, err := json.Marshal(list)
	if err != nil {
		panic(err)
	}
	return text
}

func (g *generator) teams() []object {
	list := []object{}
	for _, team := range []string{"dev", "ops"} {
		if g.oneIn(2) {
			list = append(list, ref("Team", team))
		}
	}
	return list
}

// request draws a request near a path that a policy names.
func (g *generator) request() abi.Request {
	p := pick(g, g.paths...)
	if len(g.used) > 0 && !g.oneIn(4) {
		p = pick(g, g.used...)
	}
	switch g.IntN(8) {
	case 0: // the parent
		if i := strings.LastIndexByte(p, '/'); i > 0 {
			p = p[:i]
		} else {
			p = "/"
		}
	case 1, 2: // below
		for range 1 + g.IntN(2) {
			p = join(p, g.name())
		}
	case 3: // a sibling that shares a prefix
		if p != "/" && len(p)-strings.LastIndexByte(p, '/') <= 255 {
			p += pick(g, "b", "x", " ", "*")
		}
	case 4: // a sibling
		p = join(p[:max(strings.LastIndexByte(p, '/'), 1)], g.name())
	case 5: // bytes that no policy can write
		if g.oneIn(4) {
			p = join(p, "\xff\xfe")
		}
	}
	actions := abi.EnforcedActions.Actions()
	return abi.Request{Action: pick(g, actions...), Kind: abi.Kind(g.IntN(int(abi.NumKinds))), Path: p}
}

// fileOnly are the enforced actions that apply to files alone.
var fileOnly = []abi.Action{abi.Write, abi.Execute, abi.Map, abi.Userns}

// named are the actions that a policy names one by one: unmount, which applies
// to directories alone, comes with its group.
var named = (abi.EnforcedActions &^ abi.MaskOf(abi.Unmount)).Actions()

func appliesToDir(a abi.Action) bool { return !slices.Contains(fileOnly, a) }
