package gen

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Rewrite writes the policies of a case differently without a change of
// meaning: errors of evaluation stay where they are. used counts the rewrites.
func Rewrite(c *Case, seed uint64, used map[string]int) *Case {
	w := &rewriter{rand.New(rand.NewPCG(seed, 0xd1ff)), used}
	d := *c
	d.Set = nil
	for _, p := range c.Set {
		d.Set = append(d.Set, w.policy(p)...)
	}
	w.Shuffle(len(d.Set), func(i, j int) { d.Set[i], d.Set[j] = d.Set[j], d.Set[i] })
	for i := range d.Set {
		if d.Set[i].ID = ""; w.IntN(2) == 0 {
			d.Set[i].ID = fmt.Sprintf("renamed-%d", i)
		}
	}
	w.used["order and names"]++
	d.Write()
	return &d
}

// Rewrites lists what Rewrite does.
func Rewrites() []string {
	return []string{"order and names", "duplicate", "split", "actions one by one", "scope into condition", "when and unless", "clauses joined",
		"double negation", "de morgan &&", "de morgan ||", "if", "==", "!=", "&& true", "|| false"}
}

type rewriter struct {
	*rand.Rand
	used map[string]int
}

// do decides whether to use a rewrite, and counts it.
func (w *rewriter) do(name string, oneIn int) bool {
	if w.IntN(oneIn) != 0 {
		return false
	}
	w.used[name]++
	return true
}

func (w *rewriter) policy(p Policy) []Policy {
	p.Clauses = slices.Clone(p.Clauses)
	if p.Resource != "resource" && w.do("scope into condition", 3) {
		p.Clauses = append([]Clause{{false, Leaf(p.Resource)}}, p.Clauses...)
		p.Resource = "resource"
	}
	for i := range p.Clauses {
		p.Clauses[i] = w.clause(p.Clauses[i])
	}
	if len(p.Clauses) == 2 && w.do("clauses joined", 2) {
		p.Clauses = []Clause{{false, And(positive(p.Clauses[0]), positive(p.Clauses[1]))}}
	}
	list := w.split(p)
	if strings.HasPrefix(p.Action, "action in [") && w.do("actions one by one", 6) {
		list = oneByOne(list)
	}
	if w.do("duplicate", 4) {
		list = append(list, list[w.IntN(len(list))])
	}
	return list
}

// positive returns the condition of a clause.
func positive(c Clause) *Expr {
	if c.Unless {
		return Not(c.Body)
	}
	return c.Body
}

func (w *rewriter) clause(c Clause) Clause {
	c.Body = w.expression(c.Body)
	if w.do("when and unless", 3) {
		c.Unless, c.Body = !c.Unless, Not(c.Body)
	}
	return c
}

// split makes two policies of a || b: the second one starts with !a, so that it
// errors where a does.
func (w *rewriter) split(p Policy) []Policy {
	if len(p.Clauses) != 1 || p.Clauses[0].Unless || operator(p.Clauses[0].Body) != "||" || !w.do("split", 2) {
		return []Policy{p}
	}
	a, b := p.Clauses[0].Body.Args[0], p.Clauses[0].Body.Args[1]
	first, second := p, p
	first.Clauses = []Clause{{false, a}}
	second.Clauses = []Clause{{false, And(Not(a), b)}}
	return []Policy{first, second}
}

// oneByOne makes a policy for each action of a set.
func oneByOne(list []Policy) []Policy {
	var out []Policy
	for _, p := range list {
		actions := strings.TrimSuffix(strings.TrimPrefix(p.Action, "action in ["), "]")
		for action := range strings.SplitSeq(actions, ", ") {
			p.Action = "action == " + action
			out = append(out, p)
		}
	}
	return out
}

// operator names the operator at the top of an expression.
func operator(e *Expr) string {
	switch {
	case len(e.Args) == 1 && e.Parts[0] == "!(":
		return "!"
	case len(e.Args) == 2:
		return strings.Trim(e.Parts[1], "() ")
	case len(e.Args) == 3:
		return "if"
	}
	return ""
}

func (w *rewriter) expression(e *Expr) *Expr {
	args := make([]*Expr, len(e.Args))
	for i := range args {
		args[i] = w.expression(e.Args[i])
	}
	e = w.rewritten(&Expr{e.Parts, args}, args)
	switch {
	case w.do("double negation", 8):
		e = Not(Not(e))
	case w.do("&& true", 10):
		e = And(e, Leaf("true"))
	case w.do("|| false", 10):
		e = Or(Leaf("false"), e)
	}
	return e
}

func (w *rewriter) rewritten(e *Expr, x []*Expr) *Expr {
	switch op := operator(e); {
	case op == "&&" && w.do("de morgan &&", 3):
		return Not(Or(Not(x[0]), Not(x[1])))
	case op == "||" && w.do("de morgan ||", 3):
		return Not(And(Not(x[0]), Not(x[1])))
	case op == "if" && w.do("if", 2):
		return Or(And(x[0], x[1]), And(Not(x[0]), x[2]))
	case op == "==" && w.do("==", 2):
		return Or(And(x[0], x[1]), And(Not(x[0]), Not(x[1])))
	case op == "!=" && w.do("!=", 2):
		return Or(And(x[0], Not(x[1])), And(Not(x[0]), x[1]))
	}
	return e
}
