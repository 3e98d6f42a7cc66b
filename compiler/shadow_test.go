package compiler

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stockade-dev/stockade/compiler/gen"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// An idle policy changes nothing when it is left out, also not for cedar-go;
// one that is not idle does.
func TestIdlePoliciesAreThoseWithoutEffect(t *testing.T) {
	var idle, empty, busy, asked int
	for seed := range uint64(500) {
		c := gen.New(seed, gen.Options{Requests: 60})
		in := caseInput(c)
		plan, err := Compile(in)
		if err != nil {
			continue
		}
		report, err := FindIdle(in, plan, time.Minute)
		if err != nil || len(report.Late) > 0 {
			t.Fatal(err, report.Late)
		}
		asked += len(report.Asked)
		for i := range plan.Rules.Policies {
			p := &plan.Rules.Policies[i]
			at := slices.IndexFunc(report.Idle, func(x Idle) bool { return x.Policy == p })
			if at < 0 && (slices.Contains(report.Principal, p) || slices.Contains(report.Asked, p) || plan.scopes[i].handled == 0) {
				continue
			}
			n := *c
			n.Set = slices.Delete(slices.Clone(c.Set), i, i+1)
			n.Write()
			without, err := Compile(caseInput(&n))
			if err != nil {
				t.Fatal(err)
			}
			if same := bytes.Equal(without.Table.Bytes(), plan.Table.Bytes()); same != (at >= 0) {
				t.Fatalf("policy %s: idle %v, equal bytes %v\n%s", p.ID, at >= 0, same, c)
			}
			if at < 0 {
				busy++
				continue
			}
			x := report.Idle[at]
			if x.Empty {
				empty++
			} else if idle++; !slices.ContainsFunc(plan.Rules.Rules, func(r rule.Rule) bool {
				return r.Policy == i && rule.Eval(r.Cond, &x.Witness) != rule.False
			}) {
				t.Fatalf("policy %s does not hold for its witness %s\n%s", p.ID, gen.Show(x.Witness), c)
			}
			sameForCedar(t, c, &n)
		}
	}
	t.Logf("%d idle, %d empty, %d not idle, %d asked", idle, empty, busy, asked)
	if idle == 0 || empty == 0 || busy == 0 || asked == 0 {
		t.Fatal("the test sees one side only")
	}
}

// sameForCedar compares what cedar-go says of two cases, whatever the agent
// finds out.
func sameForCedar(t *testing.T, a, b *gen.Case) {
	t.Helper()
	one, err := NewOracle(caseInput(a))
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewOracle(caseInput(b))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(41, 42))
	for _, q := range a.Requests {
		for range 4 {
			told := Told(gen.NewTold(r, q.Path))
			was, _, err := one.AuthorizeIn(q, told)
			if err != nil {
				t.Fatal(err)
			}
			if is, _, err := two.AuthorizeIn(q, told); err != nil || is != was {
				t.Fatalf("%s: cedar-go allows: %v, without an idle policy %v, %v\n%s\nwithout:\n%s", gen.Show(q), was, is, err, a, b.Policies)
			}
		}
	}
}

func TestIdlePoliciesAreNamedWithTheirCover(t *testing.T) {
	text := `
@id("srv") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv");
@id("sub") permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv/www");
@id("never") permit (principal, action == file_system::Action::"read", resource) when { resource.path like "*/x" && resource.path like "*.y" };
@id("key") forbid (principal, action, resource in file_system::Dir::"/srv/key");
@id("open-key") permit (principal, action == file_system::Action::"open", resource in file_system::Dir::"/srv/key/open");
@id("home") forbid (principal, action == file_system::Action::"read", resource in file_system::Dir::"/home");
@id("bob") permit (principal == User::"bob", action, resource);
@id("ann") permit (principal, action == file_system::Action::"execute", resource) when { context.user.username == "ann" };
@id("usr") permit (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/usr") when { context.user.username == "bob" };`
	in := Input{Sources: []Source{{"p.cedar", []byte(text)}}, Principal: `User::"alice"`}
	plan, err := Compile(in)
	if err != nil {
		t.Fatal(err)
	}
	report, err := FindIdle(in, plan, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"p.cedar:3:1: policy sub: others decide alike without it, such as srv (p.cedar:2:1), for example read file /srv/www/a: ",
		"p.cedar:4:1: policy never: no request satisfies it: ",
		"p.cedar:6:1: policy open-key: what it permits is forbidden or permitted by others, such as key (p.cedar:5:1), for example open file /srv/key/open/a: ",
		"p.cedar:7:1: policy home: it forbids only what no policy permits, for example read file /home/a: ",
	}
	for i, x := range report.Idle {
		if i >= len(want) || !strings.HasPrefix(x.String(), want[i]) {
			t.Errorf("%d: %s", i, x)
		}
	}
	lines := report.Unchecked()
	if len(report.Idle) != len(want) || len(lines) != 2 || !strings.Contains(lines[0], "p.cedar:8:1") || !strings.Contains(lines[1], "p.cedar:10:1") {
		t.Errorf("%d idle, unchecked %q", len(report.Idle), lines)
	}
	if report, err = FindIdle(in, plan, -1); err != nil || len(report.Late) != 8 || !strings.Contains(report.Unchecked()[0], "no time was left") {
		t.Errorf("without time: %+v, %v", report, err)
	}
	if report, err = FindIdle(in, plan, time.Minute, "p.cedar"); err != nil || len(report.Idle) != 0 {
		t.Errorf("skipped: %+v, %v", report, err)
	}
}
