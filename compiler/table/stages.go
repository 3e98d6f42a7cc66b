package table

import (
	"io"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// Stage is a step from rules to words.
type Stage struct {
	// Name is that of what the stage leaves, Leaves says what that is.
	Name, Leaves string

	run  func(*Building) error
	dump func(*Building, io.Writer) error
}

// Run does the stage's work. It comes after the stages before it, once.
func (s *Stage) Run(b *Building) error { return s.run(b) }

// Dump writes, for a reader, what the stage has left: before the next one runs.
func (s *Stage) Dump(b *Building, w io.Writer) error { return s.dump(b, w) }

// Stages are the steps, in order: Build runs them all.
var Stages = []Stage{
	{"clauses", "the rules, with those joined that differ in patterns only", each((*builder).joinRules), eachDump((*builder).dumpClauses)},
	{"classes", "for each fact the automaton or the bounds that sort its values into classes", each((*builder).sortValues), eachDump((*builder).dumpClasses)},
	{"trie", "all paths that clauses name, with a diagram of verdicts at each", each((*builder).plantTrie), eachDump((*builder).dumpTrie)},
	{"narrowed", "the trie without what no path there can come to, and nodes that change nothing", each((*builder).narrowTrie), eachDump((*builder).dumpTrie)},
	{"merged", "the trie over the fewest classes, with those classes", each((*builder).mergeClasses), eachDump((*builder).dumpMerged)},
	{"table", "the words that the kernel walks", (*Building).finish, (*Building).dumpTable},
}

// Building is a table in the making. The enforced rules have a table of their
// own: what policies in audit would do is told beside it, never in its place.
type Building struct {
	enforced *builder
	// audits also has the forbids in audit; nil without any.
	audits *builder
	table  *Table
}

// Start begins a table of rules that decides the handled actions.
func Start(set *rule.Set, handled abi.ActionMask) *Building {
	enforced, audits := splitAudits(set)
	b := &Building{enforced: newBuilder(enforced, handled)}
	if audits != nil {
		b.audits = newBuilder(audits, handled)
	}
	return b
}

// Table is what the last stage has made.
func (b *Building) Table() *Table { return b.table }

// Build compiles rules into a verified table that decides the handled actions;
// every other action is denied by the table and must not be asked of it.
// Rules of equal meaning give equal bytes.
func Build(set *rule.Set, handled abi.ActionMask) (*Table, error) {
	b := Start(set, handled)
	for i := range Stages {
		if err := Stages[i].Run(b); err != nil {
			return nil, err
		}
	}
	return b.table, nil
}

// each makes a step of a builder one of all.
func each(step func(*builder) error) func(*Building) error {
	return func(b *Building) error {
		err := step(b.enforced)
		if err == nil && b.audits != nil {
			err = step(b.audits)
		}
		return err
	}
}

// finish lays the tables out, the enforced one within the other if that one
// reports anything.
func (b *Building) finish() error {
	t, err := b.enforced.encode(nil)
	if err == nil && b.audits != nil && b.audits.reports() {
		t, err = b.audits.encode(t)
	}
	if err != nil {
		return err
	}
	b.table, b.enforced, b.audits = t, nil, nil
	return Verify(t.words)
}
