package label

import (
	"strings"
	"testing"
)

func TestLabelsAreReadAndWritten(t *testing.T) {
	set, err := Parse([]string{"team=payments", "example.com/tier=", "run-id=Abc_1.2"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := set.String(), "example.com/tier=,run-id=Abc_1.2,team=payments"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatIsNoLabelIsRefused(t *testing.T) {
	many := make([]string, 0, MaxLabels+1)
	for i := range MaxLabels + 1 {
		many = append(many, "k"+strings.Repeat("x", i%50)+string(rune('a'+i/50))+"=v")
	}
	for _, c := range []struct {
		list []string
		says string
	}{
		{[]string{"team"}, "KEY=VALUE"},
		{[]string{"=x"}, `label ""`},
		{[]string{"-a=x"}, `label "-a"`},
		{[]string{"a b=x"}, `label "a b"`},
		{[]string{"Example.com/a=x"}, "not a key"},
		{[]string{"a/b/c=x"}, "not a key"},
		{[]string{"a=b\nc"}, `value "b\nc"`},
		{[]string{"a=" + strings.Repeat("x", 64)}, "value"},
		{[]string{strings.Repeat("x", 64) + "=a"}, "not a key"},
		{[]string{"a=b=c"}, `value "b=c"`},
		{[]string{"a=b", "a=b"}, "twice"},
		{many, "one more than 64"},
	} {
		if _, err := Parse(c.list); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v, want %q", c.list[0], err, c.says)
		}
	}
	if err := (Set{"a b": "c"}).Check(); err == nil {
		t.Error("a set that came from elsewhere is not checked")
	}
}

func TestSelectionMeansWhatItSays(t *testing.T) {
	labels := Set{"team": "payments", "tier": "test"}
	const ci = `User::"ci"`
	for _, c := range []struct {
		s    Selection
		want bool
	}{
		{Selection{All: true}, true},
		{Selection{Labels: Set{"team": "payments"}}, true},
		{Selection{Labels: Set{"team": "payments", "tier": "test"}}, true},
		{Selection{Labels: Set{"team": "payments", "tier": "live"}}, false},
		{Selection{Labels: Set{"team": ""}}, false},
		{Selection{Labels: Set{"other": ""}}, false},
		{Selection{Principal: ci}, true},
		{Selection{Principal: `User::"c"`}, false},
		{Selection{Principal: ci, Labels: Set{"team": "payments"}}, true},
		{Selection{Principal: ci, Labels: Set{"team": "other"}}, false},
		{Selection{Principal: `User::"x"`, Labels: Set{"team": "payments"}}, false},
	} {
		if err := c.s.Check(); err != nil {
			t.Errorf("%s: %v", c.s, err)
		}
		if got := c.s.Selects(ci, labels); got != c.want {
			t.Errorf("%s selects it: %v, want %v", c.s, got, c.want)
		}
	}
	for _, s := range []Selection{{}, {All: true, Principal: ci}, {All: true, Labels: labels}, {Labels: Set{"": ""}}} {
		if s.Check() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
}

func TestSelectionIsWrittenAsItIsTyped(t *testing.T) {
	for want, s := range map[string]Selection{
		"--all": {All: true},
		`--principal 'User::"ci"' --label a=1 --label b=2`: {Principal: `User::"ci"`, Labels: Set{"b": "2", "a": "1"}},
	} {
		if got := s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
