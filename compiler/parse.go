package compiler

import (
	"encoding/json"
	"path"
	"reflect"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/ast"
	"github.com/cedar-policy/cedar-go/types"
	xast "github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// The syntax tree of cedar-go, under our own names: this file and package
// schema are the only importers of its unstable packages.
type (
	node         = xast.IsNode
	nodeValue    = xast.NodeValue
	nodeVariable = xast.NodeTypeVariable
	nodeAnd      = xast.NodeTypeAnd
	nodeOr       = xast.NodeTypeOr
	nodeNot      = xast.NodeTypeNot
	nodeNegate   = xast.NodeTypeNegate
	nodeIf       = xast.NodeTypeIfThenElse
	nodeEqual    = xast.NodeTypeEquals
	nodeUnequal  = xast.NodeTypeNotEquals
	nodeLess     = xast.NodeTypeLessThan
	nodeLessEq   = xast.NodeTypeLessThanOrEqual
	nodeMore     = xast.NodeTypeGreaterThan
	nodeMoreEq   = xast.NodeTypeGreaterThanOrEqual
	nodeAdd      = xast.NodeTypeAdd
	nodeSub      = xast.NodeTypeSub
	nodeMult     = xast.NodeTypeMult
	nodeIn       = xast.NodeTypeIn
	nodeIs       = xast.NodeTypeIs
	nodeIsIn     = xast.NodeTypeIsIn
	nodeHas      = xast.NodeTypeHas
	nodeAccess   = xast.NodeTypeAccess
	nodeHasTag   = xast.NodeTypeHasTag
	nodeGetTag   = xast.NodeTypeGetTag
	nodeLike     = xast.NodeTypeLike
	nodeSet      = xast.NodeTypeSet
	nodeRecord   = xast.NodeTypeRecord
	nodeContains = xast.NodeTypeContains
	nodeAll      = xast.NodeTypeContainsAll
	nodeAny      = xast.NodeTypeContainsAny
	nodeIsEmpty  = xast.NodeTypeIsEmpty
	nodeCall     = xast.NodeTypeExtensionCall

	scopeNode  = xast.IsScopeNode
	scopeAll   = xast.ScopeTypeAll
	scopeEq    = xast.ScopeTypeEq
	scopeIn    = xast.ScopeTypeIn
	scopeInSet = xast.ScopeTypeInSet
	scopeIs    = xast.ScopeTypeIs
	scopeIsIn  = xast.ScopeTypeIsIn

	evalEnv = eval.Env
)

// negated returns !n.
func negated(n node) node { return xast.Not(xast.NewNode(n)).AsIsNode() }

func operand(v types.Value) xast.Node { return xast.NewNode(nodeValue{Value: v}) }

// access returns v.name, getTag v.getTag(tag).
func access(v types.Value, name types.String) node { return operand(v).Access(name).AsIsNode() }
func getTag(v, tag types.Value) node               { return operand(v).GetTag(operand(tag)).AsIsNode() }

// hasTag returns left.hasTag(right), has returns `variable has name`.
func hasTag(left, right node) node {
	return xast.NewNode(left).HasTag(xast.NewNode(right)).AsIsNode()
}
func has(variable, name types.String) node {
	return xast.NewNode(nodeVariable{Name: variable}).Has(name).AsIsNode()
}

// withOperands returns an operation or a relation with other operands; those
// with one operand take left.
func withOperands(n, left, right node) node {
	both := xast.BinaryNode{Left: left, Right: right}
	switch n := n.(type) {
	case nodeNegate:
		n.Arg = left
		return n
	case nodeAdd:
		n.BinaryNode = both
		return n
	case nodeSub:
		n.BinaryNode = both
		return n
	case nodeMult:
		n.BinaryNode = both
		return n
	case nodeLess:
		n.BinaryNode = both
		return n
	case nodeLessEq:
		n.BinaryNode = both
		return n
	case nodeMore:
		n.BinaryNode = both
		return n
	case nodeMoreEq:
		n.BinaryNode = both
		return n
	case nodeIn:
		n.BinaryNode = both
		return n
	case nodeContains:
		n.BinaryNode = both
		return n
	case nodeAll:
		n.BinaryNode = both
		return n
	case nodeAny:
		n.BinaryNode = both
		return n
	case nodeHasTag:
		n.BinaryNode = both
		return n
	case nodeHas:
		n.Arg = left
		return n
	case nodeIs:
		n.Left = left
		return n
	case nodeLike:
		n.Arg = left
		return n
	case nodeIsEmpty:
		n.Arg = left
		return n
	case nodeCall:
		n.Args = []node{left}
		if right != nil {
			n.Args = append(n.Args, right)
		}
		return n
	}
	return n
}

// likePattern returns the text of a pattern as package rule writes it.
func likePattern(p types.Pattern) (string, error) {
	text, err := p.MarshalJSON()
	if err != nil {
		return "", err
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return "", err
	}
	var b strings.Builder
	for _, part := range parts {
		var literal struct{ Literal string }
		if part[0] == '"' {
			b.WriteByte('*')
		} else if err := json.Unmarshal(part, &literal); err != nil {
			return "", err
		}
		b.WriteString(rule.EscapeLike(literal.Literal))
	}
	return b.String(), nil
}

// evaluate runs cedar-go on an expression.
func evaluate(n node, env evalEnv) (types.Value, error) { return eval.Eval(n, env) }

// inspect visits n and what is below it; visit says whether to go on below.
func inspect(n node, visit func(node) bool) { xast.Inspect(xast.NewNode(n), visit) }

// equalNodes compares two expressions.
func equalNodes(a, b node) bool { return reflect.DeepEqual(a, b) }

// maxText bounds an expression inside a message.
const maxText = 160

// cedarText returns the Cedar text of an expression, shortened if it is long.
func cedarText(n node) string { return shortened(fullText(n)) }

func fullText(n node) string {
	p := xast.Permit().When(xast.NewNode(n))
	text := string(cedar.NewPolicyFromAST((*ast.Policy)(p)).MarshalCedar())
	_, text, _ = strings.Cut(text, "when { ")
	return strings.TrimSuffix(text, " };")
}

func shortened(text string) string {
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// condition is one when or unless.
type condition struct {
	body   node
	unless bool
}

// policy is one parsed policy.
type policy struct {
	meta   rule.Policy
	cedar  *cedar.Policy
	source *source
	offset int

	principal, action, resource scopeNode
	conditions                  []condition
}

// tree returns the policy as the validator wants it.
func (p *policy) tree() *xast.Policy { return (*xast.Policy)(p.cedar.AST()) }

// parse reads all sources. It reports every syntax error: the first one of
// each policy.
func parse(sources []Source, errs *collector) []*policy {
	var all []*policy
	ids := make(map[string]*policy)
	for _, s := range sources {
		src := newSource(s)
		for n, parsed := range parseFile(src, errs) {
			p := newPolicy(src, parsed, n, errs)
			if first, ok := ids[p.meta.ID]; ok {
				errs.addf(p.position(), "policy %q: the id is already taken by the policy at %s: the policy set is refused; give each policy its own @id",
					p.meta.ID, first.meta.Position())
				continue
			}
			ids[p.meta.ID] = p
			all = append(all, p)
		}
	}
	return all
}

// parseFile returns the policies of one file, or none if it has an error.
func parseFile(src *source, errs *collector) cedar.PolicyList {
	if offset, what := overLimit(src.text); what != "" {
		errs.addf(src.position(offset), "policy: too much %s (at most %d levels and %d operators): the policy set is refused; split the policy or use a set",
			what, maxNesting, maxOperators)
		return nil
	}
	list, err := cedar.NewPolicyListFromBytes(src.name, src.text)
	if err == nil {
		return list
	}
	found := false
	for start, end := range src.statements() {
		if _, e := cedar.NewPolicyListFromBytes(src.name, src.text[start:end]); e != nil {
			found = true
			errs.add(syntaxError(src, start, end, e))
		}
		if errs.full() {
			break
		}
	}
	if !found {
		errs.add(syntaxError(src, 0, len(src.text), err))
	}
	return nil
}

func newPolicy(src *source, parsed *cedar.Policy, n int, errs *collector) *policy {
	tree := (*xast.Policy)(parsed.AST())
	p := &policy{
		cedar: parsed, source: src, offset: tree.Position.Offset,
		principal: tree.Principal, action: tree.Action, resource: tree.Resource,
	}
	for _, c := range tree.Conditions {
		p.conditions = append(p.conditions, condition{c.Body, c.Condition == xast.ConditionUnless})
	}
	pos := src.position(p.offset)
	p.meta = rule.Policy{File: pos.File, Line: pos.Line, Column: pos.Column, Effect: rule.Permit}
	if tree.Effect == xast.EffectForbid {
		p.meta.Effect = rule.Forbid
	}
	p.meta.ID = path.Base(src.name) + "#" + strconv.Itoa(n)
	for _, a := range tree.Annotations {
		if p.meta.Annotations == nil {
			p.meta.Annotations = make(map[string]string)
		}
		p.meta.Annotations[string(a.Key)] = string(a.Value)
	}
	if id, ok := p.meta.Annotations["id"]; ok {
		if p.meta.ID = id; id == "" {
			errs.addf(p.position(), "policy: its @id is empty: the policy set is refused; write a name, or leave @id out")
		}
	}
	p.checkAnnotations(errs)
	return p
}

// position returns the place of the policy's first byte.
func (p *policy) position() Position {
	return Position{p.meta.File, p.meta.Line, p.meta.Column}
}

// ParsePrincipal reads a principal from Cedar text, for example User::"alice".
func ParsePrincipal(text string) (types.EntityUID, error) {
	var uid types.EntityUID
	if err := uid.UnmarshalCedar([]byte(text)); err != nil {
		return uid, &Error{Position{File: "principal"}, strconv.Quote(text) +
			` is not a Cedar entity: nothing is compiled; write TYPE::"NAME", for example User::"alice"`}
	}
	if isPath(uid.Type) || isAction(uid.Type) {
		return uid, &Error{Position{File: "principal"}, uid.String() +
			": a path or an action is no principal: nothing is compiled; name who acts"}
	}
	return uid, nil
}
