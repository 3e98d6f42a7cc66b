// Package decide answers requests, from a file, as the kernel would.
package decide

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Decider answers requests from compiled tables, as the kernel would.
type Decider struct {
	input compiler.Input
	plans map[string]*compiler.Plan // by principal
}

// New compiles an input, whose principal is that of requests that name
// none.
func New(in compiler.Input) (*Decider, error) {
	d := &Decider{input: in}
	_, err := d.plan(nil)
	return d, err
}

// maxPlans bounds the principals whose plans are kept.
const maxPlans = 256

// maxRequest bounds one line of requests.
const maxRequest = 1 << 20

// entity is an entity in a request: Cedar text, or its type and id.
type entity struct{ typ, id string }

func (e *entity) UnmarshalJSON(text []byte) error {
	if len(text) > 0 && text[0] == '"' {
		var s string
		if err := json.Unmarshal(text, &s); err != nil {
			return err
		}
		var uid types.EntityUID
		if uid.UnmarshalCedar([]byte(s)) != nil {
			e.id = s // a short name, for actions
			return nil
		}
		e.typ, e.id = string(uid.Type), string(uid.ID)
		return nil
	}
	var long struct{ Type, ID, Path string }
	if err := strict(text, &long); err != nil {
		return err
	}
	if long.ID == "" {
		long.ID = long.Path
	} else if long.Path != "" && long.Path != long.ID {
		return fmt.Errorf("id %q and path %q differ", long.ID, long.Path)
	}
	e.typ, e.id = long.Type, long.ID
	return nil
}

// strict decodes JSON and refuses what it does not know.
func strict(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if dec.More() {
		return fmt.Errorf("more than one value")
	}
	return nil
}

// request is one line of input.
type request struct {
	Principal *entity         `json:"principal"`
	Action    *entity         `json:"action"`
	Resource  *entity         `json:"resource"`
	Context   json.RawMessage `json:"context"`
}

// answer is one line of output.
type answer struct {
	Verdict  string   `json:"verdict"`
	Policies []string `json:"policies"`
	// Audit are the policies in audit that would deny what is allowed.
	Audit []string `json:"audit,omitempty"`
}

type failure struct {
	Error string `json:"error"`
}

// Decide reads requests, one JSON object a line, and writes an answer a line.
// A bad request is answered with an error that names its line, and counted.
func (d *Decider) Decide(in io.Reader, out io.Writer) (bad int, err error) {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 1<<16), maxRequest)
	n := 0
	for lines.Scan() {
		n++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		var reply any
		if reply, err = d.answer(line); err != nil {
			bad++
			reply = failure{fmt.Sprintf("line %d: %v", n, err)}
		}
		if err := enc.Encode(reply); err != nil {
			return bad, fmt.Errorf("answers: %w: the rest is not decided; check the output", err)
		}
	}
	if err := lines.Err(); err != nil {
		return bad + 1, fmt.Errorf("requests: line %d: %w: it and the rest are not decided; keep lines under %d bytes", n+1, err, maxRequest)
	}
	if err := w.Flush(); err != nil {
		return bad, fmt.Errorf("answers: %w: some are lost; check the output", err)
	}
	return bad, nil
}

func (d *Decider) answer(line []byte) (*answer, error) {
	var r request
	if err := strict(line, &r); err != nil {
		return nil, fmt.Errorf("%w: not a request: it is not decided; write {\"action\":…,\"resource\":{\"type\":…,\"path\":…}}", err)
	}
	a, err := r.action()
	if err != nil {
		return nil, err
	}
	kind, name, err := r.resource()
	if err != nil {
		return nil, err
	}
	plan, err := d.plan(r.Principal)
	if err != nil {
		return nil, err
	}
	if !plan.Handled.Has(a) {
		return nil, fmt.Errorf("%s: no hook of this version decides it: it is neither allowed nor denied here; ask about one of %s", a.Cedar(), plan.Handled)
	}
	asked := abi.Request{Action: a, Kind: kind, Path: name}
	ids := []string{}
	for _, p := range plan.Satisfied(asked) {
		ids = append(ids, p.ID)
	}
	slices.Sort(ids)
	out := &answer{Verdict: plan.Decide(asked).String(), Policies: ids}
	if _, by := plan.Audited(asked); plan.Table.Reports(asked) {
		for _, p := range by {
			out.Audit = append(out.Audit, p.ID)
		}
	}
	return out, nil
}

func (r *request) action() (abi.Action, error) {
	if r.Action == nil {
		return 0, fmt.Errorf("action: missing: it is not decided; add one, for example \"read\"")
	}
	typ := r.Action.typ
	if typ == "" {
		typ = "file_system::Action"
	}
	a, ok := abi.ParseAction(typ, r.Action.id)
	if !ok {
		return 0, fmt.Errorf("action %s::%q: no kernel hook decides it: it is neither allowed nor denied here; ask about one of %s", typ, r.Action.id, abi.EnforcedActions)
	}
	return a, nil
}

func (r *request) resource() (abi.Kind, string, error) {
	if r.Resource == nil {
		return 0, "", fmt.Errorf("resource: missing: it is not decided; add {\"type\":\"file_system::File\",\"path\":…}")
	}
	kind, ok := abi.ParseKind(r.Resource.typ)
	if !ok || kind >= abi.NumPaths {
		return 0, "", fmt.Errorf("resource type %q: not decided here; use file_system::File or file_system::Dir", r.Resource.typ)
	}
	if problem, mend := compiler.PathProblem(r.Resource.id); problem != "" {
		return 0, "", fmt.Errorf("resource path %q: %s: it is not decided; %s", r.Resource.id, problem, mend)
	}
	return kind, r.Resource.id, nil
}

// plan returns the plan of a request's principal.
func (d *Decider) plan(principal *entity) (*compiler.Plan, error) {
	in := d.input
	if principal != nil {
		in.Principal = types.NewEntityUID(types.EntityType(principal.typ), types.String(principal.id)).String()
		if principal.typ == "" {
			in.Principal = principal.id
		}
	}
	if plan := d.plans[in.Principal]; plan != nil {
		return plan, nil
	}
	plan, err := compiler.Compile(in)
	if err != nil {
		return nil, err
	}
	if d.plans == nil || len(d.plans) >= maxPlans {
		d.plans = make(map[string]*compiler.Plan)
	}
	d.plans[in.Principal] = plan
	return plan, nil
}
