package rule

import (
	"slices"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Cond is a boolean formula over one request: the resource's kind (File or Dir)
// and absolute path, and the facts of the context. The concrete types are the
// ones of this file.
type Cond interface {
	String() string
	isCond()
}

// Const is true or false.
type Const bool

// Is holds for resources of a kind. Of two kinds the first is written as not the
// second (OfKind).
type Is struct{ Kind abi.Kind }

// PathEq holds where the resource's path equals Path, byte for byte.
type PathEq struct{ Path string }

// PathBelow holds where the resource lies strictly below the directory Path.
// PathBelow{"/"} holds for every path but "/" itself.
type PathBelow struct{ Path string }

// Like holds where a string field matches a pattern (MatchLike). A test for
// one string is a pattern without stars.
type Like struct {
	Field   Field
	Pattern string
}

// Less holds where a number field is less than Bound.
type Less struct {
	Field Field
	Bound int64
}

// Unknown is a condition that no table can hold: Residual of the same number
// says which.
type Unknown struct{ Residual int }

// Not, And and Or are the boolean operators. Empty And is true, empty Or false.
type (
	Not struct{ X Cond }
	And []Cond
	Or  []Cond
)

func (Const) isCond()     {}
func (Is) isCond()        {}
func (PathEq) isCond()    {}
func (PathBelow) isCond() {}
func (Like) isCond()      {}
func (Less) isCond()      {}
func (Unknown) isCond()   {}
func (Not) isCond()       {}
func (And) isCond()       {}
func (Or) isCond()        {}

func (c Const) String() string     { return strconv.FormatBool(bool(c)) }
func (c Is) String() string        { return strings.ToLower(c.Kind.String()) }
func (c PathEq) String() string    { return "path==" + strconv.Quote(c.Path) }
func (c PathBelow) String() string { return "path<" + strconv.Quote(c.Path) }
func (c Like) String() string      { return c.Field.String() + " like " + strconv.Quote(c.Pattern) }
func (c Less) String() string      { return c.Field.String() + "<" + strconv.FormatInt(c.Bound, 10) }
func (c Unknown) String() string   { return "ask#" + strconv.Itoa(c.Residual) }
func (c Not) String() string       { return "!" + c.X.String() }
func (c And) String() string       { return join(c, " & ", "true") }
func (c Or) String() string        { return join(c, " | ", "false") }

func join(list []Cond, op, empty string) string {
	if len(list) == 0 {
		return empty
	}
	parts := make([]string, len(list))
	for i, c := range list {
		parts[i] = c.String()
	}
	return "(" + strings.Join(parts, op) + ")"
}

// OfKind is where the resource is of a kind. Every kind but the first is tested for;
// the first is none of the others, so that both say the same in one way.
func OfKind(k abi.Kind) Cond {
	if k != 0 {
		return Is{k}
	}
	var none []Cond
	for other := abi.Kind(1); other < abi.NumKinds; other++ {
		none = append(none, Not{Is{other}})
	}
	return Conj(none...)
}

// Conj, Disj and Neg build formulas and fold constants.
func Conj(list ...Cond) Cond { return fold(list, true) }

// Disj is the disjunction of list.
func Disj(list ...Cond) Cond { return fold(list, false) }

// Neg is the negation of c.
func Neg(c Cond) Cond {
	switch c := c.(type) {
	case Const:
		return !c
	case Not:
		return c.X
	}
	return Not{c}
}

// fold flattens nested operators of the same sort and drops the neutral
// element; the absorbing one wins, and so do complements of what is known of
// the kind or not known at all.
func fold(list []Cond, and bool) Cond {
	out, ok := flatten(list, and)
	if !ok {
		return Const(!and)
	}
	if out, ok = complements(out); !ok {
		return Const(!and)
	}
	switch {
	case len(out) == 0:
		return Const(and)
	case len(out) == 1:
		return out[0]
	case and:
		return And(out)
	}
	return Or(out)
}

// complements drops repeated tests of the kind and repeated unknowns; ok is
// false if one of them, or one and the same formula, stands beside its negation.
func complements(list []Cond) (out []Cond, ok bool) {
	formulas := slices.ContainsFunc(list, func(c Cond) bool {
		not, ok := c.(Not)
		return ok && identity(not.X) != nil
	})
	var seen map[any]bool
	for i, c := range list {
		atom, positive := c, true
		if not, ok := c.(Not); ok {
			atom, positive = not.X, false
		}
		var key any
		switch atom.(type) {
		case Is, Unknown:
			key = atom
		case And, Or:
			if formulas {
				key = identity(atom)
			}
		}
		if key == nil {
			if seen != nil {
				out = append(out, c)
			}
			continue
		}
		if seen == nil {
			seen = make(map[any]bool)
			out = append(make([]Cond, 0, len(list)), list[:i]...)
		}
		if before, known := seen[key]; known {
			if before != positive {
				return nil, false
			}
			continue
		}
		seen[key] = positive
		out = append(out, c)
	}
	if seen == nil {
		return list, true
	}
	return out, true
}

// operands identifies a formula by where it is stored.
type operands struct {
	first *Cond
	size  int
	and   bool
}

// identity returns the identity of a formula with operands, or nil.
func identity(c Cond) any {
	switch c := c.(type) {
	case And:
		if len(c) > 0 {
			return operands{&c[0], len(c), true}
		}
	case Or:
		if len(c) > 0 {
			return operands{&c[0], len(c), false}
		}
	}
	return nil
}

// flatten joins nested operators of the same sort; ok is false if an operand
// is the absorbing element.
func flatten(list []Cond, and bool) (out []Cond, ok bool) {
	for _, c := range list {
		switch c := c.(type) {
		case Const:
			if bool(c) != and {
				return nil, false
			}
			continue
		case And:
			if and {
				out = append(out, c...)
				continue
			}
		case Or:
			if !and {
				out = append(out, c...)
				continue
			}
		}
		out = append(out, c)
	}
	return out, true
}

// Renumber gives the unknowns of c other numbers.
func Renumber(c Cond, number func(int) int) Cond {
	list := func(list []Cond) []Cond {
		out := make([]Cond, len(list))
		for i, c := range list {
			out[i] = Renumber(c, number)
		}
		return out
	}
	switch c := c.(type) {
	case Unknown:
		return Unknown{number(c.Residual)}
	case Not:
		return Not{Renumber(c.X, number)}
	case And:
		return And(list(c))
	case Or:
		return Or(list(c))
	}
	return c
}

// Known decides what c says of a request, all but its unknowns.
func Known(c Cond, r *abi.Request) Cond {
	list := func(list []Cond) []Cond {
		out := make([]Cond, len(list))
		for i, c := range list {
			out[i] = Known(c, r)
		}
		return out
	}
	switch c := c.(type) {
	case Unknown:
		return c
	case Not:
		return Neg(Known(c.X, r))
	case And:
		return Conj(list(c)...)
	case Or:
		return Disj(list(c)...)
	}
	return Const(Eval(c, r) == True)
}

// Unknowns calls visit for every Unknown of c.
func Unknowns(c Cond, visit func(residual int)) {
	switch c := c.(type) {
	case Unknown:
		visit(c.Residual)
	case Not:
		Unknowns(c.X, visit)
	case And:
		for _, x := range c {
			Unknowns(x, visit)
		}
	case Or:
		for _, x := range c {
			Unknowns(x, visit)
		}
	}
}

// Truth is the value of a condition where parts of it may not be known.
type Truth uint8

// Unclear is what an Unknown makes of a condition that depends on it.
const (
	False Truth = iota
	True
	Unclear
)

func truth(b bool) Truth {
	if b {
		return True
	}
	return False
}

// Eval decides c for one request.
func Eval(c Cond, r *abi.Request) Truth {
	switch c := c.(type) {
	case Const:
		return truth(bool(c))
	case Is:
		return truth(r.Kind == c.Kind)
	case PathEq:
		return truth(r.Path == c.Path)
	case PathBelow:
		return truth(Below(r.Path, c.Path))
	case Like:
		return truth(MatchLike(c.Pattern, c.Field.Fact().Text(r)))
	case Less:
		return truth(c.Field.Fact().Value(r) < c.Bound)
	case Unknown:
		return Unclear
	case Not:
		switch Eval(c.X, r) {
		case True:
			return False
		case False:
			return True
		}
		return Unclear
	case And:
		return evalAll(c, r, False)
	case Or:
		return evalAll(c, r, True)
	}
	return False
}

// evalAll joins operands: absorbing settles it, Unclear beats the other.
func evalAll(list []Cond, r *abi.Request, absorbing Truth) Truth {
	value := True - absorbing
	for _, c := range list {
		switch Eval(c, r) {
		case absorbing:
			return absorbing
		case Unclear:
			value = Unclear
		}
	}
	return value
}

// Bind decides what c says of the kind and the path, and leaves the rest.
func Bind(c Cond, kind abi.Kind, path string) Cond {
	switch c := c.(type) {
	case Is:
		return Const(kind == c.Kind)
	case PathEq:
		return Const(path == c.Path)
	case PathBelow:
		return Const(Below(path, c.Path))
	case Like:
		if c.Field == Path {
			return Const(MatchLike(c.Pattern, path))
		}
	case Not:
		return Neg(Bind(c.X, kind, path))
	case And:
		return Conj(bindAll(c, kind, path)...)
	case Or:
		return Disj(bindAll(c, kind, path)...)
	}
	return c
}

func bindAll(list []Cond, kind abi.Kind, path string) []Cond {
	out := make([]Cond, len(list))
	for i, c := range list {
		out[i] = Bind(c, kind, path)
	}
	return out
}

// Below reports whether path lies strictly below the directory dir.
func Below(path, dir string) bool {
	if dir == "/" {
		return len(path) > 1 && path[0] == '/'
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}
