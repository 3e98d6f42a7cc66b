package gen

import "fmt"

func ref(typ, id string) object { return object{"__entity": object{"type": typ, "id": id}} }

func extension(fn, arg string) object { return object{"__extn": object{"fn": fn, "arg": arg}} }

func id(typ, id string) object { return object{"type": typ, "id": id} }

// entities makes the people of the case, their teams and, where the case is
// about them, data classes. Each person has the same attributes, but lead and
// the tag are optional, boss may not exist, and the principal may be unknown.
func (g *generator) entities() []Entity {
	var list []Entity
	people := []struct{ typ, id string }{{g.typ, "ann"}, {g.typ, "bob"}, {g.typ, "eve"}}
	if g.typ != "User" {
		people = append(people, struct{ typ, id string }{"User", "ann"})
	}
	for _, person := range people {
		if fmt.Sprintf(`%s::"%s"`, person.typ, person.id) == g.self && g.oneIn(8) {
			continue
		}
		list = append(list, g.person(person.typ, person.id))
	}
	list = append(list,
		Entity{UID: id("Team", "dev"), Attrs: object{"level": g.IntN(3)}, Parents: []object{id("Team", "all")}},
		Entity{UID: id("Team", "ops"), Attrs: object{"level": g.IntN(3)}, Parents: []object{}})
	if g.about(Classes) {
		list = append(list, g.classes()...)
	}
	return list
}

func (g *generator) person(typ, name string) Entity {
	refs := func(of string) []object {
		var s []object
		for range 1 + g.IntN(3) {
			s = append(s, ref(of, g.path()))
		}
		return s
	}
	e := Entity{UID: id(typ, name), Parents: g.teams(), Attrs: object{
		"tier": g.IntN(4), "active": g.oneIn(2), "path": g.path(),
		"home": ref("file_system::Dir", g.path()), "note": ref("file_system::File", g.path()),
		"homes": refs("file_system::Dir"), "files": refs("file_system::File"),
		"paths":   []string{g.path(), g.path(), "not a path"},
		"boss":    ref(typ, pick(g, "ann", "bob", "ghost")),
		"roles":   pick(g, []string{}, []string{"dev"}, []string{"dev", "admin"}, []string{"dev", "audit"}),
		"purpose": pick(g, "review", "build", "preview", ""), "clearance": g.IntN(5),
		"quota": extension("decimal", pick(g, "1.5", "0.1", "2.0")), "net": extension("ip", pick(g, "10.1.2.3", "127.0.0.1", "::1", "192.168.0.0/24")),
		"desk": object{"floor": g.IntN(3), "room": "a"}, "since": extension("datetime", pick(g, moments...)),
		"class": ref("DataClass", pick(g, "pii", "secret")),
	}}
	if g.oneIn(2) {
		e.Attrs["lead"] = g.oneIn(2)
	}
	if g.oneIn(2) {
		e.Tags = object{"env": pick(g, "prod", "test")}
	} else {
		e.Tags = object{"other": "x"}
	}
	return e
}

func (g *generator) teams() []object {
	list := []object{}
	for _, team := range []string{"dev", "ops"} {
		if g.oneIn(2) {
			list = append(list, id("Team", team))
		}
	}
	return list
}

// classes makes data classes and puts files and directories into them.
func (g *generator) classes() []Entity {
	list := []Entity{
		{UID: id("DataClass", "pii"), Attrs: object{}, Parents: []object{id("DataClass", "all")}},
		{UID: id("DataClass", "secret"), Attrs: object{}, Parents: []object{}},
	}
	seen := map[string]bool{}
	for range 1 + g.IntN(5) {
		typ, p := pick(g, "file_system::File", "file_system::Dir", "file_system::Dir"), g.path()
		if seen[typ+p] || p == "/" && typ == "file_system::File" {
			continue
		}
		seen[typ+p] = true
		e := Entity{UID: id(typ, p), Attrs: object{}, Parents: []object{}}
		if !g.oneIn(3) {
			e.Attrs["classification"] = pick(g, "open", "secret", "sealed")
		}
		for _, class := range []string{"pii", "secret"} {
			if g.oneIn(2) {
				e.Parents = append(e.Parents, id("DataClass", class))
			}
		}
		list = append(list, e)
	}
	return list
}
