package compiler

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/compiler/rule"
)

func TestAnnotationsAreSetAndReplaced(t *testing.T) {
	named := func(p *rule.Policy, n int) map[string]string {
		id := p.Annotations["id"]
		if id == "" {
			id = strconv.Itoa(n)
		}
		return map[string]string{"id": "team/web/" + id}
	}
	quoted := func(*rule.Policy, int) map[string]string {
		return map[string]string{"id": "a\"); forbid (principal, action, resource); //\n", "mode": "audit"}
	}
	const all = "(principal, action, resource);"
	for _, c := range []struct {
		what, text, want string
		with             func(*rule.Policy, int) map[string]string
	}{
		{"none", "permit " + all, `@id("team/web/0") permit ` + all, named},
		{"its own", `@id("x") permit ` + all, `@id("team/web/x")  permit ` + all, named},
		{"among others", "// first\n@reason(\"r\") @id(\"x\")\n@severity\npermit " + all, "// first\n@id(\"team/web/x\") @reason(\"r\") \n@severity\npermit " + all, named},
		{"several", "permit " + all + "\n@id(\"y\")\nforbid " + all + " permit " + all,
			`@id("team/web/0") permit ` + all + "\n@id(\"team/web/y\") \nforbid " + all + ` @id("team/web/2") permit ` + all, named},
		{"one that looks like the end", `@id("); x @id(\"z\")") permit ` + all, `@id("team/web/); x @id(\"z\")")  permit ` + all, named},
		{"comments among them", "@id // @id(\"q\")\n(\"x\") permit " + all, "@id(\"team/web/x\")  permit " + all, named},
		{"a mode, and text that breaks out", `@mode("enforce") permit ` + all, `@id("a\"); forbid (principal, action, resource); //\n") @mode("audit")  permit ` + all, quoted},
		{"no policies", "// none\n", "// none\n", named},
	} {
		got, err := Annotate(Source{"f", []byte(c.text)}, c.with)
		if err != nil || string(got.Text) != c.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", c.what, err, got.Text, c.want)
		}
	}
}

func TestAnnotationsOfNoCedarAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"permit (principal, action, resource":                                 "f:1:36: the end: syntax error",
		`@id("x") permit (principal); @id("x") permit`:                        "f:1:27: `)`",
		"permit (principal, action, resource); forbid (?, action, resource);": "f:1:47",
	} {
		got, err := Annotate(Source{"f", []byte(text)}, func(*rule.Policy, int) map[string]string { return map[string]string{"id": "y"} })
		if err == nil || !strings.HasPrefix(err.Error(), want) || string(got.Text) != text {
			t.Errorf("%s: %v, %s, want %s", text, err, got.Text, want)
		}
	}
	twice := func(*rule.Policy, int) map[string]string { return map[string]string{"id": "y"} }
	if _, err := Annotate(Source{"f", []byte("permit (principal, action, resource); permit (principal, action, resource);")}, twice); err == nil || !strings.Contains(err.Error(), "already taken") {
		t.Errorf("two of one id: %v", err)
	}
}
