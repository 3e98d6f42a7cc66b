package table

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// splitAudits returns the enforced rules and, if policies in audit could deny
// something that these allow, the rules of a table that says so as well.
func splitAudits(set *rule.Set) (enforced, audits *rule.Set) {
	one, other := *set, *set
	one.Rules, other.Rules = nil, nil
	for _, r := range set.Rules {
		if !r.Audited {
			one.Rules = append(one.Rules, r)
		}
		// Where enforced policies allow, a permit in audit changes nothing.
		if !r.Audited || r.Effect == rule.Forbid {
			other.Rules = append(other.Rules, r)
		}
	}
	if len(other.Rules) == len(one.Rules) {
		return &one, nil
	}
	return &one, &other
}

// reports tells whether any verdict of the trie is reported.
func (b *builder) reports() bool {
	found := false
	seen := map[ref]bool{}
	var visit func(ref)
	visit = func(r ref) {
		if found || seen[r] {
			return
		}
		seen[r] = true
		if r < 0 {
			found = b.verdicts.value(r).Report != abi.Masks{}
			return
		}
		for _, k := range b.verdicts.vertices[r].kids {
			visit(k)
		}
	}
	b.root.each(func(n *node) {
		visit(n.exactly)
		visit(n.beneath)
	})
	return found
}
