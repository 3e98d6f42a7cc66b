package compiler

import (
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Conditions on strings of the request.

// isText is where a string of the request equals s.
func isText(f rule.Field, s string) formula {
	if f == rule.Path {
		if problem, _ := PathProblem(s); problem != "" {
			return never
		}
		return simple(rule.PathEq{Path: s})
	}
	return simple(rule.Like{Field: f, Pattern: rule.EscapeLike(s)})
}

// likeText is where a string of the request matches a pattern.
func likeText(f rule.Field, pattern string) formula {
	chunks := literals(pattern)
	switch {
	case len(chunks) == 1:
		return isText(f, chunks[0])
	case pattern == "*":
		return always
	case f == rule.Path:
		return likePath(pattern, chunks)
	}
	return simple(rule.Like{Field: f, Pattern: pattern})
}

// literals cuts a pattern at its stars and unescapes what is between.
func literals(pattern string) []string {
	var chunks []string
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch {
		case pattern[i] == '*':
			chunks = append(chunks, b.String())
			b.Reset()
			continue
		case pattern[i] == '\\':
			i++
		}
		b.WriteByte(pattern[i])
	}
	return append(chunks, b.String())
}

// likePath is where the resource's path matches a pattern with a star. A path
// begins with a slash, ends with none but for "/", and has no empty name.
func likePath(pattern string, chunks []string) formula {
	first, last := chunks[0], chunks[len(chunks)-1]
	switch {
	case pattern == "/*":
		return always
	case strings.HasSuffix(last, "/"): // only "/" ends so
		if rule.MatchLike(pattern, "/") {
			return isText(rule.Path, "/")
		}
		return never
	case !matchable(chunks):
		return never
	case len(chunks) == 2 && last == "" && strings.HasSuffix(first, "/"):
		dir := strings.TrimSuffix(first, "/")
		if problem, _ := PathProblem(dir); problem != "" {
			return never
		}
		return simple(rule.PathBelow{Path: dir})
	}
	return simple(rule.Like{Field: rule.Path, Pattern: pattern})
}

// matchable tells some patterns that no path matches by their literal parts.
func matchable(chunks []string) bool {
	if first := chunks[0]; first != "" && first[0] != '/' {
		return false
	}
	size := 0
	for i, chunk := range chunks {
		size += len(chunk)
		if i == len(chunks)-1 {
			chunk += "/" // the path ends here
		}
		for _, never := range []string{"//", "/./", "/../", "\x00"} {
			if strings.Contains(chunk, never) {
				return false
			}
		}
	}
	return size <= abi.MaxPath
}
