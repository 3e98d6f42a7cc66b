package compiler

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/stockade-dev/stockade/compiler/schema"
)

// digest identifies the policy set: sources in any order, entities, schema, and
// answers.
func digest(in Input) string {
	sources := slices.Clone(in.Sources)
	slices.SortFunc(sources, func(a, b Source) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return bytes.Compare(a.Text, b.Text)
	})
	h := sha256.New()
	put := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(sources))))
	for _, s := range sources {
		put([]byte(s.Name))
		put(s.Text)
	}
	put(in.Entities)
	put(schema.Text)
	for _, a := range in.Answers {
		put(fmt.Appendf(nil, "%+v", a))
	}
	return hex.EncodeToString(h.Sum(nil))
}
