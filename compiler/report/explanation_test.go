package report

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// edited is what a program reads of an edit.
type edited struct {
	Does, File, Insert       string
	Line, Column, Start, End int
}

// do edits files as any program may, from the end, and returns them.
func do(t *testing.T, files map[string]string, edits []edited) []compiler.Source {
	t.Helper()
	slices.SortFunc(edits, func(a, b edited) int { return b.Start - a.Start })
	for _, e := range edits {
		text := files[e.File] // none where it is a file of its own
		lines := strings.SplitAfter(text[:e.Start], "\n")
		if e.File != "" && (e.Line != len(lines) || e.Column != len(lines[e.Line-1])+1) {
			t.Errorf("byte %d is not at %d:%d", e.Start, e.Line, e.Column)
		}
		files[e.File] = text[:e.Start] + e.Insert + text[e.End:]
	}
	var sources []compiler.Source
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sources = append(sources, compiler.Source{Name: name, Text: []byte(files[name])})
	}
	return sources
}

// TestProposedEditsAllowTheRequest does what the JSON of a denial proposes, with
// nothing but that, and asks again.
func TestProposedEditsAllowTheRequest(t *testing.T) {
	const secrets = `// é: columns count bytes
@id("no-key") forbid (principal, action /* every, */, resource in file_system::Dir::"/srv/key") // ;
;`
	const last = `permit (principal, action == file_system::Action::"write" /* , */, resource in file_system::Dir::"/srv"); // no end of line`
	for name, c := range map[string]struct {
		action abi.Action
		path   string
		fixed  []string
		want   []string // of all suggestions, what their edits do
	}{
		"a forbid":              {abi.Write, "/srv/key/a", nil, []string{"exclude"}},
		"an action":             {abi.Read, "/srv/b", nil, []string{"add", "widen"}},
		"both":                  {abi.Read, "/srv/key/b", nil, []string{"exclude add", "exclude widen"}},
		"a path":                {abi.Read, "/etc/\"x\\", nil, []string{"add"}},
		"nothing may be edited": {abi.Read, "/srv/b", []string{"a.cedar", "b.cedar"}, []string{"add"}},
	} {
		files := func() map[string]string { return map[string]string{"a.cedar": secrets, "b.cedar": last} }
		in := compiler.Input{Sources: do(t, files(), nil), Principal: `User::"alice"`}
		q := abi.Request{Action: c.action, Path: c.path}
		e, err := compiler.Explain(in, q, c.fixed...)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		var got struct {
			Suggestions []struct {
				Edits []struct{ Edit edited }
			}
		}
		if err := ExplanationJSON(&out, e); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, s := range got.Suggestions {
			var edits []edited
			var does []string
			for _, x := range s.Edits {
				edits, does = append(edits, x.Edit), append(does, x.Edit.Does)
			}
			kinds = append(kinds, strings.Join(does, " "))
			in.Sources = do(t, files(), edits)
			plan, err := compiler.Compile(in)
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, out.String())
			}
			if plan.Decide(q) != abi.Allow {
				t.Errorf("%s: after the edits it is not allowed\n%s", name, out.String())
			}
		}
		if slices.Sort(kinds); !slices.Equal(kinds, c.want) {
			t.Errorf("%s: %q, want %q\n%s", name, kinds, c.want, out.String())
		}
	}
}
