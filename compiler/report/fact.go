package report

import (
	"fmt"
	"time"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// factNames are the names of the facts that may matter to a verdict, as flags
// and JSON write them.
var factNames = map[abi.Dim]string{abi.DimUID: "uid", abi.DimGID: "gid", abi.DimNow: "now", abi.DimExe: "exe",
	abi.DimParent: "parent-exe", abi.DimXattr: "xattr", abi.DimDestPath: "dest"}

// factValue returns the fact of a dimension.
func factValue(d abi.Dim, f abi.Facts) any {
	switch d {
	case abi.DimUID:
		return f.UID
	case abi.DimGID:
		return f.GID
	case abi.DimNow:
		return time.UnixMilli(f.Now).UTC().Format("2006-01-02T15:04:05.999Z07:00")
	case abi.DimExe:
		return f.Exe
	case abi.DimParent:
		return f.Parent
	case abi.DimXattr:
		return f.Xattr
	}
	return f.Dest
}

// factText writes the fact of a dimension.
func factText(d abi.Dim, f abi.Facts) string {
	v := factValue(d, f)
	switch {
	case v == "" && d == abi.DimXattr:
		return "xattr is empty"
	case v == "":
		return factNames[d] + " is not known"
	}
	return compiler.Printable(fmt.Sprintf("%s is %v", factNames[d], v))
}
