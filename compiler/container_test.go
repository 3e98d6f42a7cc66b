package compiler

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatReadsOtherwiseInContainers(t *testing.T) {
	const file, dir = `permit (principal, action, resource == file_system::File::"%s");`, `permit (principal, action, resource in file_system::Dir::"%s");`
	for _, c := range []struct {
		policy, warning string
		ids             bool
	}{
		{fmt.Sprintf(file, "/run/x"), "", false},
		{fmt.Sprintf(file, "/var/run/x"), `p.cedar:1:1: file_system::File::"/var/run/x": in most images this is a link to /run/x`, false},
		{fmt.Sprintf(dir, "/var/run"), "link to /run:", false},
		{fmt.Sprintf(dir, "/var/runs"), "", false},
		{fmt.Sprintf(file, "/var/lock/x"), "link to /run/lock/x", false},
		{fmt.Sprintf(file, "/run/secrets/kubernetes.io/serviceaccount/token"), "a link to a file in a folder named by a date", false},
		{fmt.Sprintf(dir, "/run/secrets/kubernetes.io/serviceaccount"), "", false},
		{fmt.Sprintf(file, "/config/..data/key"), "folder named by a date", false},
		{`permit (principal, action, resource) when { resource in [file_system::File::"/a", file_system::File::"/var/run/x"] };`, "link to /run/x", false},
		{`permit (principal, action == file_system::Action::"read", resource) when { context has user && context.user.uid == 0 };`, "", true},
		{`permit (principal, action == file_system::Action::"read", resource) when { context has group && context.group.gid == 0 };`, "", true},
	} {
		plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte(c.policy)}}, Principal: `User::"a"`})
		if err != nil {
			t.Errorf("%s: %v", c.policy, err)
			continue
		}
		text := strings.Join(plan.Container.Warnings, "\n")
		if !strings.Contains(text, c.warning) || c.warning == "" && text != "" || strings.Contains(text, "\n") {
			t.Errorf("%s: warned %q, want %q", c.policy, text, c.warning)
		}
		if ids := fmt.Sprint(plan.Container.IDs); ids != "[]" != c.ids || c.ids && ids != "[p.cedar:1:1]" {
			t.Errorf("%s: ids at %s", c.policy, ids)
		}
	}
}
