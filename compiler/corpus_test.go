package compiler

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
	"github.com/stockade-dev/stockade/compiler/table"
)

// corpusSet is one policy set of cedar-go's corpus, with requests and what
// Cedar's reference implementation answers.
type corpusSet struct {
	Policies       string
	Entities       string
	ShouldValidate bool
	Requests       []corpusRequest
}

type corpusRequest struct {
	Principal, Action, Resource types.EntityUID
	Context                     types.Record
	Decision                    types.Decision
	Reason, Errors              []string
}

// corpusFiles reads the archive that the cedar-go module ships.
func corpusFiles(t *testing.T) map[string][]byte {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/cedar-policy/cedar-go").Output()
	if err != nil {
		t.Fatalf("the corpus is in cedar-go's module, which is not found: %v", err)
	}
	f, err := os.Open(filepath.Join(strings.TrimSpace(string(dir)), "corpus-tests.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// renaming puts files in the place of the entities of one type, the type of a
// request's resource, and the action read in the place of the request's action.
// It changes names only, so every decision stays what it was.
type renaming struct {
	resource types.EntityType
	action   types.EntityUID
	paths    map[types.String]types.String
}

const corpusResource types.EntityType = "file_system::File"

var corpusAction = types.NewEntityUID("file_system::Action", "read")

func (n *renaming) typ(t types.EntityType) types.EntityType {
	if t == n.resource {
		return corpusResource
	}
	return t
}

func (n *renaming) uid(uid types.EntityUID) types.EntityUID {
	switch {
	case uid == n.action:
		return corpusAction
	case uid.Type != n.resource:
		return uid
	}
	p, ok := n.paths[uid.ID]
	if !ok {
		p = types.String(fmt.Sprintf("/e%d", len(n.paths)))
		n.paths[uid.ID] = p
	}
	return types.NewEntityUID(corpusResource, p)
}

func (n *renaming) value(v types.Value) types.Value {
	switch v := v.(type) {
	case types.EntityUID:
		return n.uid(v)
	case types.Set:
		list := make([]types.Value, 0, v.Len())
		for x := range v.All() {
			list = append(list, n.value(x))
		}
		return types.NewSet(list...)
	case types.Record:
		return n.record(v)
	}
	return v
}

func (n *renaming) record(r types.Record) types.Record {
	m := make(types.RecordMap, r.Len())
	for name, x := range r.All() {
		m[name] = n.value(x)
	}
	return types.NewRecord(m)
}

func (n *renaming) entities(data types.EntityMap) types.EntityMap {
	out := make(types.EntityMap, len(data))
	for uid, e := range data {
		var parents []types.EntityUID
		for parent := range e.Parents.All() {
			parents = append(parents, n.uid(parent))
		}
		uid = n.uid(uid)
		out[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...),
			Attributes: n.record(e.Attributes), Tags: n.record(e.Tags)}
	}
	return out
}

// policy renames in the JSON form of a policy, where types and entities are
// told by their keys.
func (n *renaming) policy(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = n.policy(v[i])
		}
	case map[string]any:
		typ, isType := v["type"].(string)
		id, isID := v["id"].(string)
		if isType && isID && len(v) == 2 {
			uid := n.uid(types.NewEntityUID(types.EntityType(typ), types.String(id)))
			return map[string]any{"type": string(uid.Type), "id": string(uid.ID)}
		}
		for key, x := range v {
			if name, ok := x.(string); ok && key == "entity_type" {
				v[key] = string(n.typ(types.EntityType(name)))
				continue
			}
			v[key] = n.policy(x)
		}
	}
	return v
}

