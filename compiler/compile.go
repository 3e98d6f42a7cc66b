// Package compiler turns Cedar policies into plans: pure data that the kernel
// side walks. What it cannot compile exactly it refuses.
//
// Stages lists the steps, a file each: parse.go (text to syntax tree) and
// check.go (schema and literals), lower.go (conditions over the resource),
// split.go (small rules), then those of package table. Dump shows what each
// leaves.
package compiler

import (
	"errors"
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/schema"
	"github.com/stockade-dev/stockade/compiler/table"
)

// Input is everything that a plan depends on.
type Input struct {
	Sources []Source
	// Entities is Cedar JSON, or nil.
	Entities []byte
	// EntitiesName is the name that errors give to Entities.
	EntitiesName string
	// Principal is Cedar text, for example User::"alice".
	Principal string
	// Handled are the actions to enforce; 0 means abi.DefaultActions.
	Handled abi.ActionMask
	// Workload is what context.workload holds. Without it the context has no
	// workload: conditions on it are false, and Warnings names them.
	Workload *Workload
	// Answers settle some of what the policies leave to be asked; of two for one
	// request the first counts.
	Answers []Answer
}

func (in Input) entitiesName() string {
	if in.EntitiesName == "" {
		return "entities"
	}
	return in.EntitiesName
}

func (in Input) handled() abi.ActionMask {
	if in.Handled == 0 {
		return abi.DefaultActions
	}
	return in.Handled
}

// front is what the stages before lowering leave.
type front struct {
	principal types.EntityUID
	data      types.EntityMap
	policies  []*policy
	workload  *Workload
}

// read parses and validates all of the input.
func read(in Input) (*front, error) {
	principal, err := ParsePrincipal(in.Principal)
	if err != nil {
		return nil, err
	}
	var errs collector
	if extra := in.handled() &^ abi.EnforcedActions; extra != 0 {
		errs.addf(Position{File: "handled"}, "%s: no hook of this version decides it: nothing is compiled; leave it out", extra)
	}
	f := &front{principal: principal, data: loadEntities(in, &errs), workload: in.Workload}
	f.policies = parse(in.Sources, &errs)
	if errs.err() != nil {
		return nil, errs.err()
	}
	s, bad := schema.New(principal, f.data)
	src := newSource(Source{in.entitiesName(), in.Entities})
	for _, e := range bad {
		errs.addf(entityPosition(src, e.UID), "%s", e.Error())
	}
	if s != nil {
		check(f.policies, s, &errs)
	}
	return f, errs.err()
}

// Compile turns a policy set into the plan of one principal, or into nothing:
// its error lists everything that is wrong (type Errors).
func Compile(in Input) (*Plan, error) {
	c := &compilation{in: in}
	if err := c.run(Stages); err != nil {
		return nil, err
	}
	return c.plan(), nil
}

// compile runs the stages after reading.
func (f *front) compile(in Input) (*Plan, error) {
	c := &compilation{in: in, front: f}
	if err := c.run(Stages[1:]); err != nil {
		return nil, err
	}
	return c.plan(), nil
}

// plan gathers what all stages have left.
func (c *compilation) plan() *Plan {
	f, handled, t := c.front, c.in.handled(), c.building.Table()
	plan := &Plan{
		Principal: f.principal.String(),
		Digest:    digest(c.in),
		Rules:     c.set,
		Table:     t,
		Handled:   handled,
		Warnings:  slices.Concat(f.warnings(handled), failingForbids(c.failures), aliases(t)),
		Container: f.inContainers(),
		index:     newRuleIndex(c.set.Rules),
		scopes:    f.scopes(handled),
	}
	if len(c.set.Residuals) > 0 {
		plan.front = f
	}
	return plan
}

// maxCostly bounds the policies that an error about patterns names.
const maxCostly = 5

// costly turns the error of a table that needs too large automata into one of
// the policies whose patterns cost most.
func costly(set *rule.Set, err error) error {
	var globs *table.GlobsError
	if !errors.As(err, &globs) {
		return err
	}
	var errs collector
	for i, index := range globs.Policies {
		p := set.Policies[index]
		pos := Position{p.File, p.Line, p.Column}
		if i == maxCostly {
			break
		}
		errs.addf(pos, "policy %s: its patterns on %s are among those that cost most: together they need automata of more than %d states: the policy set is refused; use fewer stars in a pattern, or begin patterns with a directory",
			p.ID, globs.Field, globs.States)
	}
	return errs.err()
}

// aliases warns of rights that can give a path a second name. What a policy
// says of the first name does not hold for the second.
func aliases(t *table.Table) []string {
	var list []string
	some := t.SubOf(t.Find("/")).Any
	if mask := some.Any() & abi.MaskOf(abi.Mount); mask != 0 {
		list = append(list, "policies: mount is permitted somewhere: a bind mount shows a directory under another path, and policies see that path only; permit mount nowhere if anything is forbidden by path")
	}
	return list
}

// warnings names the actions that policies are about, hooks could decide and
// this plan does not handle, the policies about a workload that is not known, and
// annotations without effect.
func (f *front) warnings(handled abi.ActionMask) []string {
	covers := coverage()
	named := make(map[string]bool)
	for _, p := range f.policies {
		for _, text := range p.annotationWarnings() {
			named[text] = true
		}
		if f.workload == nil && p.mentionsAttribute("workload") {
			named[p.meta.Position()+": context.workload: the workload is not named: policies see none; name it"] = true
		}
		for _, uid := range p.actionsNamed() {
			if m := covers[uid]; m&abi.EnforcedActions != 0 && m&handled == 0 {
				named[p.meta.Position()+": "+uid.String()+": the action is not among the handled ones: it is not enforced; handle "+string(uid.ID)] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(named))
}

// unenforced lists the actions that policies name and no hook decides.
func unenforced(policies []*policy, covers map[types.EntityUID]abi.ActionMask) []string {
	names := make(map[types.EntityUID]bool)
	for _, p := range policies {
		for _, uid := range p.actionsNamed() {
			if covers[uid]&abi.EnforcedActions == 0 {
				names[uid] = true
			}
		}
	}
	var list []string
	for uid := range names {
		list = append(list, uid.String())
	}
	slices.Sort(list)
	return list
}

// eachLiteral visits the entities that the conditions of a policy write out.
func (p *policy) eachLiteral(visit func(types.EntityUID)) {
	for _, c := range p.conditions {
		inspect(c.body, func(n node) bool {
			if v, ok := n.(nodeValue); ok {
				if uid, ok := v.Value.(types.EntityUID); ok {
					visit(uid)
				}
			}
			return true
		})
	}
}

// actionsNamed lists the actions that a policy writes out.
func (p *policy) actionsNamed() []types.EntityUID {
	var named []types.EntityUID
	switch scope := p.action.(type) {
	case scopeEq:
		named = append(named, scope.Entity)
	case scopeIn:
		named = append(named, scope.Entity)
	case scopeInSet:
		named = append(named, scope.Entities...)
	}
	p.eachLiteral(func(uid types.EntityUID) {
		if isAction(uid.Type) {
			named = append(named, uid)
		}
	})
	return named
}
