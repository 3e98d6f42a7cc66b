package compiler

import (
	"regexp"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Uses is a set of facts that the kernel does not know, or not exactly.
type Uses = rule.Uses

// The facts; see package rule.
const (
	UsesArguments   = rule.UsesArguments
	UsesKeys        = rule.UsesKeys
	UsesEnvironment = rule.UsesEnvironment
	UsesUsername    = rule.UsesUsername
	UsesGroupname   = rule.UsesGroupname
	UsesNamespace   = rule.UsesNamespace
	UsesExe         = rule.UsesExe
	UsesParent      = rule.UsesParent
)

// usesOf lists the facts that the value of an expression may depend on. What it
// does not recognise counts as everything.
func usesOf(n node) rule.Uses {
	var uses rule.Uses
	visit := func(n node) bool {
		switch n := n.(type) {
		case nodeHas:
			if chain, ok := contextChain(n.Arg); ok {
				// What a context has depends on the action alone, but for this.
				if len(chain) == 0 && n.Value == "namespace" {
					uses |= rule.UsesNamespace
				}
				return false
			}
		case nodeHasTag:
			if chain, ok := contextChain(n.Left); ok {
				uses |= usesOfTag(chain, n.Right) | usesOf(n.Right)
				return false
			}
		case nodeGetTag:
			if chain, ok := contextChain(n.Left); ok {
				uses |= usesOfTag(chain, n.Right) | usesOf(n.Right)
				return false
			}
		}
		chain, ok := contextChain(n)
		if ok {
			uses |= usesOfChain(chain)
		}
		return !ok
	}
	inspect(n, visit)
	return uses
}

// contextChain returns the attributes of context.a.b, outermost last.
func contextChain(n node) (chain []types.String, ok bool) {
	switch n := n.(type) {
	case nodeVariable:
		return nil, n.Name == "context"
	case nodeAccess:
		chain, ok = contextChain(n.Arg)
		return append(chain, n.Value), ok
	}
	return nil, false
}

// usesOfChain is what the whole of context.a.b depends on.
func usesOfChain(chain []types.String) rule.Uses {
	if len(chain) == 0 {
		return rule.UsesAll
	}
	if uses, ok := usesOfFacts(chain); ok {
		return uses
	}
	inner := types.String("")
	if len(chain) > 1 {
		inner = chain[1]
	}
	switch chain[0] {
	case "workload":
		return 0
	case "namespace":
		return rule.UsesNamespace
	case "environment":
		return rule.UsesEnvironment
	case "arguments":
		switch inner {
		case "flags", "positional_values":
			return rule.UsesArguments
		case "keys":
			return rule.UsesKeys
		}
		return rule.UsesArguments | rule.UsesKeys
	}
	return rule.UsesAll
}

// toldUses are the attributes of records with facts that the agent has to find out, or
// find out exactly.
var toldUses = map[string]rule.Uses{
	"user.username": rule.UsesUsername, "group.groupname": rule.UsesGroupname,
	"process.exe": rule.UsesExe, "process.parent_exe": rule.UsesParent,
}

// usesOfFacts is what an attribute depends on that is a fact, or a record with
// facts; ok is false of others.
func usesOfFacts(chain []types.String) (uses rule.Uses, ok bool) {
	text := string(chain[0])
	for _, name := range chain[1:] {
		text += "." + string(name)
	}
	within := func(attribute string) bool { return attribute == text || strings.HasPrefix(attribute, text+".") }
	for _, f := range abi.EachFact() {
		ok = ok || within(f.Attribute)
	}
	for attribute, x := range toldUses {
		if within(attribute) {
			uses, ok = uses|x, true
		}
	}
	return uses, ok
}

var tokenName = regexp.MustCompile(`^\$ARG[1-9][0-9]{0,8}$`)

// usesOfTag is what a tag of context.a.b depends on: of the arguments, $ARGn
// holds a token, and any other name needs the keys.
func usesOfTag(chain []types.String, tag node) rule.Uses {
	if len(chain) == 1 && chain[0] == "arguments" {
		if v, ok := tag.(nodeValue); ok {
			if name, ok := v.Value.(types.String); ok && tokenName.MatchString(string(name)) {
				return rule.UsesArguments
			}
		}
	}
	return usesOfChain(chain)
}
