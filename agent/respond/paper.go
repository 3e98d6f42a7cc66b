package respond

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/cgroup"
	"github.com/stockade-dev/stockade/compiler"
)

// Names of papers that are missing where no keeper answers.
const (
	PoliciesName = "policies.json"
	DenialsName  = "denials.jsonl"
)

// policyPaper is the part about policies.
type policyPaper struct {
	Principal string   `json:"principal"`
	Handled   []string `json:"handled"`
	Policies  []source `json:"policies"`
	Entities  *source  `json:"entities,omitempty"`
}

// source is a file, byte for byte.
type source struct {
	Name string `json:"name"`
	Text []byte `json:"text_b64"`
}

// PolicyPapers are what a plan was compiled from: each file as it was read, and what is
// said beside the files.
func PolicyPapers(in compiler.Input) []Paper {
	list := []Paper{{Name: PoliciesName, Method: "what the policy set in force was compiled from", Write: func(w io.Writer) error {
		about := policyPaper{Principal: in.Principal, Policies: []source{}}
		for _, a := range in.Handled.Actions() {
			about.Handled = append(about.Handled, a.String())
		}
		for _, s := range in.Sources {
			about.Policies = append(about.Policies, source{s.Name, s.Text})
		}
		if in.Entities != nil {
			about.Entities = &source{in.EntitiesName, in.Entities}
		}
		return json.NewEncoder(w).Encode(about)
	}}}
	for i, s := range in.Sources {
		list = append(list, Paper{Name: fmt.Sprintf("policies/%d.cedar", i), Method: "as it was read, named in policies.json",
			Write: func(w io.Writer) error { _, err := w.Write(s.Text); return err }})
		if i+1 == maxPolicyFiles {
			break
		}
	}
	return list
}

// maxPolicyFiles is how many files of policies are parts of their own: all are in
// policies.json.
const maxPolicyFiles = 100

// inspectLimit is how long looking at a workload may take.
const inspectLimit = 20 * time.Second

// Inspect tells what can be known of a workload now. What could not be read of its
// processes is told in their document.
func (d *Desk) Inspect(ctx context.Context, k Kernel, t Target, status api.Workload, denials []*sink.Event) (i api.Inspection, err error) {
	i = api.Inspection{Taken: time.Now().UTC(), Workload: status, Denials: []json.RawMessage{}, Outside: []api.Outside{}}
	for _, e := range denials {
		i.Denials = append(i.Denials, json.RawMessage(e.JSON()))
	}
	r := begin(k, t, "inspect")
	if err := r.count(); err != nil {
		return i, err
	}
	ctx, cancel := context.WithTimeout(ctx, inspectLimit)
	defer cancel()
	var text bytes.Buffer
	err = inspect.Run(ctx, d.Custody.Look, inspect.Request{Collector: inspect.Processes, Processes: r.subjects()}, &text)
	var doc inspect.ProcessDocument
	i.Processes = text.Bytes()
	if json.Unmarshal(i.Processes, &doc) == nil {
		i.Outside = append(i.Outside, outside(doc.Processes, status.Cgroups)...)
		return i, nil
	}
	return i, fmt.Errorf("workload %s: %w: it was not looked at; try again", t.Name, err)
}

// outside lists the processes that are in none of some cgroups, nor beneath one.
func outside(list []inspect.ProcessRecord, groups []string) (all []api.Outside) {
	for _, p := range list {
		within := func(group string) bool { return cgroup.Within(p.Cgroup, group) }
		if p.Cgroup != "" && !slices.ContainsFunc(groups, within) { // "": it has ended
			all = append(all, api.Outside{PID: p.PID, Cgroup: p.Cgroup})
		}
	}
	return all
}

// DenialPaper has the last denials, the oldest first, an object a line.
func DenialPaper(list []*sink.Event) Paper {
	return Paper{Name: DenialsName, Method: fmt.Sprintf("the last %d that were read", len(list)), Write: func(w io.Writer) error {
		for _, e := range list {
			if _, err := io.WriteString(w, e.JSON()+"\n"); err != nil {
				return err
			}
		}
		return nil
	}}
}
