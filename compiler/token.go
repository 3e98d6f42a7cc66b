package compiler

// tokenKind is the sort of a token.
type tokenKind uint8

const (
	tokenEOF tokenKind = iota
	tokenIdent
	tokenString
	tokenInt
	tokenOperator
)

// token is one lexical element: text[start:end].
type token struct {
	kind       tokenKind
	start, end int
}

// scanner splits Cedar text into tokens. cedar-go's syntax tree has no
// positions: this scanner finds them again, and it bounds what the recursive
// parser is given. It accepts more than Cedar does; cedar-go judges.
type scanner struct {
	text []byte
	pos  int
}

// next returns the next token, skipping blanks and comments.
func (s *scanner) next() token {
	s.skip()
	start := s.pos
	if start >= len(s.text) {
		return token{tokenEOF, start, start}
	}
	kind := tokenOperator
	switch c := s.text[start]; {
	case c == '"':
		kind = tokenString
		s.quoted()
	case isIdent(c) && !isDigit(c):
		kind = tokenIdent
		s.run(isIdent)
	case isDigit(c):
		kind = tokenInt
		s.run(isDigit)
	default:
		s.operator(c)
	}
	return token{kind, start, s.pos}
}

func (s *scanner) skip() {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			s.pos++
		case c == '/' && s.at(1) == '/':
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		case c == '/' && s.at(1) == '*':
			s.pos += 2
			for s.pos < len(s.text) && (s.text[s.pos] != '*' || s.at(1) != '/') {
				s.pos++
			}
			s.pos = min(s.pos+2, len(s.text))
		default:
			return
		}
	}
}

// at returns the byte n places ahead, or 0.
func (s *scanner) at(n int) byte {
	if s.pos+n < len(s.text) {
		return s.text[s.pos+n]
	}
	return 0
}

// quoted passes a string. A string ends at its line's end at the latest.
func (s *scanner) quoted() {
	for s.pos++; s.pos < len(s.text) && s.text[s.pos] != '\n'; s.pos++ {
		switch s.text[s.pos] {
		case '\\':
			s.pos++
		case '"':
			s.pos++
			return
		}
	}
	s.pos = min(s.pos, len(s.text))
}

func (s *scanner) run(in func(byte) bool) {
	for s.pos < len(s.text) && in(s.text[s.pos]) {
		s.pos++
	}
}

func (s *scanner) operator(c byte) {
	second := s.at(1)
	s.pos++
	switch {
	case c == ':' && second == ':', c == '|' && second == '|', c == '&' && second == '&',
		second == '=' && (c == '=' || c == '!' || c == '<' || c == '>'):
		s.pos++
	}
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdent(c byte) bool {
	return c == '_' || isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// Limits of one policy: cedar-go works recursively, and a Go stack that runs
// over ends the process.
const (
	maxNesting   = 256
	maxOperators = 20000
)

// overLimit returns the offset of the first token that nests too deep or is
// one operator too many, and what is too much of.
func overLimit(text []byte) (offset int, what string) {
	s := scanner{text: text}
	depth, operators := 0, 0
	for t := s.next(); t.kind != tokenEOF; t = s.next() {
		word := text[t.start:t.end]
		switch {
		case t.kind == tokenOperator:
			switch string(word) {
			case ";":
				depth, operators = 0, 0
				continue
			case "(", "[", "{":
				depth++
			case ")", "]", "}":
				depth--
				continue
			case ",", "::", ":", "@":
				continue
			}
			operators++
		case t.kind == tokenIdent && isKeyword(word):
			operators++
		}
		if depth > maxNesting {
			return t.start, "nesting"
		}
		if operators > maxOperators {
			return t.start, "operators"
		}
	}
	return 0, ""
}

// isKeyword reports the reserved words that join expressions.
func isKeyword(word []byte) bool {
	switch string(word) {
	case "if", "then", "else", "in", "is", "has", "like":
		return true
	}
	return false
}
