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

// maxNow bounds context.now, in milliseconds.
const maxNow = abi.MaxTime

// contextOf returns the context of a request: the facts that have an attribute, and
// what the agent is told. What is in it for which action is a promise of the
// schema; lowering has the same (context.go).
func contextOf(r abi.Request, told *Told, w *Workload) types.Record {
	c := context{}
	for _, f := range abi.EachFact() {
		if f.Attribute != "" && f.Only.Has(r.Action) {
			c.set(f.Attribute, factValue(f, &r))
		}
	}
	c.set("user.username", types.String(told.Username))
	c.set("group.groupname", types.String(told.Groupname))
	if w != nil {
		c.set("workload", w.record())
	}
	if r.Action == abi.Execute {
		c.set("arguments", argumentsUID)
		c.set("environment", environmentUID)
		if told.TargetProcess != nil {
			c.set("namespace.target_process_id", types.Long(*told.TargetProcess))
		}
	}
	return c.record()
}

// context is a record of values and of records of values.
type context map[types.String]types.RecordMap

// set puts a value at an attribute, or at one of an attribute's record.
func (c context) set(attribute string, v types.Value) {
	outer, inner, _ := strings.Cut(attribute, ".")
	if c[types.String(outer)] == nil {
		c[types.String(outer)] = types.RecordMap{}
	}
	c[types.String(outer)][types.String(inner)] = v
}

func (c context) record() types.Record {
	m := types.RecordMap{}
	for name, inner := range c {
		if v, alone := inner[""]; alone {
			m[name] = v
		} else {
			m[name] = types.NewRecord(inner)
		}
	}
	return types.NewRecord(m)
}

// factValue is a fact in Cedar.
func factValue(f *abi.Fact, r *abi.Request) types.Value {
	switch {
	case f.Clock:
		return types.NewDatetimeFromMillis(f.Value(r))
	case f.Number:
		return types.Long(f.Value(r))
	}
	return types.String(f.Text(r))
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
