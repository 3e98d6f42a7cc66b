package report

import (
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/compiler"
)

func alicePlan(t *testing.T, text string) *compiler.Plan {
	t.Helper()
	plan, err := compiler.Compile(compiler.Input{Sources: []compiler.Source{{Name: "p.cedar", Text: []byte(text)}}, Principal: `User::"alice"`})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const auditKey = `@mode("audit") forbid (principal, action, resource in file_system::Dir::"/srv/key");`

const readSrv = `permit (principal, action == file_system::Action::"read", resource in file_system::Dir::"/srv");`

func TestDiffIsWrittenForReaders(t *testing.T) {
	cases := map[string]struct{ old, now, want string }{
		"a tree": {"", readSrv, "newly allowed (was denied): read\n/srv (as a directory), /srv/**\nfor example read file /srv/a"},
		"a hole": {readSrv, readSrv + `forbid (principal, action, resource in file_system::Dir::"/srv/key");`,
			"newly denied (was allowed): read\n/srv/key (as a directory), /srv/key/**\nfor example read file /srv/key/a"},
		"a glob": {readSrv, readSrv + `forbid (principal, action == file_system::Action::"read", resource) when { resource.path like "*.env" };`,
			"newly denied (was allowed): read\nsome of /srv/**\nby pattern *.env, such as /srv/.env\nfor example read file /srv/.env"},
		"a user": {"", `permit (principal, action == file_system::Action::"execute", resource in file_system::Dir::"/srv") when { context.user.uid == 7 };`,
			"newly allowed (was denied): execute\n/srv (as a directory), /srv/**\nfor example execute file /srv/a if uid is 7"},
		"nothing": {readSrv, readSrv + readSrv, ""},
		"a report": {readSrv, readSrv + auditKey,
			"allowed as before, newly reported by policies in audit: read\n/srv/key (as a directory), /srv/key/**\nfor example read file /srv/key/a"},
		"a report that becomes a denial": {readSrv + auditKey, readSrv + strings.Replace(auditKey, "audit", "enforce", 1),
			"newly denied (was allowed and reported by policies in audit): read\n/srv/key (as a directory), /srv/key/**\nfor example read file /srv/key/a"},
		"a permit in audit": {"", `@mode("audit") ` + readSrv, ""},
	}
	for name, c := range cases {
		changes, err := compiler.Diff(alicePlan(t, c.old), alicePlan(t, c.now))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, d := range changes {
			lines = append(append(lines, heading(&d)), placesOf(&d, 5)...)
		}
		if got := strings.Join(lines, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
