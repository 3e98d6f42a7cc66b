package table

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stockade-dev/stockade/compiler/rule"
)

func TestExplodingGlobsAreRefusedAndTheirPoliciesNamed(t *testing.T) {
	s := &rule.Set{Rules: []rule.Rule{{Policy: 0, Actions: 1, Cond: rule.Like{Field: rule.Path, Pattern: "*.pem"}}}}
	for i := range 60 {
		a, b := 'a'+rune(i%26), 'a'+rune(i*7%26)
		s.Rules = append(s.Rules, rule.Rule{Policy: 1 + i, Actions: 1,
			Cond: rule.Like{Field: rule.Path, Pattern: fmt.Sprintf("*%c%d*%c%d*x%c", a, i, b, i, a)}})
	}
	_, err := Build(s, 1)
	var globs *GlobsError
	if !errors.As(err, &globs) {
		t.Fatalf("got %v", err)
	}
	if len(globs.Policies) == 0 || globs.Policies[0] == 0 || globs.Policies[len(globs.Policies)-1] != 0 {
		t.Errorf("worst first: %v", globs.Policies)
	}
}
