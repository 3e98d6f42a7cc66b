// Package schema holds the Cedar schema of Stockade and validates policies and
// entities against it. With compiler/parse.go it is the only importer of
// cedar-go's x/exp, which has no promise of stability.
package schema

import (
	"cmp"
	_ "embed"
	"maps"
	"slices"
	"sync"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// The entity types of paths.
const (
	File types.EntityType = "file_system::File"
	Dir  types.EntityType = "file_system::Dir"
	// User is the principal type that the schema itself declares.
	User types.EntityType = "User"
)

// Text is the schema as written: part of every policy set's digest.
//
//go:embed stockade.cedarschema
var Text []byte

// base resolves the embedded text once. A test proves that it cannot fail.
var base = sync.OnceValues(func() (*resolved.Schema, error) {
	var s schema.Schema
	s.SetFilename("stockade.cedarschema")
	if err := s.UnmarshalCedar(Text); err != nil {
		return nil, err
	}
	return s.Resolve()
})

// Schema is the embedded schema together with the entity types that one
// principal and one entities file add to it.
type Schema struct {
	resolved   *resolved.Schema
	principal  types.EntityType
	principals []types.EntityType
	order      []types.EntityUID // the actions, sorted
	validators map[string]*validate.Validator
	verdicts   map[string][]string
}

// New adds the type of the principal and the types of the entities to the
// embedded schema. The attributes of an added type are the ones that the
// entities show: an attribute that one of them lacks is optional.
func New(principal types.EntityUID, entities types.EntityMap) (*Schema, []EntityError) {
	b, err := base()
	if err != nil {
		return nil, []EntityError{{Message: err.Error()}}
	}
	s := &Schema{
		resolved: &resolved.Schema{
			Namespaces: b.Namespaces, Enums: b.Enums, Actions: b.Actions,
			Entities: maps.Clone(b.Entities),
		},
		principal:  principal.Type,
		validators: make(map[string]*validate.Validator),
		verdicts:   make(map[string][]string),
	}
	inferred, errs := infer(b, principal, entities)
	for name, entity := range inferred {
		s.resolved.Entities[name] = entity
		if name != File && name != Dir {
			s.principals = append(s.principals, name)
		}
	}
	slices.Sort(s.principals)
	s.order = slices.SortedFunc(maps.Keys(b.Actions), func(a, b types.EntityUID) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.ID, b.ID))
	})
	return s, append(errs, s.checkDeclared(b, entities)...)
}

// checkDeclared validates the entities whose types the embedded schema declares
// and infer leaves as they are.
func (s *Schema) checkDeclared(b *resolved.Schema, entities types.EntityMap) []EntityError {
	var errs []EntityError
	v := validate.New(s.resolved)
	for uid, entity := range entities {
		if _, ok := b.Entities[uid.Type]; !ok || uid.Type == User || uid.Type == File || uid.Type == Dir {
			continue
		}
		if err := v.Entity(entity); err != nil {
			errs = append(errs, EntityError{UID: uid, Message: err.Error()})
		}
	}
	return errs
}

// Actions returns the action entities of the schema, groups included, with
// their parents.
func Actions() types.EntityMap {
	m := make(types.EntityMap)
	if b, err := base(); err == nil {
		for uid, action := range b.Actions {
			m[uid] = action.Entity
		}
	}
	return m
}

// EntityTypes lists the known entity types, sorted.
func (s *Schema) EntityTypes() []types.EntityType {
	return slices.Sorted(maps.Keys(s.resolved.Entities))
}

// Attributes lists the attribute names that any known entity type or action
// context has, sorted.
func (s *Schema) Attributes() []string {
	names := make(map[string]bool)
	for _, e := range s.resolved.Entities {
		collect(e.Shape, names)
	}
	for _, a := range s.resolved.Actions {
		if a.AppliesTo != nil {
			collect(a.AppliesTo.Context, names)
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func collect(t resolved.IsType, names map[string]bool) {
	record, ok := t.(resolved.RecordType)
	if !ok {
		return
	}
	for name, attr := range record {
		names[string(name)] = true
		collect(attr.Type, names)
	}
}
