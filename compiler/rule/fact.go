package rule

import "strings"

// Field is a fact of a request that a condition tests.
type Field uint8

// The fields. The first seven are strings, the others numbers.
const (
	Path     Field = iota // the resource's path
	Exe                   // context.process.exe
	Parent                // context.process.parent_exe
	DestPath              // context.destination.path
	DestName              // context.destination.name
	DestDir               // context.destination.parent_path
	Xattr                 // context.xattr.name
	UID                   // context.user.uid
	GID                   // context.group.gid
	Now                   // context.now: milliseconds since 1970, UTC
	DayTime               // context.now.toTime(): milliseconds since midnight, UTC

	NumFields // not a field: how many there are
)

var fieldNames = [NumFields]string{"path", "exe", "parent_exe", "dest.path", "dest.name", "dest.dir", "xattr",
	"uid", "gid", "now", "daytime"}

// String names the field, for example "exe".
func (f Field) String() string {
	if f < NumFields {
		return fieldNames[f]
	}
	return "unknown"
}

// Day is a day in milliseconds.
const Day = 24 * 60 * 60 * 1000

// Request is what conditions are about.
type Request struct {
	Dir bool
	// Path is absolute, normalised, without a trailing slash ("/" for the root).
	Path                    string
	Exe, Parent, Dest, Attr string
	UID, GID, Now           int64
}

// text returns a string field.
func (r *Request) text(f Field) string {
	switch f {
	case Path:
		return r.Path
	case Exe:
		return r.Exe
	case Parent:
		return r.Parent
	case DestPath:
		return r.Dest
	case DestName:
		return r.Dest[strings.LastIndexByte(r.Dest, '/')+1:]
	case DestDir:
		if i := strings.LastIndexByte(r.Dest, '/'); i > 0 {
			return r.Dest[:i]
		}
		return r.Dest[:min(1, len(r.Dest))]
	case Xattr:
		return r.Attr
	}
	return ""
}

// number returns a number field.
func (r *Request) number(f Field) int64 {
	switch f {
	case UID:
		return r.UID
	case GID:
		return r.GID
	case Now:
		return r.Now
	case DayTime:
		return ((r.Now % Day) + Day) % Day
	}
	return 0
}

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
