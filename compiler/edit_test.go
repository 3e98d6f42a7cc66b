package compiler

import "testing"

func TestEditsAreDoneWhereTheySay(t *testing.T) {
	sources := []Source{{"a", []byte("0123456789")}, {"b", []byte("x")}}
	at := func(file string, start, end int, insert string) Edit {
		return Edit{At: Position{File: file}, Start: start, End: end, Insert: insert}
	}
	for name, c := range map[string]struct {
		edits []Edit
		want  string // "" if they are refused
	}{
		"insertions":      {[]Edit{at("a", 0, 0, "<"), at("a", 10, 10, ">"), at("b", 1, 1, "y")}, "a=<0123456789> b=xy"},
		"in any order":    {[]Edit{at("a", 8, 9, "ninth"), at("a", 1, 3, "")}, "a=034567ninth9 b=x"},
		"side by side":    {[]Edit{at("a", 1, 3, "-"), at("a", 3, 5, "+")}, "a=0-+56789 b=x"},
		"a source more":   {[]Edit{at("", 0, 0, "new")}, "a=0123456789 b=x the added policy=new"},
		"one over one":    {[]Edit{at("a", 1, 4, "-"), at("a", 3, 5, "+")}, ""},
		"past the end":    {[]Edit{at("b", 1, 2, "")}, ""},
		"before the file": {[]Edit{at("b", -1, 0, "")}, ""},
		"backwards":       {[]Edit{at("b", 1, 0, "")}, ""},
		"another source":  {[]Edit{at("c", 0, 0, "")}, ""},
	} {
		list, err := Apply(sources, c.edits)
		got := ""
		for _, s := range list {
			got += " " + s.Name + "=" + string(s.Text)
		}
		if (err != nil) != (c.want == "") || err == nil && got != " "+c.want {
			t.Errorf("%s:%s, %v", name, got, err)
		}
	}
	if string(sources[0].Text) != "0123456789" || string(sources[1].Text) != "x" {
		t.Errorf("the sources themselves are edited: %q", sources)
	}
}
