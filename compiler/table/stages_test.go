package table

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// TestEveryStageTellsWhatItLeaves goes through the stages of
//
//	permit read beneath /srv, but no *.key and no *.pem to users from 1000 on
//	audited: no write at all
func TestEveryStageTellsWhatItLeaves(t *testing.T) {
	users := rule.Not{X: rule.Less{Field: rule.UID, Bound: 1000}}
	glob := func(pattern string) rule.Cond {
		return rule.Conj(users, rule.Like{Field: rule.Path, Pattern: pattern})
	}
	set := &rule.Set{
		Policies: []rule.Policy{{ID: "srv"}, {ID: "key"}, {ID: "pem"}, {ID: "calm"}},
		Rules: []rule.Rule{
			{Policy: 0, Actions: 1 << abi.Read, Cond: rule.PathBelow{Path: "/srv"}},
			{Policy: 1, Effect: rule.Forbid, Actions: 1 << abi.Read, Cond: glob("*.key")},
			{Policy: 2, Effect: rule.Forbid, Actions: 1 << abi.Read, Cond: glob("*.pem")},
			{Policy: 3, Effect: rule.Forbid, Audited: true, Actions: 1 << abi.Write, Cond: rule.Const(true)},
		},
	}
	want := map[string]string{
		"clauses": `permit read when path<"/srv", of "srv"
forbid read when (!uid<1000 & path like ("*.key" | "*.pem")), of "key", "pem"
with the forbids in audit:
permit read when path<"/srv", of "srv"
forbid read when (!uid<1000 & path like ("*.key" | "*.pem")), of "key", "pem"
audited forbid write when true, of "calm"
`,
		"classes":  "  class 1: in (\"*.key\" | \"*.pem\")\n  state 0: class 0, ",
		"trie":     "\"/srv\": verdict 0, beneath diagram ",
		"narrowed": "diagram 1: by glob0: verdict 1, diagram 0\n\"/\": verdict 0, beneath verdict 0\n",
		"merged":   "uid: 2 classes, from [1000]\nverdict 0: ",
		"table":    "node 2: \"/srv\" class 0, below 2, subtree 1\n",
	}
	b := Start(set, abi.MaskOf(abi.Read, abi.Write))
	for i := range Stages {
		s := &Stages[i]
		if err := s.Run(b); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		if err := s.Dump(b, &got); err != nil || want[s.Name] == "" || !strings.Contains(got.String(), want[s.Name]) {
			t.Errorf("%s: %v\n%swant\n%s", s.Name, err, got.String(), want[s.Name])
		}
	}
	if b.Table() == nil || b.Table().Enforced() != b.Table() {
		t.Error("a policy in audit that would deny nothing left its mark on the table")
	}
}
