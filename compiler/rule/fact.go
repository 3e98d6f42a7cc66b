package rule

import (
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Field is a fact of a request that a condition tests: a row of the table of
// facts, numbered as its first dimension.
type Field abi.Dim

// The fields that the compiler knows by name.
const (
	Path     = Field(abi.DimGlob0)    // the resource's path
	Exe      = Field(abi.DimExe)      // context.process.exe
	Parent   = Field(abi.DimParent)   // context.process.parent_exe
	DestPath = Field(abi.DimDestPath) // context.destination.path
	DestName = Field(abi.DimDestName) // context.destination.name
	DestDir  = Field(abi.DimDestDir)  // context.destination.parent_path
	Xattr    = Field(abi.DimXattr)    // context.xattr.name
	UID      = Field(abi.DimUID)      // context.user.uid
	GID      = Field(abi.DimGID)      // context.group.gid
	Now      = Field(abi.DimNow)      // context.now: milliseconds since 1970, UTC
	DayTime  = Field(abi.DimDayTime)  // context.now.toTime(): milliseconds since midnight, UTC

	NumFields = Field(abi.NumDims) // not a field: more than any
)

// Fact returns the field's row.
func (f Field) Fact() *abi.Fact { return abi.Dim(f).Fact() }

// String names the field, for example "exe".
func (f Field) String() string {
	if f < NumFields {
		return f.Fact().Name
	}
	return "unknown"
}

// Texts and Numbers list the fields that are strings and those that are numbers.
func Texts() []Field { return fields(false) }

// Numbers lists the fields that are numbers.
func Numbers() []Field { return fields(true) }

func fields(numbers bool) []Field {
	var list []Field
	for _, f := range abi.EachFact() {
		if f.Number == numbers {
			list = append(list, Field(f.Dim))
		}
	}
	return list
}

// Day is a day in milliseconds.
const Day = abi.Day

// MatchLike matches a like pattern: * stands for any bytes, \* for a star, \\
// for a backslash, and every other byte for itself.
func MatchLike(pattern, s string) bool {
	star, resume := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, resume = i, j
			i++
			continue
		case i < len(pattern):
			c, width := pattern[i], 1
			if c == '\\' && i+1 < len(pattern) {
				c, width = pattern[i+1], 2
			}
			if c == s[j] {
				i += width
				j++
				continue
			}
		}
		if star < 0 {
			return false
		}
		resume++
		i, j = star+1, resume
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}

// EscapeLike returns the pattern that matches s alone.
func EscapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`).Replace(s)
}
