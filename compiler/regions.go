package compiler

import (
	"cmp"
	"path"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// regions is what the entities file says of paths: every entry of a File is
// about itself, every entry of a Dir about all that is in it.
type regions struct {
	entries []types.Entity // sorted by path
	// classes holds, for every entity that entries are in by way of a parent
	// of theirs, these entries.
	classes    map[types.EntityUID][]types.Entity
	attributes map[types.String]*inheritance
	tags       map[types.String]*inheritance
}

// inheritance is what the resource's attribute is where, and where it has one.
type inheritance struct {
	cases   []choice
	present formula
}

func newRegions(data types.EntityMap) *regions {
	r := &regions{classes: make(map[types.EntityUID][]types.Entity),
		attributes: make(map[types.String]*inheritance), tags: make(map[types.String]*inheritance)}
	for uid, entity := range data {
		if isPath(uid.Type) {
			r.entries = append(r.entries, entity)
		}
	}
	slices.SortFunc(r.entries, func(a, b types.Entity) int {
		return cmp.Or(cmp.Compare(a.UID.ID, b.UID.ID), cmp.Compare(a.UID.Type, b.UID.Type))
	})
	w := newWorld(data)
	for _, entry := range r.entries {
		for _, ancestor := range ancestors(w, classParents(entry)) {
			r.classes[ancestor] = append(r.classes[ancestor], entry)
		}
	}
	return r
}

// classParents lists the parents of an entry that are not directories.
func classParents(entry types.Entity) []types.EntityUID {
	var list []types.EntityUID
	for parent := range entry.Parents.All() {
		if !isPath(parent.Type) {
			list = append(list, parent)
		}
	}
	return list
}

// ancestors lists the given entities and all that they are in.
func ancestors(w types.EntityGetter, todo []types.EntityUID) []types.EntityUID {
	var list []types.EntityUID
	seen := make(map[types.EntityUID]bool)
	for len(todo) > 0 {
		uid := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[uid] {
			continue
		}
		seen[uid] = true
		list = append(list, uid)
		if entity, ok := w.Get(uid); ok {
			for parent := range entity.Parents.All() {
				todo = append(todo, parent)
			}
		}
	}
	slices.SortFunc(list, func(a, b types.EntityUID) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// region is where an entry holds.
func region(uid types.EntityUID) formula {
	self := isEntity(uid)
	if uid.Type != schema.Dir {
		return self
	}
	return formula{rule.Or{rule.PathBelow{Path: string(uid.ID)}, self.cond}, 6}
}

// attribute returns an attribute of the resource other than path:
// the nearest entry that has it decides.
func (r *regions) attribute(l *lowerer, name types.String) *inheritance {
	return r.cases(l, r.attributes, name, func(e types.Entity) types.Record { return e.Attributes })
}

// tag returns a tag of the resource.
func (r *regions) tag(l *lowerer, name types.String) *inheritance {
	return r.cases(l, r.tags, name, func(e types.Entity) types.Record { return e.Tags })
}

func (r *regions) cases(l *lowerer, known map[types.String]*inheritance, name types.String, of func(types.Entity) types.Record) *inheritance {
	if list, ok := known[name]; ok {
		return list
	}
	var having []types.Entity
	var values []types.Value
	for _, entry := range r.entries {
		if v, ok := of(entry).Get(name); ok {
			having, values = append(having, entry), append(values, v)
		}
	}
	where := nearest(l, having)
	var list []choice
	at := make(map[string]int)
	parts := make(map[int][]formula)
	for i, v := range values {
		key := valueText(v)
		n, ok := at[key]
		if !ok {
			n = len(list)
			at[key] = n
			list = append(list, choice{term: valueTerm(v)})
		}
		parts[n] = append(parts[n], where[i])
	}
	present := make([]formula, len(list))
	for n := range list {
		list[n].when = l.disj(parts[n]...)
		present[n] = list[n].when
	}
	known[name] = &inheritance{list, l.disj(present...)}
	return known[name]
}

// nearest returns where each of some entries, sorted by path, is the nearest.
func nearest(l *lowerer, entries []types.Entity) []formula {
	inner := make([][]formula, len(entries))
	at := make(map[types.EntityUID]int, len(entries))
	for i, entry := range entries {
		at[entry.UID] = i
	}
	for _, entry := range entries {
		for p := string(entry.UID.ID); p != "/"; {
			p = path.Dir(p)
			if i, ok := at[types.NewEntityUID(schema.Dir, types.String(p))]; ok {
				inner[i] = append(inner[i], region(entry.UID))
				break
			}
		}
	}
	where := make([]formula, len(entries))
	for i, entry := range entries {
		where[i] = l.conj(region(entry.UID), l.neg(l.disj(inner[i]...)))
	}
	return where
}

// inherited completes an entity of the world with what the entries at and above
// its path say.
func inherited(data types.EntityMap, uid types.EntityUID) (attributes, tags types.RecordMap, parents []types.EntityUID) {
	attributes, tags = types.RecordMap{"path": uid.ID}, types.RecordMap{}
	fill := func(into types.RecordMap, from types.Record) {
		for name, v := range from.All() {
			if _, nearer := into[name]; !nearer {
				into[name] = v
			}
		}
	}
	parents = classParents(data[uid])
	for at := uid; ; {
		entry := data[at]
		fill(attributes, entry.Attributes)
		fill(tags, entry.Tags)
		if at.ID == "/" {
			return attributes, tags, parents
		}
		at = types.NewEntityUID(schema.Dir, types.String(path.Dir(string(at.ID))))
	}
}
