package abi

import (
	"math"
	"strings"
)

// Facts are what the kernel knows of a request besides its action, kind and
// path. The zero value is a request of root, at the epoch, of an unknown
// executable.
type Facts struct {
	// UID and GID are the effective ids of the task, in the initial user
	// namespace.
	UID, GID uint32
	// Now is the time in milliseconds since 1970, UTC.
	Now int64
	// Exe is the path of the running executable, Parent that of the executable
	// that executed it; "" where the path is not known.
	Exe, Parent string
	// Dest is the destination of a move, "" for other actions.
	Dest string
	// Xattr is the name of the extended attribute, "" for other actions.
	Xattr string
}

// Dim is a dimension of the decision nodes of a table: one way in which
// requests for one path differ. The numbers are wire format, and decision
// nodes are ordered by them. Twin: enum dim in bpf/kern/abi.h.
type Dim uint8

// The dimensions. DimGlob0 and the next three are the outputs of the automata
// that read the resource's path.
const (
	DimGlob0 Dim = iota
	DimGlob1
	DimGlob2
	DimGlob3
	DimUID
	DimGID
	DimNow
	DimDayTime
	DimExe
	DimParent
	DimXattr
	DimDestPath
	DimDestName
	DimDestDir

	NumDims // not a dimension: how many there are
)

// NumGlobs is the most automata that may read the resource's path.
const NumGlobs = int(DimUID)

// MaxTime bounds a request's time, in milliseconds: no clock that counts
// nanoseconds in 64 bits shows a later one.
const MaxTime = 1 << 53

// Day is a day in milliseconds.
const Day = 24 * 60 * 60 * 1000

// Fact is a row of the table of facts: something by which requests differ, and
// which conditions test and tables tell apart. Rules, tables, comparisons,
// explanations and the generator of tests take what they need from its row.
type Fact struct {
	// Dim is its dimension; of the path, the first.
	Dim Dim
	// Name is how rules and dumps write it.
	Name string
	// Attribute is where policies find it in the context, "" of the path and of
	// what Cedar computes from another fact.
	Attribute string
	// Flag is how flags and JSON write it; "" of a part.
	Flag string
	// Of is the fact that this one is a part of: itself, if it is whole.
	Of Dim
	// Automaton is the string whose automaton reads this one, too: its own, but
	// where the class of one becomes the class of another.
	Automaton Dim
	// Only are the actions that have the fact; the zero value is all.
	Only ActionMask
	// Path says of a string that it is an absolute path, or not known.
	Path bool
	// Number says that it is a number, from Least to Most. A clock shows any
	// number, whatever the bounds.
	Number, Clock bool
	Least, Most   int64

	text func(*Request) *string
	read func(*Request) int64
	put  func(*Request, int64)
	part func(string) string
}

// facts has a row for each fact, in the order of the dimensions.
var facts = []Fact{
	{Dim: DimGlob0, Name: "path", Path: true, text: func(r *Request) *string { return &r.Path }},
	id(DimUID, "uid", "user.uid", func(r *Request) *uint32 { return &r.UID }),
	id(DimGID, "gid", "group.gid", func(r *Request) *uint32 { return &r.GID }),
	{Dim: DimNow, Name: "now", Attribute: "now", Flag: "now", Number: true, Clock: true, Most: MaxTime,
		read: func(r *Request) int64 { return r.Now }, put: func(r *Request, v int64) { r.Now = v }},
	{Dim: DimDayTime, Name: "daytime", Of: DimNow, Number: true, Most: Day - 1,
		read: func(r *Request) int64 { return (r.Now%Day + Day) % Day }},
	{Dim: DimExe, Name: "exe", Attribute: "process.exe", Flag: "exe", Path: true,
		text: func(r *Request) *string { return &r.Exe }},
	{Dim: DimParent, Name: "parent_exe", Attribute: "process.parent_exe", Flag: "parent-exe", Path: true,
		Automaton: DimExe, // an executable's class stays with the task when it becomes the parent's
		text:      func(r *Request) *string { return &r.Parent }},
	{Dim: DimXattr, Name: "xattr", Attribute: "xattr.name", Flag: "xattr", Only: 1 << SetXattr,
		text: func(r *Request) *string { return &r.Xattr }},
	{Dim: DimDestPath, Name: "dest.path", Attribute: "destination.path", Flag: "dest", Path: true, Only: 1 << Move,
		text: dest},
	{Dim: DimDestName, Name: "dest.name", Attribute: "destination.name", Of: DimDestPath, Only: 1 << Move,
		text: dest, part: func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }},
	{Dim: DimDestDir, Name: "dest.dir", Attribute: "destination.parent_path", Of: DimDestPath, Path: true, Only: 1 << Move,
		text: dest, part: parent},
}

