package table

import (
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// buildAll makes the table of the enforced rules and, if policies in audit would
// deny something that these allow, one that says so as well: it goes before the
// other.
func buildAll(set *rule.Set, handled abi.ActionMask) (*Table, error) {
	enforced, audits := *set, *set
	enforced.Rules, audits.Rules = nil, nil
	for _, r := range set.Rules {
		if !r.Audited {
			enforced.Rules = append(enforced.Rules, r)
		}
		// Where enforced policies allow, a permit in audit changes nothing.
		if !r.Audited || r.Effect == rule.Forbid {
			audits.Rules = append(audits.Rules, r)
		}
	}
	tab, err := build(&enforced, handled, nil)
	if err != nil || len(audits.Rules) == len(enforced.Rules) {
		return tab, err
	}
	reporting, err := build(&audits, handled, tab)
	if err != nil || reporting != nil {
		return reporting, err
	}
	return tab, nil
}

// reports tells whether any verdict of the trie is reported.
func (b *builder) reports(root *node) bool {
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
	root.each(func(n *node) {
		visit(n.exactly)
		visit(n.beneath)
	})
	return found
}
