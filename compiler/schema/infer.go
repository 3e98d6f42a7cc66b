package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
)

// EntityError says what is wrong with one entity of the entities file.
type EntityError struct {
	UID     types.EntityUID
	Message string
}

// Error returns the message with the entity in front.
func (e EntityError) Error() string {
	if e.UID.IsZero() {
		return e.Message
	}
	return e.UID.String() + ": " + e.Message
}

// infer describes every entity type that the data mentions and the embedded
// schema does not declare, and User. Each may be a parent of each other, so
// that the next entity that joins a group does not change what is valid.
func infer(b *resolved.Schema, principal types.EntityUID, entities types.EntityMap) (map[types.EntityType]resolved.Entity, []EntityError) {
	var errs []EntityError
	groups := map[types.EntityType][]types.Entity{User: nil, principal.Type: nil}
	parents := make(map[types.EntityType]bool)
	mention := func(t types.EntityType) {
		if _, ok := groups[t]; !ok {
			groups[t] = nil
		}
	}
	for uid, entity := range entities {
		groups[uid.Type] = append(groups[uid.Type], entity)
		for parent := range entity.Parents.All() {
			mention(parent.Type)
			parents[parent.Type] = true
		}
		mentioned(entity.Attributes, mention)
		mentioned(entity.Tags, mention)
	}
	paths := append(slices.Clone(groups[File]), groups[Dir]...)
	maps.DeleteFunc(groups, func(t types.EntityType, _ []types.Entity) bool {
		_, declared := b.Entities[t]
		return declared && t != User || isAction(t)
	})
	names := slices.Sorted(maps.Keys(groups))
	for _, name := range names {
		parents[name] = true
	}
	out := make(map[types.EntityType]resolved.Entity, len(groups)+2)
	bad := inferPaths(b, out, paths, parents)
	errs = append(errs, bad...)
	for _, name := range names {
		entity := resolved.Entity{Name: name, ParentTypes: slices.Sorted(maps.Keys(parents))}
		var bad []EntityError
		entity.Shape, entity.Tags, bad = shape(groups[name])
		errs = append(errs, bad...)
		out[name] = entity
	}
	return out, errs
}

// inferPaths adds what the data says of files and directories: an attribute of
// a Dir holds for all that is in it, so both types have it, and none must. They
// are in what any entity is in.
func inferPaths(b *resolved.Schema, out map[types.EntityType]resolved.Entity, entries []types.Entity, parents map[types.EntityType]bool) []EntityError {
	if len(entries) == 0 {
		return nil
	}
	attrs, tags, errs := shape(entries)
	for _, name := range []types.EntityType{File, Dir} {
		entity := b.Entities[name]
		entity.Shape = maps.Clone(entity.Shape)
		for attr, t := range attrs {
			if _, declared := entity.Shape[attr]; !declared {
				entity.Shape[attr] = resolved.Attribute{Type: t.Type, Optional: true}
			}
		}
		entity.Tags = tags
		all := maps.Clone(parents)
		for _, parent := range entity.ParentTypes {
			all[parent] = true
		}
		delete(all, File)
		entity.ParentTypes = slices.Sorted(maps.Keys(all))
		out[name] = entity
	}
	return errs
}

// mentioned reports the entity types inside a value.
func mentioned(v types.Value, mention func(types.EntityType)) {
	switch v := v.(type) {
	case types.EntityUID:
		mention(v.Type)
	case types.Set:
		for x := range v.All() {
			mentioned(x, mention)
		}
	case types.Record:
		for x := range v.Values() {
			mentioned(x, mention)
		}
	}
}

func isAction(t types.EntityType) bool {
	return t == "Action" || strings.HasSuffix(string(t), "::Action")
}

// shape merges the attributes and the tags of the entities of one type.
func shape(entities []types.Entity) (resolved.RecordType, resolved.IsType, []EntityError) {
	slices.SortFunc(entities, func(a, b types.Entity) int { return strings.Compare(string(a.UID.ID), string(b.UID.ID)) })
	var attrs, tags resolved.IsType
	var errs []EntityError
	for _, entity := range entities {
		merged, err := merge(attrs, typeOf(entity.Attributes), "")
		if err != nil {
			errs = append(errs, EntityError{entity.UID, err.Error()})
			continue
		}
		attrs = merged
		for name, v := range entity.Tags.All() {
			if merged, err = merge(tags, typeOf(v), "tag "+string(name)); err != nil {
				errs = append(errs, EntityError{entity.UID, err.Error()})
				continue
			}
			tags = merged
		}
	}
	if attrs == nil {
		return resolved.RecordType{}, settle(tags), errs
	}
	return settle(attrs).(resolved.RecordType), settle(tags), errs
}

