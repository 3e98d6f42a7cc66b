package compiler

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/gen"
)

func TestPoliciesAreNamedByIDOrByPlace(t *testing.T) {
	plan, err := Compile(Input{
		Sources: []Source{
			{"dir/a.cedar", []byte("// first\n@reason(\"because\") permit(principal, action, resource);\n  @id(\"named\")\nforbid(principal, action, resource);")},
			{"b.cedar", []byte("permit(principal, action, resource);")},
		},
		Principal: `User::"ann"`,
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range plan.Rules.Policies {
		got = append(got, p.ID+" at "+p.Position()+" "+p.Effect.String()+" "+p.Reason())
	}
	if want := "a.cedar#0 at dir/a.cedar:2:1 permit because, named at dir/a.cedar:3:3 forbid , b.cedar#0 at b.cedar:1:1 permit "; strings.Join(got, ", ") != want {
		t.Errorf("%q", got)
	}
	if len(plan.Digest) != 64 || plan.Principal != `User::"ann"` || plan.Handled != abi.DefaultActions {
		t.Errorf("%+v", plan)
	}
}

func TestTheDigestNamesThePolicySetAndNothingElse(t *testing.T) {
	a, b := Source{"a", []byte("permit(principal, action, resource);")}, Source{"b", []byte("")}
	of := func(in Input) string { return digest(in) }
	base := of(Input{Sources: []Source{a, b}, Principal: `User::"ann"`})
	if of(Input{Sources: []Source{b, a}, Principal: `User::"bob"`, EntitiesName: "x"}) != base {
		t.Error("order of sources or principal changes the digest")
	}
	for name, in := range map[string]Input{
		"entities": {Sources: []Source{a, b}, Entities: []byte("[]")},
		"text":     {Sources: []Source{a, {"b", []byte(" ")}}},
		"name":     {Sources: []Source{a, {"c", nil}}},
		"joined":   {Sources: []Source{{"ab", a.Text}}},
	} {
		if of(in) == base {
			t.Errorf("another %s, the same digest", name)
		}
	}
}

func TestHandledActions(t *testing.T) {
	in := Input{
		Sources: []Source{{"p.cedar", []byte(`permit(principal, action == file_system::Action::"write", resource);
permit(principal, action == file_system::Action::"read", resource) when { resource.path like "*" };`)}},
		Principal: `User::"ann"`, Handled: abi.MaskOf(abi.Write),
	}
	plan, err := Compile(in)
	if err != nil {
		t.Fatalf("a condition of an action that is not handled is refused: %v", err)
	}
	want := `p.cedar:2:1: file_system::Action::"read": the action is not among the handled ones: it is not enforced; handle read`
	if len(plan.Warnings) != 1 || plan.Warnings[0] != want {
		t.Errorf("%q", plan.Warnings)
	}
	in.Handled = abi.MaskOf(abi.Trace)
	if _, err := Compile(in); err == nil || err.Error() != "handled: trace: no hook of this version decides it: nothing is compiled; leave it out" {
		t.Error(err)
	}
}

// No grant on files reaches the sockets that lie among them.
func TestConnectUnixIsInNoGroupOfFileActions(t *testing.T) {
	const socket = "/tmp/tmux-1000/default"
	var others []string
	for _, a := range (abi.EnforcedActions &^ abi.MaskOf(abi.ConnectUnix)).Actions() {
		others = append(others, a.Cedar())
	}
	for scope, want := range map[string]abi.Verdict{
		`action in file_system::Action::"SafeIO"`:        abi.Deny,
		"action in [" + strings.Join(others, ", ") + "]": abi.Deny,
		"action": abi.Allow,
		`action == file_system::Action::"connect_unix"`: abi.Allow,
	} {
		plan, err := Compile(Input{Sources: []Source{{"p.cedar", []byte("permit(principal, " + scope + `, resource in file_system::Dir::"/tmp");`)}}, Principal: `User::"ann"`})
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Decide(abi.Request{Action: abi.ConnectUnix, Path: socket}); got != want {
			t.Errorf("%s: %s, want %s", scope, got, want)
		}
	}
}

func TestEveryStageCanBeDumped(t *testing.T) {
	in := Input{
		Sources:   []Source{{"p.cedar", []byte(`permit(principal, action == file_system::Action::"read", resource in file_system::Dir::"/a");`)}},
		Principal: `User::"ann"`,
	}
	for stage, want := range map[string]string{
		"ast":   "// p.cedar:1:1 \"p.cedar#0\"\npermit (\n    principal,\n    action == file_system::Action::\"read\",\n    resource in file_system::Dir::\"/a\"\n);\n",
		"rules": "permit \"p.cedar#0\" read when path<\"/a\"\npermit \"p.cedar#0\" read when (dir & path==\"/a\")\n",
	} {
		var b bytes.Buffer
		if err := Dump(stage, in, &b); err != nil || b.String() != want {
			t.Errorf("%s: %v\n%s", stage, err, b.String())
		}
	}
	for _, stage := range Stages {
		if err := Dump(stage.Name, in, &bytes.Buffer{}); err != nil {
			t.Errorf("%s: %v", stage.Name, err)
		}
	}
	if err := Dump("tree", in, &bytes.Buffer{}); err == nil {
		t.Error("an unknown stage is dumped")
	}
}

func TestEqualInputsGiveEqualPlans(t *testing.T) {
	for seed := range uint64(50) {
		c := gen.New(seed, gen.Options{})
		one, err1 := Compile(caseInput(c))
		two, err2 := Compile(caseInput(c))
		if (err1 == nil) != (err2 == nil) || err1 != nil && err1.Error() != err2.Error() {
			t.Fatalf("seed %d: %v, %v", seed, err1, err2)
		}
		if err1 == nil && !bytes.Equal(one.Table.Bytes(), two.Table.Bytes()) {
			t.Fatalf("seed %d: two tables", seed)
		}
	}
}

// A new cedar-go may change what is under x/exp at any time.
func TestFewFilesImportUnstablePackages(t *testing.T) {
	out, err := exec.Command("grep", "-rl", "--include=*.go", "--exclude=*_test.go", "cedar-go/x/exp", "..").Output()
	if err != nil {
		t.Skip(err)
	}
	for file := range strings.FieldsSeq(string(out)) {
		if file != "../compiler/parse.go" && !strings.HasPrefix(file, "../compiler/schema/") {
			t.Errorf("%s imports cedar-go/x/exp", file)
		}
	}
}

func FuzzParse(f *testing.F) {
	for seed := range uint64(20) {
		f.Add(string(gen.New(seed, gen.Options{Policies: 2}).Policies))
	}
	f.Add(`permit(principal, action, resource) when { resource.path like "*.env" || context has now };`)
	f.Add("@id(\"a\")\nforbid(principal == ?principal, action, resource) unless { -1 == {a: [1]}.a };")
	entities := []byte(people)
	f.Fuzz(func(t *testing.T, text string) {
		in := Input{Sources: []Source{{"f.cedar", []byte(text)}}, Entities: entities, Principal: `Agent::"a"`}
		front, err := read(in)
		if err != nil {
			checkPlaces(t, text, err)
			return
		}
		plan, err := front.compile(in)
		if err != nil {
			return
		}
		c := &gen.Case{Policies: []byte(text), Entities: entities}
		for _, p := range []string{"/", "/a", "/a/b", "/ab", "/p"} {
			for _, a := range []abi.Action{abi.Read, abi.Write, abi.Execute} {
				c.Requests = append(c.Requests, abi.Request{Action: a, Path: p}, abi.Request{Action: a, Kind: abi.Dir, Path: p})
			}
		}
		checkCase(t, c, plan, newOracle(front))
	})
}

// checkPlaces proves that errors point into the text.
func checkPlaces(t *testing.T, text string, err error) {
	lines := strings.Split(text, "\n")
	for _, e := range err.(Errors) {
		p := e.(positioned).place()
		if p.File == "f.cedar" && (p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > len(lines[p.Line-1])+1) {
			t.Errorf("%v is outside of the text %q", e, text)
		}
	}
}
