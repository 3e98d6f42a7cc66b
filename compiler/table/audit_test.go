package table

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// without leaves out the audited rules of a set.
func without(s *rule.Set) *rule.Set {
	return &rule.Set{Rules: slices.DeleteFunc(slices.Clone(s.Rules), func(r rule.Rule) bool { return r.Audited }), Residuals: s.Residuals}
}

// What is in audit changes no verdict and no move: a table that reports holds
// the one without it, and one that would report nothing is that one.
func TestAuditTakesNoPartInVerdicts(t *testing.T) {
	handled := abi.MaskOf(abi.Open, abi.Read, abi.Write)
	r := rand.New(rand.NewPCG(31, 32))
	var reporting, silent, gains, stays int
	for range 1500 {
		s := randomSet(r, handled)
		tab, plain := mustBuild(t, s, handled), mustBuild(t, without(s), handled)
		if !bytes.Equal(tab.Enforced().Bytes(), plain.Bytes()) {
			t.Fatalf("the enforced table is another one\n%v", s.Rules)
		}
		if tab.Enforced() == tab {
			silent++
		} else {
			reporting++
		}
		for range 20 {
			q, k := randomRequest(r), abi.Kind(r.IntN(2))
			from, to := randomPath(r), randomPath(r)
			if got, want := tab.Decide(q), plain.Decide(q); got != want {
				t.Fatalf("%+v: %v, and %v without audit\n%v", q, got, want, s.Rules)
			}
			if got, want := tab.Gains(k, from, to), plain.Gains(k, from, to); got != want {
				t.Fatalf("moving %v %q to %q gains: %v, and %v without audit\n%v", k, from, to, got, want, s.Rules)
			} else if got {
				gains++
			} else {
				stays++
			}
			if got, want := tab.Everywhere(k), plain.Everywhere(k); got != want {
				t.Fatalf("everywhere %v, and %v without audit", got, want)
			}
		}
	}
	t.Logf("%d tables report, %d do not; %d moves gain, %d do not", reporting, silent, gains, stays)
	if reporting < 100 || silent < 100 || gains < 100 || stays < 100 {
		t.Error("one-sided test")
	}
}

// Equal reports give equal bytes, however the policies in audit are written.
func TestEqualReportsGiveEqualBytes(t *testing.T) {
	all, secret := rule.Rule{Actions: 3, Cond: rule.Const(true)}, rule.Or{rule.PathEq{Path: "/s"}, rule.PathBelow{Path: "/s"}}
	audit := func(effect rule.Effect, c rule.Cond) rule.Rule {
		return rule.Rule{Actions: 2, Effect: effect, Audited: true, Cond: c}
	}
	forbid := rule.Rule{Actions: 2, Effect: rule.Forbid, Cond: secret}
	table := func(rules ...rule.Rule) []byte { return mustBuild(t, &rule.Set{Rules: rules}, 3).Bytes() }
	reports := table(all, audit(rule.Forbid, secret))
	for name, c := range map[string]struct {
		got  []byte
		same bool
	}{
		"split in two":                       {table(audit(rule.Forbid, secret[0]), all, audit(rule.Forbid, secret[1])), true},
		"with a permit in audit":             {table(all, audit(rule.Permit, secret), audit(rule.Forbid, secret)), true},
		"about other actions":                {table(all, rule.Rule{Actions: 1, Effect: rule.Forbid, Audited: true, Cond: secret}), false},
		"about less":                         {table(all, audit(rule.Forbid, secret[1])), false},
		"enforced":                           {table(all, forbid), false},
		"left out":                           {table(all), false},
		"perhaps, where a table cannot tell": {table(all, audit(rule.Forbid, rule.Conj(secret, rule.Unknown{}))), true},
	} {
		if got := bytes.Equal(c.got, reports); got != c.same {
			t.Errorf("%s: equal bytes: %v", name, got)
		}
	}
	for name, rules := range map[string][]rule.Rule{
		"of what is forbidden":     {all, forbid, audit(rule.Forbid, secret)},
		"of what is not permitted": {forbid, audit(rule.Forbid, secret)},
		"that permits":             {all, forbid, audit(rule.Permit, secret)},
	} {
		plain := table(slices.DeleteFunc(slices.Clone(rules), func(r rule.Rule) bool { return r.Audited })...)
		if !bytes.Equal(table(rules...), plain) {
			t.Errorf("an audit %s changes the table", name)
		}
	}
}