// mixed stands for a set whose elements have no common type.
type mixed struct {
	resolved.IsType
	why error
}

// typeOf returns the type of one value. nil is the unknown element type of an
// empty set.
func typeOf(v types.Value) resolved.IsType {
	switch v := v.(type) {
	case types.Boolean:
		return resolved.BoolType{}
	case types.Long:
		return resolved.LongType{}
	case types.String:
		return resolved.StringType{}
	case types.EntityUID:
		return resolved.EntityType(v.Type)
	case types.IPAddr:
		return resolved.ExtensionType("ipaddr")
	case types.Decimal:
		return resolved.ExtensionType("decimal")
	case types.Datetime:
		return resolved.ExtensionType("datetime")
	case types.Duration:
		return resolved.ExtensionType("duration")
	case types.Record:
		record := make(resolved.RecordType, v.Len())
		for name, x := range v.All() {
			record[name] = resolved.Attribute{Type: typeOf(x)}
		}
		return record
	case types.Set:
		var element resolved.IsType
		for x := range v.All() {
			merged, err := merge(element, typeOf(x), "element")
			if err != nil {
				return mixed{why: err}
			}
			element = merged
		}
		return resolved.SetType{Element: element}
	}
	return mixed{why: fmt.Errorf("a value of an unknown type: nothing is compiled; use a Cedar type")}
}

// merge returns the type that has the values of both; nil is no evidence.
func merge(a, b resolved.IsType, name string) (resolved.IsType, error) {
	for _, t := range []resolved.IsType{a, b} {
		if m, ok := t.(mixed); ok {
			return nil, fmt.Errorf("%s: %w", name, m.why)
		}
	}
	if a == nil {
		return checked(b, name)
	}
	if b == nil {
		return a, nil
	}
	switch x := a.(type) {
	case resolved.RecordType:
		if y, ok := b.(resolved.RecordType); ok {
			return mergeRecords(x, y, name)
		}
	case resolved.SetType:
		if y, ok := b.(resolved.SetType); ok {
			element, err := merge(x.Element, y.Element, name)
			return resolved.SetType{Element: element}, err
		}
	default:
		if a == b {
			return a, nil
		}
	}
	return nil, fmt.Errorf("%s: is %s here and %s elsewhere: nothing is compiled; give all of them one type", name, typeName(b), typeName(a))
}

// checked finds a mixed set anywhere inside t.
func checked(t resolved.IsType, name string) (resolved.IsType, error) {
	if record, ok := t.(resolved.RecordType); ok {
		return mergeRecords(record, record, name)
	}
	return t, nil
}

func mergeRecords(a, b resolved.RecordType, name string) (resolved.IsType, error) {
	out := make(resolved.RecordType, len(a))
	prefix := ""
	if name != "" {
		prefix = name + "."
	}
	for key, x := range a {
		y, both := b[key]
		merged, err := merge(x.Type, y.Type, prefix+string(key))
		if err != nil {
			return nil, err
		}
		out[key] = resolved.Attribute{Type: merged, Optional: x.Optional || y.Optional || !both}
	}
	for key, y := range b {
		if _, both := a[key]; !both {
			if _, err := merge(nil, y.Type, prefix+string(key)); err != nil {
				return nil, err
			}
			out[key] = resolved.Attribute{Type: y.Type, Optional: true}
		}
	}
	return out, nil
}

// settle gives sets of unknown elements, which are all empty, an element type.
func settle(t resolved.IsType) resolved.IsType {
	switch t := t.(type) {
	case resolved.SetType:
		if t.Element == nil {
			return resolved.SetType{Element: resolved.StringType{}}
		}
		return resolved.SetType{Element: settle(t.Element)}
	case resolved.RecordType:
		for name, attr := range t {
			attr.Type = settle(attr.Type)
			t[name] = attr
		}
	}
	return t
}

func typeName(t resolved.IsType) string {
	switch t := t.(type) {
	case resolved.BoolType:
		return "Bool"
	case resolved.LongType:
		return "Long"
	case resolved.StringType:
		return "String"
	case resolved.ExtensionType:
		return string(t)
	case resolved.EntityType:
		return string(t)
	case resolved.RecordType:
		return "a record"
	case resolved.SetType:
		if t.Element == nil {
			return "Set"
		}
		return "Set<" + typeName(t.Element) + ">"
	}
	return "unknown"
}
