package rule

import (
	"strconv"
	"strings"
)

// Cond is a boolean formula over one resource: its kind (File or Dir) and its
// absolute path. The concrete types are the ones of this file.
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
func (Not) isCond()       {}
func (And) isCond()       {}
func (Or) isCond()        {}

func (c Const) String() string     { return strconv.FormatBool(bool(c)) }
func (IsDir) String() string       { return "dir" }
func (c PathEq) String() string    { return "path==" + strconv.Quote(c.Path) }
func (c PathBelow) String() string { return "path<" + strconv.Quote(c.Path) }
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

// Eval decides c for one resource. path is absolute, normalised, without a
// trailing slash ("/" for the root).
func Eval(c Cond, isDir bool, path string) bool {
	switch c := c.(type) {
	case Const:
		return bool(c)
	case IsDir:
		return isDir
	case PathEq:
		return path == c.Path
	case PathBelow:
		return Below(path, c.Path)
	case Not:
		return !Eval(c.X, isDir, path)
	case And:
		for _, x := range c {
			if !Eval(x, isDir, path) {
				return false
			}
		}
		return true
	case Or:
		for _, x := range c {
			if Eval(x, isDir, path) {
				return true
			}
		}
	}
	return false
}

// Below reports whether path lies strictly below the directory dir.
func Below(path, dir string) bool {
	if dir == "/" {
		return len(path) > 1 && path[0] == '/'
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}
