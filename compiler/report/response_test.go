package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// A tripwire is told where a denial is explained, and where policies are compared.
func TestTripwiresAreTold(t *testing.T) {
	const all = "permit (principal, action, resource);\n"
	const forbid = `forbid (principal, action, resource == file_system::File::"/k");`
	input := func(text string) compiler.Input {
		return compiler.Input{Sources: []compiler.Source{{Name: "p.cedar", Text: []byte(all + text)}}, Principal: `User::"alice"`, Handled: abi.DefaultActions}
	}
	for annotation, want := range map[string]string{
		"":                      "",
		`@respond("lockdown") `: "who is denied by it is locked down with that\n",
		`@respond("kill") `:     "who is denied by it is locked down with that, and then answered by a kill\n",
	} {
		e, err := compiler.Explain(input(annotation+forbid), abi.Request{Action: abi.Read, Path: "/k"})
		if err != nil {
			t.Fatal(err)
		}
		var text, object bytes.Buffer
		if err := Explanation(&text, e); err != nil || !strings.Contains(text.String(), want) || want == "" && strings.Contains(text.String(), "locked down") {
			t.Errorf("%q: %v: %s", annotation, err, &text)
		}
		if err := ExplanationJSON(&object, e); err != nil || strings.Contains(object.String(), `"respond"`) != (want != "") {
			t.Errorf("%q: %v: %s", annotation, err, &object)
		}
	}
	old, err := compiler.Compile(input(forbid))
	if err != nil {
		t.Fatal(err)
	}
	now, err := compiler.Compile(input(`@respond("freeze") ` + forbid))
	if err != nil {
		t.Fatal(err)
	}
	// The response changes, and not the verdict.
	for _, c := range []struct {
		old, now *compiler.Plan
		want     string
	}{
		{old, now, "denied as before, newly responded to (@respond): open, read, "},
		{now, old, "denied as before, no longer responded to (@respond): open, read, "},
	} {
		list, err := compiler.Diff(c.old, c.now)
		if err != nil || len(list) != 1 || list[0].Old.Tripped == list[0].New.Tripped || !strings.HasPrefix(heading(&list[0]), c.want) {
			t.Errorf("%v: %+v: want %q", err, list, c.want)
		}
	}
}
