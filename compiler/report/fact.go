package report

import (
	"fmt"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// factName is how flags and JSON write a fact that may matter to a verdict.
func factName(d abi.Dim) string { return d.Fact().Flag }

// factValue returns the fact of a dimension.
func factValue(d abi.Dim, f abi.Facts) any {
	r, fact := abi.Request{Facts: f}, d.Fact()
	switch {
	case fact.Clock:
		return time.UnixMilli(fact.Value(&r)).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case fact.Number:
		return fact.Value(&r)
	}
	return fact.Text(&r)
}

// factText writes the fact of a dimension.
func factText(d abi.Dim, f abi.Facts) string {
	v := factValue(d, f)
	switch {
	case v == "" && !d.Fact().Path:
		return factName(d) + " is empty"
	case v == "":
		return factName(d) + " is not known"
	}
	return compiler.Printable(fmt.Sprintf("%s is %v", factName(d), v))
}
