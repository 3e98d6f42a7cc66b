package compiler

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"slices"

	"github.com/stockade-dev/stockade/compiler/schema"
)

// digestVersion is the first byte of what is hashed. Another encoding has
// another one.
const digestVersion = 1

// digest identifies a policy set: the SHA-256, in hexadecimal, of an encoding that
// docs/architecture.md specifies. Different sets have different encodings, and who
// asks, which actions are handled and what errors call the entities are no part of
// it.
func digest(in Input) string {
	h := sha256.New()
	encoder{h}.input(in, schema.Text)
	return hex.EncodeToString(h.Sum(nil))
}

// encoder writes the encoding of an input to what takes all, such as a hash: a
// number as 64 bits, big-endian; bytes with their number before them; a flag as a
// byte.
type encoder struct{ w io.Writer }

func (e encoder) number(n uint64) { e.w.Write(binary.BigEndian.AppendUint64(nil, n)) }

func (e encoder) bytes(b []byte) {
	e.number(uint64(len(b)))
	e.w.Write(b)
}

func (e encoder) flag(b bool) {
	if b {
		e.w.Write([]byte{1})
	} else {
		e.w.Write([]byte{0})
	}
}

// input writes the version; the sources by name and text; entities; schema; and the
// answers in their order, of which the first counts.
func (e encoder) input(in Input, schema []byte) {
	e.w.Write([]byte{digestVersion})
	sources := slices.Clone(in.Sources)
	slices.SortFunc(sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), bytes.Compare(a.Text, b.Text))
	})
	e.number(uint64(len(sources)))
	for _, s := range sources {
		e.bytes([]byte(s.Name))
		e.bytes(s.Text)
	}
	e.bytes(in.Entities)
	e.bytes(schema)
	e.number(uint64(len(in.Answers)))
	for _, a := range in.Answers {
		e.bytes([]byte(a.Policy))
		e.number(uint64(a.Actions))
		e.bytes([]byte(a.Path))
		e.flag(a.Beneath)
		e.number(uint64(a.Until))
		e.flag(a.Allow)
	}
}
