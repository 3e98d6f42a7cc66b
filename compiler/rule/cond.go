package rule

import (
	"strconv"
	"strings"
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

// IsDir holds for directories; files are Not{IsDir}.
type IsDir struct{}

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
func (IsDir) isCond()     {}
func (PathEq) isCond()    {}
func (PathBelow) isCond() {}
func (Like) isCond()      {}
func (Less) isCond()      {}
func (Unknown) isCond()   {}
func (Not) isCond()       {}
func (And) isCond()       {}
func (Or) isCond()        {}

func (c Const) String() string     { return strconv.FormatBool(bool(c)) }
func (IsDir) String() string       { return "dir" }
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
// element; the absorbing one wins.
func fold(list []Cond, and bool) Cond {
	var out []Cond
	for _, c := range list {
		switch c := c.(type) {
		case Const:
			if bool(c) != and {
				return c
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
func Eval(c Cond, r *Request) Truth {
	switch c := c.(type) {
	case Const:
		return truth(bool(c))
	case IsDir:
		return truth(r.Dir)
	case PathEq:
		return truth(r.Path == c.Path)
	case PathBelow:
		return truth(Below(r.Path, c.Path))
	case Like:
		return truth(MatchLike(c.Pattern, r.text(c.Field)))
	case Less:
		return truth(r.number(c.Field) < c.Bound)
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
func evalAll(list []Cond, r *Request, absorbing Truth) Truth {
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
func Bind(c Cond, dir bool, path string) Cond {
	switch c := c.(type) {
	case IsDir:
		return Const(dir)
	case PathEq:
		return Const(path == c.Path)
	case PathBelow:
		return Const(Below(path, c.Path))
	case Like:
		if c.Field == Path {
			return Const(MatchLike(c.Pattern, path))
		}
	case Not:
		return Neg(Bind(c.X, dir, path))
	case And:
		return Conj(bindAll(c, dir, path)...)
	case Or:
		return Disj(bindAll(c, dir, path)...)
	}
	return c
}

func bindAll(list []Cond, dir bool, path string) []Cond {
	out := make([]Cond, len(list))
	for i, c := range list {
		out[i] = Bind(c, dir, path)
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
