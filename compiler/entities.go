package compiler

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// loadEntities reads the entities file and adds the actions of the schema.
func loadEntities(in Input, errs *collector) types.EntityMap {
	src := newSource(Source{in.entitiesName(), in.Entities})
	data := types.EntityMap{}
	if len(bytes.TrimSpace(in.Entities)) > 0 {
		if err := data.UnmarshalJSON(in.Entities); err != nil {
			errs.addf(jsonPosition(src, err), "entities: %v: nothing is compiled; correct the Cedar JSON", err)
			return data
		}
	}
	for uid, entity := range data {
		checkEntity(src, uid, entity, errs)
		if isPath(uid.Type) {
			data[uid] = complete(entity)
		}
	}
	for uid, action := range schema.Actions() {
		data[uid] = action
	}
	return data
}

// jsonPosition finds the place of a syntax error.
func jsonPosition(src *source, err error) Position {
	var v any
	if e, ok := json.Unmarshal(src.text, &v).(*json.SyntaxError); ok && err != nil {
		return src.position(min(max(int(e.Offset)-1, 0), len(src.text)))
	}
	return Position{File: src.name}
}

// checkEntity refuses what would give paths or actions another meaning, and
// paths that cannot match.
func checkEntity(src *source, uid types.EntityUID, entity types.Entity, errs *collector) {
	pos := entityPosition(src, uid)
	switch {
	case isPath(uid.Type):
		checkEntry(src, uid, entity, errs)
	case isAction(uid.Type):
		errs.addf(pos, "%s: an action in the entities file: nothing is compiled; remove it, actions come from the schema", uid)
		return
	}
	var visit func(v types.Value)
	visit = func(v types.Value) {
		switch v := v.(type) {
		case types.EntityUID:
			if problem, mend := PathProblem(string(v.ID)); isPath(v.Type) && problem != "" {
				errs.addf(entityPosition(src, v), "%s: %s never matches: nothing is compiled; %s", v, problem, mend)
			}
		case types.Set:
			for x := range v.All() {
				visit(x)
			}
		case types.Record:
			for x := range v.Values() {
				visit(x)
			}
		}
	}
	visit(entity.Attributes)
	visit(entity.Tags)
	for parent := range entity.Parents.All() {
		visit(parent)
	}
}

// checkEntry refuses what would give a path another place or another name.
func checkEntry(src *source, uid types.EntityUID, entity types.Entity, errs *collector) {
	pos := entityPosition(src, uid)
	if problem, mend := PathProblem(string(uid.ID)); problem != "" {
		errs.addf(pos, "%s: %s never matches: nothing is compiled; %s", uid, problem, mend)
		return
	}
	if v, ok := entity.Attributes.Get("path"); ok && !v.Equal(uid.ID) {
		errs.addf(pos, "%s: its path is %s: nothing is compiled; write the path of its id, or leave path out", uid, v.MarshalCedar())
	}
	for parent := range entity.Parents.All() {
		switch {
		case isAction(parent.Type), parent.Type == schema.File,
			parent.Type == schema.Dir && !rule.Below(string(uid.ID), string(parent.ID)):
			errs.addf(entityPosition(src, parent), "%s: its parent %s is no directory above it: nothing is compiled; remove it, paths have the parents that they have", uid, parent)
		}
	}
}

// complete gives an entry of a path its path.
func complete(entity types.Entity) types.Entity {
	attributes := types.RecordMap{"path": entity.UID.ID}
	for name, v := range entity.Attributes.All() {
		attributes[name] = v
	}
	entity.Attributes = types.NewRecord(attributes)
	return entity
}

func isAction(t types.EntityType) bool {
	return t == "Action" || strings.HasSuffix(string(t), "::Action")
}

// entityPosition finds where the file first writes an entity's id.
func entityPosition(src *source, uid types.EntityUID) Position {
	quoted, err := json.Marshal(string(uid.ID))
	if i := bytes.Index(src.text, quoted); err == nil && i >= 0 {
		return src.position(i)
	}
	return Position{File: src.name}
}
