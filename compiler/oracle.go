package compiler

import (
	"path"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// Oracle answers requests with cedar-go itself: what a compiled plan has to
// agree with.
type Oracle struct {
	policies  *cedar.PolicySet
	principal types.EntityUID
	data      types.EntityMap
}

// NewOracle reads an input as Compile does, but compiles nothing: it also
// accepts what Compile does not support yet.
func NewOracle(in Input) (*Oracle, error) {
	f, err := read(in)
	if err != nil {
		return nil, err
	}
	return newOracle(f), nil
}

func newOracle(f *front) *Oracle {
	o := &Oracle{policies: cedar.NewPolicySet(), principal: f.principal, data: f.data}
	for _, p := range f.policies {
		o.policies.Add(cedar.PolicyID(p.meta.ID), p.cedar)
	}
	return o
}

// Authorize decides one request. determining lists the
// ids of the policies that the decision rests on, sorted. The error is about
// the request; a policy whose evaluation errors does not apply.
func (o *Oracle) Authorize(r abi.Request) (allow bool, determining []string, err error) {
	if problem, mend := checkPath(r.Path); problem != "" {
		return false, nil, &Error{Position{File: "request"}, problem + ": it is not decided; " + mend}
	}
	decision, diagnostic := o.diagnose(r)
	return bool(decision), reasons(diagnostic), nil
}

func reasons(d cedar.Diagnostic) []string {
	var ids []string
	for _, reason := range d.Reasons {
		ids = append(ids, string(reason.PolicyID))
	}
	slices.Sort(ids)
	return ids
}

// diagnose also tells which policies error.
func (o *Oracle) diagnose(r abi.Request) (cedar.Decision, cedar.Diagnostic) {
	resource := types.NewEntityUID(resourceType(r.Kind), types.String(r.Path))
	return cedar.Authorize(o.policies, overlay{resourceEntity(resource), world{o.data}}, cedar.Request{
		Principal: o.principal,
		Action:    types.NewEntityUID(types.EntityType(r.Action.Type()), types.String(r.Action.String())),
		Resource:  resource,
		Context:   types.NewRecord(nil),
	})
}

// resourceEntity gives a resource all of its ancestors as parents, written out
// on purpose without the help of world.
func resourceEntity(uid types.EntityUID) types.Entity {
	var ancestors []types.EntityUID
	for p := string(uid.ID); p != "/"; {
		p = path.Dir(p)
		ancestors = append(ancestors, types.NewEntityUID(schema.Dir, types.String(p)))
	}
	return types.Entity{
		UID:        uid,
		Parents:    types.NewEntityUIDSet(ancestors...),
		Attributes: types.NewRecord(types.RecordMap{"path": uid.ID}),
	}
}

// overlay looks at the request's own entity first.
type overlay struct {
	resource types.Entity
	rest     world
}

// Get implements types.EntityGetter.
func (o overlay) Get(uid types.EntityUID) (types.Entity, bool) {
	if uid == o.resource.UID {
		return o.resource, true
	}
	return o.rest.Get(uid)
}