func (n *renaming) policies(text []byte) ([]byte, error) {
	list, err := cedar.NewPolicyListFromBytes("corpus", text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	for _, p := range list {
		tree, err := p.MarshalJSON()
		if err != nil {
			return nil, err
		}
		var v any
		decoder := json.NewDecoder(bytes.NewReader(tree))
		decoder.UseNumber()
		if err := decoder.Decode(&v); err != nil {
			return nil, err
		}
		if tree, err = json.Marshal(n.policy(v)); err != nil {
			return nil, err
		}
		var renamed cedar.Policy
		if err := renamed.UnmarshalJSON(tree); err != nil {
			return nil, err
		}
		out.Write(renamed.MarshalCedar())
		out.WriteString("\n")
	}
	return out.Bytes(), nil
}

// corpusPlan is a policy set of the corpus lowered for one principal, action
// and type of resource.
type corpusPlan struct {
	names *renaming
	plan  *Plan
	// errors are, by policy, the conditions under which its evaluation errors.
	errors [][]rule.Cond
	// err says why the set is rejected.
	err error
}

// lowerCorpus lowers a policy set as Compile does after validation: the corpus
// has schemas of its own, and paths are not what its entities are.
func lowerCorpus(text []byte, data types.EntityMap, r corpusRequest) *corpusPlan {
	names := &renaming{r.Resource.Type, r.Action, map[types.String]types.String{}}
	p := &corpusPlan{names: names}
	if r.Resource.Type == r.Action.Type {
		p.err = errors.New("the resource is an action")
		return p
	}
	renamed, err := names.policies(text)
	if err != nil {
		p.err = fmt.Errorf("syntax: %w", err)
		return p
	}
	world := names.entities(data)
	if bytes.Contains(text, []byte("path")) {
		p.err = errors.New("an attribute named path has another meaning here")
		return p
	}
	var errs collector
	policies := parse([]Source{{"corpus.cedar", renamed}}, &errs)
	if errs.err() == nil {
		p.lower(policies, names.uid(r.Principal), world, &errs)
	}
	if p.err = errs.err(); p.err == nil {
		p.plan.Table, p.err = table.Build(&p.plan.Rules, abi.MaskOf(abi.Read))
	}
	return p
}

// answer is a decision, the policies that it rests on and those that error.
type answer struct {
	allow           bool
	reasons, errors string
}

func newAnswer(allow bool, reasons, errors []string) answer {
	slices.Sort(reasons)
	slices.Sort(errors)
	return answer{allow, strings.Join(reasons, " "), strings.Join(errors, " ")}
}

// decide answers for one resource; ok is false if the agent would be asked.
func (p *corpusPlan) decide(t *testing.T, resource types.EntityUID) (a answer, ok bool) {
	q := abi.Request{Action: abi.Read, Kind: abi.File, Path: string(p.names.uid(resource).ID)}
	v, _ := verdictOf(&p.plan.Rules, q, false)
	if walked := p.plan.Decide(q); walked != v {
		t.Errorf("%v: the rules say %s, the table %s: %v", resource, v, walked, p.plan.Rules.Rules)
	}
	var reasons, errors []string
	for _, policy := range p.plan.Satisfied(q) {
		reasons = append(reasons, strings.Replace(policy.ID, "corpus.cedar#", "policy", 1))
	}
	for i, list := range p.errors {
		for _, c := range list {
			if rule.Eval(c, &q) == rule.True {
				errors = append(errors, fmt.Sprintf("policy%d", i))
			}
		}
	}
	return newAnswer(v == abi.Allow, reasons, errors), v != abi.Ask
}

func TestTheCorpusOfCedarIsDecidedAsItSays(t *testing.T) {
	files := corpusFiles(t)
	counts := map[string]int{}
	reasons := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(name, ".json") || strings.HasSuffix(name, ".entities.json") {
			continue
		}
		var set corpusSet
		if err := json.Unmarshal(files[name], &set); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		counts["policy sets"]++
		checkCorpusSet(t, name, files, &set, counts, reasons)
	}
	showCounts(t, "corpus", counts, nil)
	showCounts(t, "rejected requests, by reason", reasons, nil)
	for _, least := range []struct {
		what string
		n    int
	}{{"policy sets", 7750}, {"policy sets compared", 7750}, {"requests", 62000}, {"requests compared", 62000},
		{"requests compared, with errors", 3773}, {"other resources", 21880}} {
		if counts[least.what] < least.n {
			t.Errorf("%d %s, of %d", counts[least.what], least.what, least.n)
		}
	}
}

