package gen

import (
	"maps"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// shrinkRounds bounds the work on one case.
const shrinkRounds = 12

// Shrink returns a small case that fails still. fails must be true of c, and
// tells of any smaller case whether it shows the same failure; a case that
// does not compile does not.
func Shrink(c *Case, fails func(*Case) bool) *Case {
	s := &shrinker{best: c, fails: fails}
	for range shrinkRounds {
		before := s.steps
		s.requests()
		s.policies()
		s.conditions()
		s.entities()
		s.facts()
		if s.steps == before {
			break
		}
	}
	return s.best
}

type shrinker struct {
	best  *Case
	fails func(*Case) bool
	steps int
}

// try keeps the best case, changed, if it fails still.
func (s *shrinker) try(change func(*Case)) bool {
	c := *s.best
	c.Set = slices.Clone(c.Set)
	for i := range c.Set {
		c.Set[i].Clauses = slices.Clone(c.Set[i].Clauses)
	}
	c.Data, c.Requests = slices.Clone(c.Data), slices.Clone(c.Requests)
	change(&c)
	c.Write()
	if !s.fails(&c) {
		return false
	}
	s.best = &c
	s.steps++
	return true
}

// remove tries to leave out parts of a list of n: halves, quarters, single
// elements. cut removes the elements from i up to j.
func (s *shrinker) remove(length func() int, cut func(c *Case, i, j int)) {
	for size := max(length()/2, 1); ; size /= 2 {
		for i := 0; i < length(); {
			j := min(i+size, length())
			if !s.try(func(c *Case) { cut(c, i, j) }) {
				i = j
			}
		}
		if size <= 1 {
			return
		}
	}
}

func (s *shrinker) requests() {
	// Most failures need one request.
	for i := range s.best.Requests {
		if len(s.best.Requests) > 1 && s.try(func(c *Case) { c.Requests = c.Requests[i : i+1] }) {
			return
		}
	}
	s.remove(func() int { return len(s.best.Requests) },
		func(c *Case, i, j int) { c.Requests = slices.Delete(c.Requests, i, j) })
}

func (s *shrinker) policies() {
	s.remove(func() int { return len(s.best.Set) },
		func(c *Case, i, j int) { c.Set = slices.Delete(c.Set, i, j) })
	for i := range s.best.Set {
		s.remove(func() int { return len(s.best.Set[i].Clauses) },
			func(c *Case, from, to int) { c.Set[i].Clauses = slices.Delete(c.Set[i].Clauses, from, to) })
		for _, change := range []func(p *Policy){
			func(p *Policy) { p.Principal = "principal" },
			func(p *Policy) { p.Action = "action" },
			func(p *Policy) { p.Resource = "resource" },
			func(p *Policy) { p.ID = "" },
			func(p *Policy) { p.Audit = false },
			func(p *Policy) { p.Respond = "" },
		} {
			before := s.best.Set[i].String()
			trial := s.best.Set[i]
			if change(&trial); trial.String() != before {
				s.try(func(c *Case) { change(&c.Set[i]) })
			}
		}
	}
}

// conditions puts simpler expressions in the place of others.
func (s *shrinker) conditions() {
	for i := range s.best.Set {
		for j := range s.best.Set[i].Clauses {
			for again := true; again; {
				again = false
				for _, simpler := range simplify(s.best.Set[i].Clauses[j].Body) {
					if s.try(func(c *Case) { c.Set[i].Clauses[j].Body = simpler }) {
						again = true
						break
					}
				}
			}
		}
	}
}

// simplify lists expressions that are simpler than e by one step.
func simplify(e *Expr) []*Expr {
	var list []*Expr
	if text := e.String(); text != "true" && text != "false" {
		list = append(list, Leaf("true"), Leaf("false"))
	}
	list = append(list, e.Args...)
	for i, arg := range e.Args {
		for _, simpler := range simplify(arg) {
			args := slices.Clone(e.Args)
			args[i] = simpler
			list = append(list, &Expr{e.Parts, args})
		}
	}
	return list
}

func (s *shrinker) entities() {
	s.remove(func() int { return len(s.best.Data) },
		func(c *Case, i, j int) { c.Data = slices.Delete(c.Data, i, j) })
	for i := range s.best.Data {
		s.try(func(c *Case) { c.Data[i].Attrs, c.Data[i].Tags = object{}, nil })
		for _, name := range slices.Sorted(maps.Keys(s.best.Data[i].Attrs)) {
			s.try(func(c *Case) {
				attrs := maps.Clone(c.Data[i].Attrs)
				delete(attrs, name)
				c.Data[i].Attrs = attrs
			})
		}
		s.try(func(c *Case) { c.Data[i].Tags = nil })
		s.try(func(c *Case) { c.Data[i].Parents = []object{} })
	}
}

// facts takes from requests what does not matter.
func (s *shrinker) facts() {
	for i := range s.best.Requests {
		changes := []func(r *abi.Request){func(r *abi.Request) { r.Facts = abi.Facts{} }}
		for _, f := range abi.EachFact() {
			if f.Whole() && f.Dim != abi.DimGlob0 {
				changes = append(changes, f.Clear)
			}
		}
		for _, change := range append(changes,
			func(r *abi.Request) { r.Kind = 0 },
			func(r *abi.Request) { r.Path = "/" },
			func(r *abi.Request) { r.Path = "/a" },
		) {
			trial := s.best.Requests[i]
			if change(&trial); trial != s.best.Requests[i] && len(trial.Path) <= len(s.best.Requests[i].Path) {
				s.try(func(c *Case) { c.Requests[i] = trial })
			}
		}
	}
}