func dest(r *Request) *string { return &r.Dest }

// parent returns the directory of a path. That of what is directly below the
// root is "/"; so is the root's own.
func parent(s string) string {
	if i := strings.LastIndexByte(s, '/'); i != 0 {
		return s[:max(i, 0)]
	}
	return "/"
}

// id is the row of a number of 32 bits.
func id(d Dim, name, attribute string, at func(*Request) *uint32) Fact {
	return Fact{Dim: d, Name: name, Attribute: attribute, Flag: name, Number: true, Most: math.MaxUint32,
		read: func(r *Request) int64 { return int64(*at(r)) }, put: func(r *Request, v int64) { *at(r) = uint32(v) }}
}

var byDim = func() (rows [NumDims]*Fact) {
	for i := range facts {
		f := &facts[i]
		if f.Of == 0 {
			f.Of = f.Dim
		}
		if f.Automaton == 0 {
			f.Automaton = f.Dim
		}
		if f.Only == 0 {
			f.Only = ^ActionMask(0)
		}
		rows[f.Dim] = f
	}
	for d := range NumGlobs {
		rows[d] = rows[DimGlob0]
	}
	return rows
}()

// EachFact lists the rows in the order of their dimensions.
func EachFact() []*Fact {
	list := make([]*Fact, len(facts))
	for i := range facts {
		list[i] = byDim[facts[i].Dim]
	}
	return list
}

// Fact returns the row of the fact that a dimension reads.
func (d Dim) Fact() *Fact { return byDim[d] }

// Leader returns the dimension whose automaton reads this one: but for few, itself.
func (d Dim) Leader() Dim {
	if int(d) < NumGlobs {
		return d
	}
	return byDim[d].Automaton
}

// Numeric reports the dimensions that have thresholds; the others have automata.
func (d Dim) Numeric() bool { return byDim[d].Number }

// String names the dimension, for example "dest_path".
func (d Dim) String() string {
	switch {
	case d >= NumDims:
		return "unknown"
	case int(d) < NumGlobs:
		return "glob" + string('0'+rune(d))
	}
	return strings.ReplaceAll(byDim[d].Name, ".", "_")
}

// Dims lists the dimensions that read the fact.
func (f *Fact) Dims() []Dim {
	if f.Dim == DimGlob0 {
		return []Dim{DimGlob0, DimGlob1, DimGlob2, DimGlob3}
	}
	return []Dim{f.Dim}
}

// Whole reports that the fact is no part of another one.
func (f *Fact) Whole() bool { return f.Of == f.Dim }

// Text returns the fact of a request, if it is a string. What a request does not
// have is empty, and so is a path that is not known.
func (f *Fact) Text(r *Request) string {
	s := *f.text(r)
	if f.part != nil && s != "" {
		return f.part(s)
	}
	return s
}

// Value returns the fact of a request, if it is a number.
func (f *Fact) Value(r *Request) int64 { return f.read(r) }

// SetText and SetValue set a fact that is whole.
func (f *Fact) SetText(r *Request, s string) { *f.text(r) = s }

// SetValue sets a number.
func (f *Fact) SetValue(r *Request, v int64) { f.put(r, v) }

// Clear takes the fact from a request.
func (f *Fact) Clear(r *Request) {
	if f.Number {
		f.SetValue(r, 0)
	} else {
		f.SetText(r, "")
	}
}
