package compiler

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/schema"
)

// PathProblem says why no resource can have this path, and what to write
// instead; both are empty if one can.
func PathProblem(p string) (problem, mend string) {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "a path that is not absolute", "write the absolute path"
	case strings.ContainsRune(p, 0):
		return "a path with a NUL byte", "remove the NUL"
	case len(p) > abi.MaxPath:
		return fmt.Sprintf("a path of %d bytes (at most %d)", len(p), abi.MaxPath), "use a shorter path"
	}
	if clean := path.Clean(p); clean != p {
		problem = "a path that is not normalised"
		if strings.HasSuffix(p, "/") && clean == p[:len(p)-1] {
			problem = "a path with a trailing slash"
		}
		return problem, "write " + strconv.Quote(clean)
	}
	depth := 0
	for name := range strings.SplitSeq(p[1:], "/") {
		if depth++; len(name) > abi.MaxName {
			return fmt.Sprintf("a path with a name of %d bytes (at most %d)", len(name), abi.MaxName), "use a shorter name"
		}
	}
	if depth > abi.MaxComponents {
		return fmt.Sprintf("a path of %d names (at most %d)", depth, abi.MaxComponents), "use a shorter path"
	}
	return "", ""
}

// isPath reports the entity types whose ids are paths.
func isPath(t types.EntityType) bool {
	_, ok := kindOf(t)
	return ok
}

// resourceType returns the Cedar type of a kind.
func resourceType(k abi.Kind) types.EntityType { return types.EntityType(k.Type()) }

// kindOf finds the kind of a Cedar type.
func kindOf(t types.EntityType) (abi.Kind, bool) { return abi.ParseKind(string(t)) }

// world is what Cedar may know: the entities file, the actions of the schema,
// and a File and a Dir for every possible path, whether it exists or not: a
// decision does not depend on what the file system holds.
type world struct {
	data types.EntityMap
	// entries says that data has entries of paths.
	entries bool
}

func newWorld(data types.EntityMap) world {
	w := world{data: data}
	for uid := range data {
		w.entries = w.entries || isPath(uid.Type)
	}
	return w
}

// Get implements types.EntityGetter.
func (w world) Get(uid types.EntityUID) (types.Entity, bool) {
	if !isPath(uid.Type) {
		entity, ok := w.data[uid]
		return entity, ok
	}
	p := string(uid.ID)
	if problem, _ := PathProblem(p); problem != "" {
		return types.Entity{}, false
	}
	attributes, tags, parents := types.RecordMap{"path": uid.ID}, types.RecordMap(nil), []types.EntityUID(nil)
	if w.entries {
		attributes, tags, parents = inherited(w.data, uid)
	}
	// A file at "/" would be its own parent's sibling: it has none.
	if p != "/" {
		parents = append(parents, types.NewEntityUID(schema.Dir, types.String(path.Dir(p))))
	}
	return types.Entity{UID: uid, Attributes: types.NewRecord(attributes), Tags: types.NewRecord(tags),
		Parents: types.NewEntityUIDSet(parents...)}, true
}
