package schema

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// NotApplicable is the message about a scope that no action fits.
const NotApplicable = "unable to find an applicable action given the policy scope constraints"

// Validate type-checks one policy strictly and returns the sorted, distinct
// messages of what is wrong with it.
//
// The conditions are checked for the actual principal's type, unless the scope
// names another type: then for that one. So a policy for another principal is
// checked as strictly, and never rejected for being about another principal.
func (s *Schema) Validate(p *ast.Policy) []string {
	v := view{principal: s.candidate(p.Principal), scope: p.Action}
	for _, c := range p.Conditions {
		v.context = v.context || mentions(c.Body, "context")
		v.action = v.action || mentions(c.Body, "action")
	}
	if len(p.Conditions) > 0 {
		return messages(s.validator(v).Policy("", p))
	}
	// Only types matter then, and 100,000 such policies have few of them.
	key := v.key() + scopeKey(p.Principal) + scopeKey(p.Resource)
	list, ok := s.verdicts[key]
	if !ok {
		list = messages(s.validator(v).Policy("", p))
		s.verdicts[key] = list
	}
	return list
}

func mentions(n ast.IsNode, variable types.String) bool {
	found := false
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		if v, ok := n.(ast.NodeTypeVariable); ok && v.Name == variable {
			found = true
		}
		return !found
	})
	return found
}

// view is what a policy can tell apart: the validator would build and check a
// request environment for every action, principal and resource otherwise.
type view struct {
	principal types.EntityType
	scope     ast.IsActionScopeNode
	// action and context say that the conditions mention these variables.
	action, context bool
}

func (v view) key() string {
	return fmt.Sprintf("%s|%T%v|%t%t", v.principal, v.scope, v.scope, v.action, v.context)
}

// candidate returns the principal type to check a policy's conditions for.
func (s *Schema) candidate(scope ast.IsPrincipalScopeNode) types.EntityType {
	named := s.principal
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		named = scope.Entity.Type
	case ast.ScopeTypeIs:
		named = scope.Type
	case ast.ScopeTypeIsIn:
		named = scope.Type
	}
	if slices.Contains(s.principals, named) {
		return named
	}
	return s.principal
}

// scopeKey is the part of a scope that validation looks at.
func scopeKey(scope ast.IsScopeNode) string {
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return "|==" + entityKey(scope.Entity)
	case ast.ScopeTypeIn:
		return "|in" + entityKey(scope.Entity)
	case ast.ScopeTypeIs:
		return "|is" + string(scope.Type)
	case ast.ScopeTypeIsIn:
		return "|is" + string(scope.Type) + " in" + entityKey(scope.Entity)
	}
	return "|"
}

func entityKey(uid types.EntityUID) string {
	if isAction(uid.Type) {
		return uid.String()
	}
	return string(uid.Type)
}

// validator returns the validator of a view. Actions out of its scope apply to
// nothing; neither do those that the view cannot tell from another one.
func (s *Schema) validator(v view) *validate.Validator {
	key := v.key()
	if known, ok := s.validators[key]; ok {
		return known
	}
	narrowed := *s.resolved
	narrowed.Actions = maps.Clone(s.resolved.Actions)
	seen := make(map[string]bool)
	for _, uid := range s.order {
		action := narrowed.Actions[uid]
		if action.AppliesTo == nil {
			continue
		}
		class := fmt.Sprint(action.AppliesTo.Resources)
		if alike := !v.action && !v.context && seen[class]; alike || !inScope(action.Entity, v.scope) {
			action.AppliesTo = nil
		} else {
			seen[class] = true
			action.AppliesTo = v.appliesTo(action.AppliesTo)
		}
		narrowed.Actions[uid] = action
	}
	s.validators[key] = validate.New(&narrowed, validate.WithStrict())
	return s.validators[key]
}

func (v view) appliesTo(to *resolved.AppliesTo) *resolved.AppliesTo {
	narrowed := &resolved.AppliesTo{Principals: []types.EntityType{v.principal}, Resources: to.Resources}
	if v.context {
		narrowed.Context = to.Context
	}
	return narrowed
}

// inScope relies on the schema's hierarchy of actions being one level deep.
func inScope(action types.Entity, scope ast.IsActionScopeNode) bool {
	within := func(uid types.EntityUID) bool { return action.UID == uid || action.Parents.Contains(uid) }
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return action.UID == scope.Entity
	case ast.ScopeTypeIn:
		return within(scope.Entity)
	case ast.ScopeTypeInSet:
		return slices.ContainsFunc(scope.Entities, within)
	}
	return true
}

// messages flattens the validator's errors, which come in map order and once
// for each request environment.
func messages(err error) []string {
	var list []string
	var flatten func(error)
	flatten = func(err error) {
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range joined.Unwrap() {
				flatten(e)
			}
			return
		}
		list = append(list, err.Error())
	}
	if err == nil {
		return nil
	}
	flatten(err)
	// An unknown name is the better error of the two.
	if slices.ContainsFunc(list, func(m string) bool { return strings.HasPrefix(m, "unrecognized ") }) {
		list = slices.DeleteFunc(list, func(m string) bool { return m == NotApplicable })
	}
	slices.Sort(list)
	return slices.Compact(list)
}
