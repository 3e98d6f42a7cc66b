package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the start refuses a check refuses too, although it opens nothing.
func TestSinksAreFilesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"log", "other"} {
		if err := os.WriteFile(at(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"link": "log", "future": "none", "here": "."} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(at("log"), at("hard")); err != nil {
		t.Fatal(err)
	}
	const same = ": writes to the file of the log or of another sink: nothing is changed; name another file"
	for _, c := range []struct{ log, own, sinks, want string }{
		{"log", "", "[{json: log}]", `13: sink json log` + same},
		{"log", "", "[{json: link}]", `13: sink json link` + same},
		{"log", "", "[{text: hard}]", `13: sink text hard` + same},
		{"none", "", "[{json: other}, {json: none}]", `28: sink json none` + same},
		{"none", "", "[{json: ./here/future}]", `13: sink json ./here/future` + same},
		{"other", "log", "[{json: log}]", `13: sink json log` + same},
		{"other", "log", "[{json: other}]", ""},
		{"", "", "[{json: x}, {text: ./x}]", `24: sink text ./x` + same},
		{"log", "", "[{json: x}, {text: y}]", ""},
		{"log", "", "[{nosuch: log}]", ""}, // where kinds are looked at
		{"", "", "[{json: log}]", ""},
		{"/dev/null", "", "[{json: /dev/null}]", ""}, // no regular file
	} {
		text := good
		if c.log != "" {
			text = "log: {file: " + c.log + "}\n" + text
		}
		if c.own != "" {
			text += "    log: {file: " + c.own + "}\n"
		}
		_, err := Parse(at("agent.yaml"), []byte(text+"    sinks: "+c.sinks+"\n"))
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%+v: %v", c, err)
		case c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), ":"+c.want)):
			t.Errorf("%+v: %v", c, err)
		}
	}
}
