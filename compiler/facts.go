package compiler

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Workload is what policies may know of the workload: context.workload.
type Workload struct {
	Name string
	// Image and Namespace are absent where they are empty.
	Image, Namespace string
	// Labels are absent where they are nil.
	Labels []string
}

// record returns context.workload.
func (w *Workload) record() types.Record {
	m := types.RecordMap{"name": types.String(w.Name)}
	if w.Image != "" {
		m["image"] = types.String(w.Image)
	}
	if w.Namespace != "" {
		m["namespace"] = types.String(w.Namespace)
	}
	if w.Labels != nil {
		m["labels"] = setOf(w.Labels)
	}
	return types.NewRecord(m)
}

func setOf(list []string) types.Set {
	values := make([]types.Value, len(list))
	for i, s := range list {
		values[i] = types.String(s)
	}
	return types.NewSet(values...)
}

// Told is what the agent can find out about a request and the kernel does not
// know. The zero value is a task without names, arguments and environment.
type Told struct {
	Username, Groupname string
	// Options are arguments with a value, by their key; Flags are those
	// without, Positional the others.
	Options           map[string]string
	Flags, Positional []string
	// Tokens are all arguments in order, from the first: the tags $ARG1, $ARG2
	// and so on, which are no keys.
	Tokens      []string
	Environment map[string]string
	// TargetProcess is the process whose namespace an execute enters, or nil.
	TargetProcess *int64
}

// The entities that stand for the arguments and the environment of an execute.
var (
	argumentsUID   = types.NewEntityUID("file_system::Arguments", "")
	environmentUID = types.NewEntityUID("file_system::Environment", "")
)

// tokenTag begins the names of the tags that hold the arguments in order.
const tokenTag = "$ARG"

// maxNow bounds context.now, in milliseconds: far more than a clock that counts
// nanoseconds in 64 bits can show.
const maxNow = 1 << 53

// contextOf returns the context of a request. What is in it for which action
// is a promise of the schema; lowering has the same (context.go).
func contextOf(r abi.Request, told *Told, w *Workload) types.Record {
	m := types.RecordMap{
		"process": types.NewRecord(types.RecordMap{"exe": types.String(r.Exe), "parent_exe": types.String(r.Parent)}),
		"user":    types.NewRecord(types.RecordMap{"uid": types.Long(r.UID), "username": types.String(told.Username)}),
		"group":   types.NewRecord(types.RecordMap{"gid": types.Long(r.GID), "groupname": types.String(told.Groupname)}),
		"now":     types.NewDatetimeFromMillis(r.Now),
	}
	if w != nil {
		m["workload"] = w.record()
	}
	switch r.Action {
	case abi.Move:
		m["destination"] = destination(r.Dest)
	case abi.SetXattr:
		m["xattr"] = types.NewRecord(types.RecordMap{"name": types.String(r.Xattr)})
	case abi.Execute:
		m["arguments"], m["environment"] = argumentsUID, environmentUID
		if told.TargetProcess != nil {
			m["namespace"] = types.NewRecord(types.RecordMap{"target_process_id": types.Long(*told.TargetProcess)})
		}
	}
	return types.NewRecord(m)
}

// destination returns context.destination. The parent of what is directly
// below the root is "/"; so is the root's own, whose name is empty.
func destination(p string) types.Record {
	i := strings.LastIndexByte(p, '/')
	parent := p[:max(i, 0)]
	if i == 0 {
		parent = "/"
	}
	return types.NewRecord(types.RecordMap{
		"path": types.String(p), "name": types.String(p[i+1:]), "parent_path": types.String(parent),
	})
}

// entities returns the entities that the context of an execute refers to.
func (t *Told) entities() types.EntityMap {
	names := func(m map[string]string) (types.Set, types.Record) {
		keys := make([]string, 0, len(m))
		tags := types.RecordMap{}
		for key, value := range m {
			keys = append(keys, key)
			tags[types.String(key)] = types.String(value)
		}
		slices.Sort(keys)
		return setOf(keys), types.NewRecord(tags)
	}
	keys, options := names(t.Options)
	if len(t.Tokens) > 0 {
		tags := options.Map()
		for i, token := range t.Tokens {
			tags[types.String(tokenTag+strconv.Itoa(i+1))] = types.String(token)
		}
		options = types.NewRecord(tags)
	}
	variables, environment := names(t.Environment)
	return types.EntityMap{
		argumentsUID: {UID: argumentsUID, Tags: options, Attributes: types.NewRecord(types.RecordMap{
			"keys": keys, "flags": setOf(t.Flags), "positional_values": setOf(t.Positional)})},
		environmentUID: {UID: environmentUID, Tags: environment, Attributes: types.NewRecord(types.RecordMap{"names": variables})},
	}
}
