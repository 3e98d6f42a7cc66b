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
// agree with. It is not for concurrent use.
type Oracle struct {
	policies  *cedar.PolicySet // the enforced ones
	all       *cedar.PolicySet // with those in audit
	principal types.EntityUID
	data      types.EntityMap
	world     world
	workload  *Workload
	// known are entities that world has made. It makes an Oracle unfit for
	// concurrent use.
	known map[types.EntityUID]types.Entity
	// order are the policies by position, single those that Satisfied asked.
	order  []*policy
	single map[int]*cedar.PolicySet
}

// maxEntities bounds the entities that are kept.
const maxEntities = 1 << 14

// Get implements types.EntityGetter.
func (o *Oracle) Get(uid types.EntityUID) (types.Entity, bool) {
	if !isPath(uid.Type) {
		return o.world.Get(uid)
	}
	entity, ok := o.known[uid]
	if !ok {
		if entity, ok = o.world.Get(uid); !ok {
			return entity, false
		}
		if len(o.known) >= maxEntities {
			clear(o.known)
		}
		o.known[uid] = entity
	}
	return entity, true
}

// NewOracle reads an input as Compile does, but compiles nothing.
func NewOracle(in Input) (*Oracle, error) {
	f, err := read(in)
	if err != nil {
		return nil, err
	}
	return newOracle(f), nil
}

func newOracle(f *front) *Oracle {
	o := &Oracle{policies: cedar.NewPolicySet(), all: cedar.NewPolicySet(), principal: f.principal, data: f.data, world: newWorld(f.data), workload: f.workload,
		known: map[types.EntityUID]types.Entity{}}
	o.singles(f)
	for _, p := range f.policies {
		o.all.Add(cedar.PolicyID(p.meta.ID), p.cedar)
		if !p.meta.Audited() {
			o.policies.Add(cedar.PolicyID(p.meta.ID), p.cedar)
		}
	}
	return o
}

// Authorize decides one request of which nothing is known that the kernel does
// not know: AuthorizeIn with a zero Told.
func (o *Oracle) Authorize(r abi.Request) (allow bool, determining []string, err error) {
	return o.AuthorizeIn(r, Told{})
}

// AuthorizeIn decides one request. determining lists the ids of the policies
// that the decision rests on, sorted. The error is about the request; a policy
// whose evaluation errors does not apply.
func (o *Oracle) AuthorizeIn(r abi.Request, told Told) (allow bool, determining []string, err error) {
	return o.authorize(o.policies, r, told)
}

// AuthorizeAll is AuthorizeIn as if the policies in audit were enforced.
func (o *Oracle) AuthorizeAll(r abi.Request, told Told) (allow bool, determining []string, err error) {
	return o.authorize(o.all, r, told)
}

func (o *Oracle) authorize(policies *cedar.PolicySet, r abi.Request, told Told) (allow bool, determining []string, err error) {
	if problem, mend := PathProblem(r.Path); problem != "" {
		return false, nil, &Error{Position{File: "request"}, problem + ": it is not decided; " + mend}
	}
	if r.Now < 0 || r.Now > maxNow {
		return false, nil, &Error{Position{File: "request"}, "a time that no clock shows: it is not decided; give milliseconds since 1970"}
	}
	decision, diagnostic := o.diagnoseBy(policies, r, told)
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

// diagnoseBy also tells which policies error.
func (o *Oracle) diagnoseBy(policies *cedar.PolicySet, r abi.Request, told Told) (cedar.Decision, cedar.Diagnostic) {
	resource := types.NewEntityUID(resourceType(r.Kind), types.String(r.Path))
	var arguments types.EntityMap
	if r.Action == abi.Execute { // no other context refers to them
		arguments = told.entities()
	}
	return cedar.Authorize(policies, overlay{o.resourceEntity(resource), arguments, o}, cedar.Request{
		Principal: o.principal,
		Action:    types.NewEntityUID(types.EntityType(r.Action.Type()), types.String(r.Action.String())),
		Resource:  resource,
		Context:   contextOf(r, &told, o.workload),
	})
}

// resourceEntity gives a resource all of its ancestors as parents, and what the
// entries of the entities file say of it, written out on purpose without the
// help of world.
func (o *Oracle) resourceEntity(uid types.EntityUID) types.Entity {
	var parents []types.EntityUID
	attributes, tags := types.RecordMap{"path": uid.ID}, types.RecordMap{}
	inherit := func(from types.EntityUID) {
		entry := o.data[from]
		for parent := range entry.Parents.All() {
			parents = append(parents, parent)
		}
		for name, v := range entry.Attributes.All() {
			if _, known := attributes[name]; !known {
				attributes[name] = v
			}
		}
		for name, v := range entry.Tags.All() {
			if _, known := tags[name]; !known {
				tags[name] = v
			}
		}
	}
	inherit(uid)
	for p := string(uid.ID); p != "/"; {
		p = path.Dir(p)
		dir := types.NewEntityUID(schema.Dir, types.String(p))
		parents = append(parents, dir)
		inherit(dir)
	}
	return types.Entity{
		UID:        uid,
		Parents:    types.NewEntityUIDSet(parents...),
		Attributes: types.NewRecord(attributes),
		Tags:       types.NewRecord(tags),
	}
}

// overlay looks at the request's own entities first.
type overlay struct {
	resource types.Entity
	told     types.EntityMap
	rest     types.EntityGetter
}

// Get implements types.EntityGetter.
func (o overlay) Get(uid types.EntityUID) (types.Entity, bool) {
	if uid == o.resource.UID {
		return o.resource, true
	}
	if entity, ok := o.told[uid]; ok {
		return entity, true
	}
	return o.rest.Get(uid)
}