func checkCorpusSet(t *testing.T, name string, files map[string][]byte, set *corpusSet, counts, reasons map[string]int) {
	text := files[set.Policies]
	var data types.EntityMap
	if err := data.UnmarshalJSON(files[set.Entities]); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	policies, err := cedar.NewPolicySetFromBytes("corpus.cedar", text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	type key struct {
		principal, action types.EntityUID
		resource          types.EntityType
	}
	plans := map[key]*corpusPlan{}
	compared := false
	for _, r := range set.Requests {
		counts["requests"]++
		k := key{r.Principal, r.Action, r.Resource.Type}
		plan, ok := plans[k]
		if !ok {
			plan = lowerCorpus(text, data, r)
			plans[k] = plan
			counts["other resources"] += checkOthers(t, name, plan, policies, data, r)
		}
		if plan.err != nil {
			counts["requests rejected"]++
			reasons[plan.err.Error()]++
			continue
		}
		compared = true
		got, ok := plan.decide(t, r.Resource)
		if !ok {
			counts["requests asked"]++
			continue
		}
		counts["requests compared"]++
		if len(r.Errors) > 0 {
			counts["requests compared, with errors"]++
		}
		if want := newAnswer(bool(r.Decision), r.Reason, r.Errors); got != want {
			t.Errorf("%s: principal %v, resource %v: the corpus says %+v, the rules %+v\n%s\n%v",
				name, r.Principal, r.Resource, want, got, text, plan.plan.Rules.Rules)
		}
	}
	if compared {
		counts["policy sets compared"]++
		if set.ShouldValidate {
			counts["policy sets compared that validate"]++
		}
	} else {
		counts["policy sets rejected"]++
	}
}

// checkOthers compares a plan with cedar-go on every other resource of the type
// that policies or entities name, and on one that nobody does.
func checkOthers(t *testing.T, name string, plan *corpusPlan, policies *cedar.PolicySet, data types.EntityMap, r corpusRequest) int {
	if plan.err != nil {
		return 0
	}
	plan.names.uid(types.NewEntityUID(r.Resource.Type, "a name that nothing else has"))
	n := 0
	for id := range plan.names.paths {
		resource := types.NewEntityUID(r.Resource.Type, id)
		decision, diagnostic := cedar.Authorize(policies, data, cedar.Request{
			Principal: r.Principal, Action: r.Action, Resource: resource, Context: r.Context})
		got, ok := plan.decide(t, resource)
		if !ok {
			continue
		}
		n++
		var failed []string
		for _, e := range diagnostic.Errors {
			failed = append(failed, string(e.PolicyID))
		}
		if want := newAnswer(bool(decision), reasons(diagnostic), failed); got != want {
			t.Errorf("%s: principal %v, resource %v: cedar-go says %+v, the rules %+v\n%v",
				name, r.Principal, resource, want, got, plan.plan.Rules.Rules)
		}
	}
	return n
}

// lower lowers for one principal and the action read, in the world of the
// corpus: its actions have groups of their own, and its files are in files.
func (p *corpusPlan) lower(policies []*policy, principal types.EntityUID, data types.EntityMap, errs *collector) {
	read := abi.MaskOf(abi.Read)
	covers := map[types.EntityUID]abi.ActionMask{}
	for _, uid := range ancestors(data, []types.EntityUID{corpusAction}) {
		covers[uid] = read
	}
	l := &lowerer{principal: principal, world: data, regions: corpusRegions(data), handled: read, covers: covers,
		contexts: map[types.EntityUID]term{}, errs: errs}
	set := rule.Set{Policies: make([]rule.Policy, len(policies))}
	p.errors = make([][]rule.Cond, len(policies))
	for i, policy := range policies {
		set.Policies[i] = policy.meta
		// No request of ours has a group of actions, so `==` counts groups too.
		if eq, ok := policy.action.(scopeEq); ok && eq.Entity != corpusAction {
			continue
		}
		l.policy, l.index, l.shared = policy, i, map[residualKey]int{}
		formulas, errors := l.formulas(i, policy)
		set.Rules = append(set.Rules, cut(set.Policies, formulas)...)
		p.errors[i] = errors
	}
	set.Residuals = l.residuals
	prune(&set)
	p.plan = &Plan{Rules: set, Handled: read}
}

// corpusRegions says of every file what it is in, and what it has.
func corpusRegions(data types.EntityMap) *regions {
	r := &regions{classes: map[types.EntityUID][]types.Entity{},
		attributes: map[types.String]*inheritance{}, tags: map[types.String]*inheritance{}}
	for uid, e := range data {
		if uid.Type != corpusResource {
			continue
		}
		r.entries = append(r.entries, e)
		for _, ancestor := range ancestors(data, slices.Collect(e.Parents.All())) {
			r.classes[ancestor] = append(r.classes[ancestor], e)
		}
	}
	slices.SortFunc(r.entries, func(a, b types.Entity) int { return strings.Compare(string(a.UID.ID), string(b.UID.ID)) })
	return r
}
