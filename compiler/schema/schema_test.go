package schema

import (
	"strings"
	"testing"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/stockade-dev/stockade/bpf/abi"
)

func TestTheSchemaDeclaresEveryAction(t *testing.T) {
	if _, err := base(); err != nil {
		t.Fatal(err)
	}
	actions := Actions()
	for a := range abi.NumActions {
		if _, ok := actions[types.NewEntityUID(types.EntityType(a.Type()), types.String(a.String()))]; !ok {
			t.Errorf("%s is not in the schema", a.Cedar())
		}
	}
	for uid, action := range actions {
		for parent := range action.Parents.All() {
			if actions[parent].Parents.Len() != 0 {
				t.Errorf("%s: groups of groups, inScope does not look there", uid)
			}
		}
	}
}

// The actions of Rex and what they apply to, as facts apart from our text.
func TestTheSchemaKeepsWhatRexSays(t *testing.T) {
	b, err := base()
	if err != nil {
		t.Fatal(err)
	}
	const fs, f, d = "file_system::", "file_system::File", "file_system::Dir"
	for action, resources := range map[string]string{
		fs + "write": f, fs + "network_namespace": f, fs + "redacted_read": f, fs + "execute": f, fs + "unmount": d,
		fs + "open": f + " " + d, fs + "chmod": f + " " + d, fs + "chown": f + " " + d, fs + "create": f + " " + d,
		fs + "delete": f + " " + d, fs + "read": f + " " + d, fs + "stat": f + " " + d, fs + "set_x_attr": f + " " + d, fs + "move": f + " " + d,
		"sysinfo::list": "sysinfo::Uname sysinfo::Sysinfo", "sysinfo::resolve_hostname": "sysinfo::Hostname",
		"network::GET": "network::url", "network::connect": "network::url",
		"process_system::list": "process_system::Process", "process_system::list_fds": "process_system::Process",
		"process_system::mount_namespace": "process_system::Process", "process_system::network_namespace": "process_system::Process",
		"process_system::kill": "process_system::Process", "process_system::interrupt": "process_system::Process", "process_system::trace": "process_system::Process",
		"systemd::start": "systemd::Service", "systemd::stop": "systemd::Service", "systemd::restart": "systemd::Service",
		"systemd::status": "systemd::Service", "systemd::daemon_reload": "systemd::Systemd",
		"sysctl::load": "sysctl::Sysctl",
	} {
		i := strings.LastIndex(action, "::")
		got, ok := b.Actions[types.NewEntityUID(types.EntityType(action[:i]+"::Action"), types.String(action[i+2:]))]
		if !ok {
			t.Errorf("%s: missing", action)
			continue
		}
		var list []string
		for _, r := range got.AppliesTo.Resources {
			list = append(list, string(r))
		}
		if strings.Join(list, " ") != resources {
			t.Errorf("%s applies to %v, want %s", action, list, resources)
		}
	}
	execute := b.Actions[types.NewEntityUID("file_system::Action", "execute")].AppliesTo.Context
	for _, name := range []types.String{"arguments", "environment", "user", "group", "namespace"} {
		if attr, ok := execute[name]; !ok || attr.Optional != (name == "namespace") {
			t.Errorf("execute: context.%s: %+v", name, attr)
		}
	}
}

// validate1 returns what the schema of a principal says about one policy.
func validate1(t *testing.T, principal, entities, policy string) string {
	t.Helper()
	var uid types.EntityUID
	var data types.EntityMap
	var p cedar.Policy
	for _, err := range []error{uid.UnmarshalCedar([]byte(principal)), data.UnmarshalJSON([]byte(entities)), p.UnmarshalCedar([]byte(policy))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, errs := New(uid, data)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return strings.Join(s.Validate((*ast.Policy)(p.AST())), "; ")
}

const agents = `[
 {"uid": {"type": "Agent", "id": "a"}, "parents": [{"type": "Team", "id": "dev"}], "attrs": {
   "tier": 1, "lead": true, "tags": [], "r": {"x": 1, "y": 2}, "boss": {"__entity": {"type": "Person", "id": "p"}}}, "tags": {"k": "v"}},
 {"uid": {"type": "Agent", "id": "b"}, "parents": [], "attrs": {
   "tier": 2, "tags": ["x"], "r": {"x": 1}, "boss": {"__entity": {"type": "Person", "id": "p"}}}}]`

func TestAnyPrincipalTypeIsValid(t *testing.T) {
	for _, c := range []struct{ principal, policy, want string }{
		{`Agent::"a"`, `permit(principal == User::"x", action, resource);`, ""},
		{`Agent::"a"`, `permit(principal in Team::"none", action, resource);`, ""},
		{`User::"x"`, `permit(principal in Team::"dev", action, resource);`, ""},
		{`User::"x"`, `permit(principal is Agent in Team::"dev", action, resource) when { principal.tier > 0 };`, ""},
		{`User::"x"`, `permit(principal is Person, action, resource);`, ""},
		{`robot::Arm::"x"`, `permit(principal is robot::Arm, action, resource) unless { principal in Team::"dev" };`, ""},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal.tags.contains("x") && principal.r.x == 1 };`, ""},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal.boss == Person::"p" && principal.hasTag("k") && principal.getTag("k") == "v" };`, ""},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal has lead && principal.lead };`, ""},

		{`User::"x"`, `permit(principal is Robot, action, resource);`, "unrecognized entity type `Robot`"},
		{`User::"x"`, `permit(principal, action, resource) when { principal.tier > 0 };`, "attribute `tier` on entity type `User` not found"},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal.lead };`, "unable to guarantee safety of access to optional attribute `lead` on entity type `Agent`"},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal.r.y == 1 };`, "unable to guarantee safety of access to optional attribute `r.y` on entity type `Agent`"},
		{`Agent::"a"`, `permit(principal, action, resource) when { principal.tier == "1" };`, "the types Long and String are not compatible"},
		{`Agent::"a"`, `permit(principal in file_system::Dir::"/", action, resource);`, NotApplicable},
		{`Agent::"a"`, `permit(principal, action == file_system::Action::"write", resource is file_system::Dir);`, NotApplicable},
	} {
		t.Run(c.policy, func(t *testing.T) {
			if got := validate1(t, c.principal, agents, c.policy); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What a condition does not mention cannot hide a mistake from validation.
func TestNarrowedViewsFindTheSameMistakes(t *testing.T) {
	for _, c := range []struct{ policy, want string }{
		{`permit(principal, action, resource) when { resource.name == "x" };`, "attribute `name` on entity type `file_system::Dir` not found"},
		{`permit(principal, action in file_system::Action::"SafeIO", resource) when { context.xattr.name == "x" };`, "attribute `xattr` in context for file_system::Action::\"open\" not found"},
		{`permit(principal, action == file_system::Action::"set_x_attr", resource) when { context.xattr.name == "x" };`, ""},
		{`permit(principal, action, resource) when { action == file_system::Action::"set_x_attr" && context.xattr.name == "x" };`, "attribute `xattr` in context for file_system::Action::\"open\" not found"},
		{`permit(principal, action in file_system::Action::"SafeIO", resource) when { context has now && context.now > datetime("2026-01-01") };`, ""},
	} {
		got := validate1(t, `User::"x"`, "[]", c.policy)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s\ngot  %s\nwant %s", c.policy, got, c.want)
		}
	}
}
