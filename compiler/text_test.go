package compiler

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// conditionOf returns what a condition on a read becomes.
func conditionOf(t *testing.T, condition string) string {
	t.Helper()
	f, err := read(Input{Sources: []Source{{"p.cedar", []byte(read1 + " when { " + condition + " };")}}, Entities: exactEntities(), Principal: `Agent::"a"`})
	if err != nil {
		t.Fatal(err)
	}
	set, err := f.rules(abi.DefaultActions)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range set.Rules {
		list = append(list, r.Cond.String())
	}
	return strings.Join(list, " or ")
}

func TestPatternsBecomeTheSimplestCondition(t *testing.T) {
	for pattern, want := range map[string]string{
		`*`: "true", `/*`: "true", `**`: "true",
		`/a`: `path=="/a"`, `/a\*`: `path=="/a*"`, `a`: "", `/a/`: "", ``: "",
		`/a/*`: `path<"/a"`, `/a\*/*`: `path<"/a*"`, `/a/b/**`: `path<"/a/b"`,
		`//*`: "", `a*`: "", `/a/../*`: "", `/a/./b*`: "", `*/..`: "", `*//*`: "", `/*/`: "", `*x/`: "",
		`*/`: `path=="/"`, `*.env`: `path like "*.env"`, `/a*`: `path like "/a*"`, `/a/*/c`: `path like "/a/*/c"`,
		`*\*`: `path like "*\\*"`, `/a/*\*`: `path like "/a/*\\*"`, `*/..b`: `path like "*/..b"`,
	} {
		if got := conditionOf(t, `resource.path like "`+pattern+`"`); got != want {
			t.Errorf("%s: got %s, want %s", pattern, got, want)
		}
	}
}

func TestDataOfPathsBecomesRegions(t *testing.T) {
	for condition, want := range map[string]string{
		`resource in DataClass::"pii"`:              `path<"/d1" or (dir & path=="/d1") or path<"/srv/pii" or (dir & path=="/srv/pii")`,
		`resource in DataClass::"internal"`:         `path<"/srv" or (dir & path=="/srv")`,
		`resource in DataClass::"none"`:             ``,
		`resource has level && resource.level == 2`: `(!dir & path=="/srv/f")`,
		`principal.home in resource`:                `(dir & path=="/") or (dir & path=="/home") or (dir & path=="/home/a")`,
	} {
		if got := conditionOf(t, condition); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", condition, got, want)
		}
	}
}

func TestNumbersBecomeBounds(t *testing.T) {
	for condition, want := range map[string]string{
		`context has user && context.user.uid <= 1000`:                                      `uid<1001`,
		`context has user && 1000 < context.user.uid`:                                       `!uid<1001`,
		`context has user && context.user.uid == 0`:                                         `uid<1`,
		`context has user && [0, 5].contains(context.user.uid)`:                             `uid<1 or (!uid<5 & uid<6)`,
		`context has user && context.user.uid < -1`:                                         ``,
		`context has user && context.user.uid <= 4294967295`:                                `true`,
		`context has user && context.user.uid * 2 == 7`:                                     `(!uid<4 & uid<4)`,
		`context has now && context.now < datetime("1970-01-02")`:                           `now<86400000`,
		`context has now && context.now.toTime() >= duration("9h")`:                         `!daytime<32400000`,
		`context has now && context.now.toDate() == datetime("1970-01-03")`:                 `(!now<172800000 & now<259200000)`,
		`context has now && context.now.durationSince(datetime("1970-01-02")).toDays() > 1`: `!now<259200000`,
	} {
		if got := conditionOf(t, condition); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", condition, got, want)
		}
	}
}
