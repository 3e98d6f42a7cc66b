package compiler

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/schema"
)

// check validates the policies against the schema and looks at their literals.
func check(policies []*policy, s *schema.Schema, errs *collector) {
	for _, p := range policies {
		for _, err := range gather(p, s, s.Validate(p.tree())) {
			errs.add(err)
		}
		checkLiterals(p, errs)
		if errs.full() {
			return
		}
	}
}

// repeated are the beginnings of messages that come once for each type of
// resource, or for each action, and are one mistake.
var repeated = []struct{ prefix, each string }{
	{"attribute `", "types"},
	{"unable to guarantee safety of access to optional attribute `", "actions"},
}

// gather turns messages into errors.
func gather(p *policy, s *schema.Schema, messages []string) []*Error {
	var list []*Error
	last := make(map[Position]*Error)
	others, each := make(map[*Error]int), make(map[*Error]string)
	for _, message := range messages {
		err := explain(p, s, message)
		if first := last[err.Position]; first != nil && eachOf(message) != "" {
			others[first]++
			each[first] = eachOf(message)
			continue
		}
		last[err.Position] = err
		list = append(list, err)
	}
	for err, n := range others {
		err.Message += fmt.Sprintf(" (so for %d more %s)", n, each[err])
	}
	return list
}

// eachOf says of what a message is repeated for each, "" if it is not.
func eachOf(message string) string {
	for _, r := range repeated {
		if strings.HasPrefix(message, r.prefix) {
			return r.each
		}
	}
	return ""
}

var quotedPart = regexp.MustCompile("`([^`]*)`")

// explain turns a message of cedar-go's validator into an error at the place
// of what it complains of.
func explain(p *policy, s *schema.Schema, message string) *Error {
	o := newOutline(p)
	var offset int
	var found bool
	subject := quotedPart.FindStringSubmatch(message)
	text := message + ": the policy set is refused; correct the policy"
	switch {
	case message == schema.NotApplicable:
		text = "no action in its scope applies to its principal and its resource: the policy set is refused; correct the scope, or write `action in` for a group"
	case subject == nil:
	case strings.HasPrefix(message, "unrecognized action "):
		var uid types.EntityUID
		if uid.UnmarshalCedar([]byte(subject[1])) == nil {
			offset, found = o.entity(uid)
		}
		text = subject[1] + ": unknown action: the policy set is refused" + suggest(subject[1], actionNames())
	case strings.HasPrefix(message, "unrecognized entity type "):
		offset, found = o.entityType(types.EntityType(subject[1]))
		var known []string
		for _, t := range s.EntityTypes() {
			known = append(known, string(t))
		}
		text = subject[1] + ": unknown entity type: the policy set is refused" + suggest(subject[1], known)
	case strings.Contains(message, "attribute `"):
		name := subject[1][strings.LastIndexByte(subject[1], '.')+1:]
		offset, found = o.attribute(name)
		if strings.HasSuffix(message, "not found") {
			text = message + ": the policy set is refused" + suggest(name, s.Attributes())
		} else {
			text = message + ": the policy set is refused; test it with `has` first"
		}
	}
	if !found {
		return &Error{p.position(), "policy " + p.meta.ID + ": " + text}
	}
	return &Error{p.source.position(offset), text}
}

func actionNames() []string {
	var names []string
	for uid := range schema.Actions() {
		names = append(names, uid.String())
	}
	return names
}

// suggest proposes the known name that is nearest to a wrong one.
func suggest(wrong string, known []string) string {
	best, least := "", min(3, max(1, len(wrong)/5))+1
	for _, name := range known {
		if d := distance(wrong, name); d < least || d == least && best != "" && name < best {
			best, least = name, d
		}
	}
	switch best {
	case "":
		return "; correct the name"
	case wrong:
		return "; name the actions or the resource type in the scope, or test it with `has` first"
	}
	return "; did you mean " + best + "?"
}

// distance counts the edits between two names; a swap of neighbours is one.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(a)][len(b)]
}

// checkLiterals refuses path literals that no resource can have.
func checkLiterals(p *policy, errs *collector) {
	refuse := func(v types.Value) {
		uid, ok := v.(types.EntityUID)
		if !ok || !isPath(uid.Type) {
			return
		}
		if problem, mend := PathProblem(string(uid.ID)); problem != "" {
			offset, found := newOutline(p).entity(uid)
			if !found {
				offset = p.offset
			}
			errs.addf(p.source.position(offset), "%s: %s never matches: the policy set is refused; %s", uid, problem, mend)
		}
	}
	for _, scope := range []scopeNode{p.principal, p.resource} {
		if uid, ok := scopeEntity(scope); ok {
			refuse(uid)
		}
	}
	for _, c := range p.conditions {
		inspect(c.body, func(n node) bool {
			if v, ok := n.(nodeValue); ok {
				refuse(v.Value)
			}
			checkPathStrings(p, n, errs)
			return !errs.full()
		})
	}
}

// scopeEntity returns the entity that a scope names.
func scopeEntity(scope scopeNode) (types.EntityUID, bool) {
	switch scope := scope.(type) {
	case scopeEq:
		return scope.Entity, true
	case scopeIn:
		return scope.Entity, true
	case scopeIsIn:
		return scope.Entity, true
	}
	return types.EntityUID{}, false
}

// checkPathStrings refuses strings that resource.path is compared with and can
// never equal.
func checkPathStrings(p *policy, n node, errs *collector) {
	var literals []node
	switch n := n.(type) {
	case nodeEqual:
		literals = opposite(n.Left, n.Right)
	case nodeUnequal:
		literals = opposite(n.Left, n.Right)
	case nodeContains:
		if set, ok := n.Left.(nodeSet); ok && isResourcePath(n.Right) {
			literals = set.Elements
		}
	}
	for _, literal := range literals {
		text, ok := stringOf(literal)
		if !ok || errs.full() {
			continue
		}
		if problem, mend := PathProblem(text); problem != "" {
			errs.addf(p.expression(literal), "%s: %s never matches: the policy set is refused; %s", cedarText(literal), problem, mend)
		}
	}
}

// opposite returns what resource.path is compared with.
func opposite(left, right node) []node {
	switch {
	case isResourcePath(left):
		return []node{right}
	case isResourcePath(right):
		return []node{left}
	}
	return nil
}

func stringOf(n node) (string, bool) {
	if v, ok := n.(nodeValue); ok {
		s, ok := v.Value.(types.String)
		return string(s), ok
	}
	return "", false
}
