package gen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// themed makes a condition of a theme.
func (g *generator) themed(t Theme) *Expr {
	switch t {
	case Globs:
		x := Leaf(g.draw(globLeaves))
		if g.scope.wide || g.oneIn(3) {
			return guarded("resource has path", x)
		}
		return x
	case Processes:
		return Leaf(g.draw(processLeaves))
	case Users:
		return g.required("user", abi.Execute, g.draw(userLeaves))
	case Times:
		return guarded("context has now", Leaf(g.draw(timeLeaves)))
	case Moves:
		return g.required("destination", abi.Move, g.draw(moveLeaves))
	case Xattrs:
		return g.required("xattr", abi.SetXattr, g.draw(xattrLeaves))
	case Workloads:
		return guarded("context has workload", Leaf(g.draw(workloadLeaves)))
	case Classes:
		return Leaf(g.draw(classLeaves))
	}
	return Leaf(g.draw(residualLeaves))
}

// required guards a condition on an attribute of the context, unless the
// attribute is required: for one action.
func (g *generator) required(attr string, action abi.Action, text string) *Expr {
	if g.scope.one && g.scope.only == action && g.oneIn(2) {
		return Leaf(text)
	}
	if attr == "user" { // the two go together
		return guarded("context has user && context has group", Leaf(text))
	}
	return guarded("context has "+attr, Leaf(text))
}

var globLeaves = []production{
	{"path like", func(g *generator) string { return "resource.path like " + g.like("path", g.path) }},
	{"path like", func(g *generator) string { return "resource.path like " + g.like("path", g.path) }},
	{"path like any", func(g *generator) string {
		return "resource.path like " + g.like("path", g.path) + " || resource.path like " + g.like("path", g.path)
	}},
	{"path like but not", func(g *generator) string {
		return "resource.path like " + g.like("path", g.path) + " && !(resource.path like " + g.like("path", g.path) + ")"
	}},
}

// programs are the executables of policies, besides paths.
var programs = []string{"/bin/sh", "/usr/bin/git", "/usr/bin/gi", "/usr/bin/python3.11", "/usr/bin/python3", "/opt/t*l/bin"}

func (g *generator) program() string {
	p := pick(g, programs...)
	if g.oneIn(3) {
		p = g.path()
	}
	g.used["exe"] = append(g.used["exe"], p)
	return p
}

func (g *generator) quotedProgram() string { return quote(g.program()) }

const hasParent = "context has process && context.process has parent_exe && "

var processLeaves = []production{
	{"exe ==", func(g *generator) string {
		return "context has process && context.process.exe " + pick(g, "==", "!=") + " " + g.quotedProgram()
	}},
	{"exe like", func(g *generator) string {
		return "context has process && context.process.exe like " + g.like("exe", g.program)
	}},
	{"exe like", func(g *generator) string {
		return "context has process && context.process.exe like " + g.like("exe", g.program)
	}},
	{"contains(exe)", func(g *generator) string {
		return "context has process && " + g.list(4, g.quotedProgram) + ".contains(context.process.exe)"
	}},
	{"exe == attribute", func(*generator) string { return "context has process && principal.path == context.process.exe" }},
	{"parent ==", func(g *generator) string { return hasParent + "context.process.parent_exe == " + g.quotedProgram() }},
	{"parent like", func(g *generator) string {
		return hasParent + "context.process.parent_exe like " + g.like("exe", g.program)
	}},
	{"contains(parent)", func(g *generator) string {
		return hasParent + g.list(3, g.quotedProgram) + ".contains(context.process.parent_exe)"
	}},
	{"exe and parent", func(g *generator) string {
		return hasParent + "context.process.exe == " + g.quotedProgram() + " && context.process.parent_exe like " + g.like("exe", g.program)
	}},
	{"has process", func(*generator) string { return "context has process" }},
	{"has parent", func(*generator) string { return "context has process && context.process has parent_exe" }},
	{"exe is path", func(*generator) string {
		return "resource has path && context has process && context.process.exe == resource.path"
	}},
	{"exe is parent", func(*generator) string { return hasParent + "context.process.parent_exe == context.process.exe" }},
}

// written are the facts whose productions are written here; others have those of
// factLeaves.
var written = []abi.Dim{abi.DimGlob0, abi.DimUID, abi.DimGID, abi.DimNow, abi.DimExe, abi.DimParent, abi.DimXattr,
	abi.DimDestPath, abi.DimDestName, abi.DimDestDir}

// factLeaves are productions of the facts that have none of their own.
func factLeaves() (list []production) {
	for _, f := range abi.EachFact() {
		if f.Attribute == "" || slices.Contains(written, f.Dim) {
			continue
		}
		outer, inner, nested := strings.Cut(f.Attribute, ".")
		guard := "context has " + outer + " && "
		if nested {
			guard += "context." + outer + " has " + inner + " && "
		}
		draw, op := func(g *generator) string { return g.number(f.Name) }, comparison
		if !f.Number {
			draw = func(g *generator) string { return quote(g.attribute()) }
			op = func(g *generator) string { return pick(g, " == ", " != ") }
		}
		list = append(list,
			production{f.Name, func(g *generator) string { return guard + "context." + f.Attribute + op(g) + draw(g) }},
			production{"contains(" + f.Name + ")", func(g *generator) string {
				return guard + g.list(3, func() string { return draw(g) }) + ".contains(context." + f.Attribute + ")"
			}})
	}
	return list
}

// number draws a bound near zero, usual ids and the ends of 32 bits.
func (g *generator) number(field string) string {
	n := pick(g, 0, 1, 2, 999, 1000, 1001, 65534, 1<<31-1, 1<<31, 1<<32-2, 1<<32-1, 1<<32, -1, int64(g.IntN(2000)))
	g.bounds[field] = append(g.bounds[field], n)
	return strconv.FormatInt(n, 10)
}

func (g *generator) uid() string { return g.number("uid") }
func (g *generator) gid() string { return g.number("gid") }

func comparison(g *generator) string { return pick(g, " < ", " <= ", " > ", " >= ", " == ", " != ") }

var userLeaves = append(factLeaves(), []production{
	{"uid", func(g *generator) string { return "context.user.uid" + comparison(g) + g.uid() }},
	{"uid", func(g *generator) string { return "context.user.uid" + comparison(g) + g.uid() }},
	{"n uid", func(g *generator) string { return g.uid() + comparison(g) + "context.user.uid" }},
	{"gid", func(g *generator) string { return "context.group.gid" + comparison(g) + g.gid() }},
	{"gid", func(g *generator) string { return "context.group.gid" + comparison(g) + g.gid() }},
	{"contains(uid)", func(g *generator) string { return g.list(5, g.uid) + ".contains(context.user.uid)" }},
	{"contains(gid)", func(g *generator) string { return g.list(5, g.gid) + ".contains(context.group.gid)" }},
	{"uid range", func(g *generator) string {
		return "context.user.uid >= " + g.uid() + " && context.user.uid < " + g.uid()
	}},
	{"uid attribute", func(*generator) string { return "context.user.uid == principal.tier" }},
	{"uid arithmetic", func(g *generator) string { return "context.user.uid + 1 > " + g.uid() }},
	{"uid overflow", func(*generator) string { return "context.user.uid + 9223372036854775806 > 0" }},
	{"uid times gid", func(*generator) string { return "context.user.uid * context.group.gid > 5" }},
	{"uid is gid", func(*generator) string { return "context.user.uid == context.group.gid" }},
}...)

var moveLeaves = []production{
	{"dest.path ==", func(g *generator) string { return "context.destination.path == " + quote(g.destination()) }},
	{"dest.path like", func(g *generator) string {
		return "context.destination.path like " + g.like("dest", g.destination)
	}},
	{"dest.path like", func(g *generator) string {
		return "context.destination.path like " + g.like("dest", g.destination)
	}},
	{"dest.name ==", func(g *generator) string { return "context.destination.name == " + quote(g.destinationName()) }},
	{"dest.name like", func(g *generator) string {
		return "context.destination.name like " + g.like("dest.name", g.destinationName)
	}},
	{"contains(dest.name)", func(g *generator) string {
		return g.list(3, func() string { return quote(g.destinationName()) }) + ".contains(context.destination.name)"
	}},
	{"dest.dir ==", func(g *generator) string {
		return "context.destination.parent_path == " + quote(g.destinationDir())
	}},
	{"dest.dir like", func(g *generator) string {
		return "context.destination.parent_path like " + g.like("dest.dir", g.destinationDir)
	}},
	{"dest.dir and name", func(g *generator) string {
		return "context.destination.parent_path == " + quote(g.destinationDir()) + " && context.destination.name like " + g.like("dest.name", g.destinationName)
	}},
	{"dest is path", func(*generator) string {
		return "resource has path && context.destination.path == resource.path"
	}},
}

func (g *generator) destination() string {
	p := g.path()
	g.used["dest"] = append(g.used["dest"], p)
	return p
}

func (g *generator) destinationDir() string {
	p := g.path()
	g.used["dest.dir"] = append(g.used["dest.dir"], p)
	return p
}

func (g *generator) destinationName() string {
	n := g.name()
	g.used["dest.name"] = append(g.used["dest.name"], n)
	return n
}

var attributes = []string{"user.note", "user.not", "user.", "security.capability", "security.selinux", "trusted.x", "system.posix_acl_access", "u*"}

func (g *generator) attribute() string {
	a := pick(g, attributes...)
	g.used["xattr"] = append(g.used["xattr"], a)
	return a
}

var xattrLeaves = []production{
	{"xattr ==", func(g *generator) string {
		return "context.xattr.name " + pick(g, "==", "!=") + " " + quote(g.attribute())
	}},
	{"xattr like", func(g *generator) string { return "context.xattr.name like " + g.like("xattr", g.attribute) }},
	{"contains(xattr)", func(g *generator) string {
		return g.list(3, func() string { return quote(g.attribute()) }) + ".contains(context.xattr.name)"
	}},
	{"has xattr", func(*generator) string { return "context has xattr" }},
}

var workloadLeaves = []production{
	{"workload.name", func(g *generator) string {
		return "context.workload.name " + pick(g, `== "demo"`, `!= "demo"`, `like "de*"`)
	}},
	{"workload.image", func(*generator) string {
		return `context.workload has image && context.workload.image like "registry/*"`
	}},
	{"workload.namespace", func(*generator) string {
		return `context.workload has "namespace" && context.workload["namespace"] == "prod"`
	}},
	{"workload.labels", func(*generator) string {
		return `context.workload has labels && context.workload.labels.contains("ci")`
	}},
}

// residualLeaves need what only the agent knows. Those on the arguments are
// valid for execute alone, or guarded.
var residualLeaves = []production{
	{"argument flags", func(g *generator) string {
		return "context has arguments && context.arguments.flags.contains(" + pick(g, `"-f"`, `"--force"`) + ")"
	}},
	{"argument values", func(*generator) string {
		return `context has arguments && context.arguments.positional_values.containsAny(["push", "rm"])`
	}},
	{"argument keys", func(*generator) string { return `context has arguments && context.arguments.keys.isEmpty()` }},
	{"argument tag", func(*generator) string {
		return `context has arguments && context.arguments.hasTag("$ARG1") && context.arguments.getTag("$ARG1") == "push"`
	}},
	{"environment", func(*generator) string {
		return `context has environment && context.environment.names.contains("LD_PRELOAD")`
	}},
	{"username", func(g *generator) string {
		return "context has user && context.user.username " + pick(g, `== "ann"`, `!= "ann"`, `like "a*"`)
	}},
	{"groupname", func(*generator) string {
		return `context has group && ["dev", "ops"].contains(context.group.groupname)`
	}},
	{"username is path", func(*generator) string {
		return "context has user && resource has path && context.user.username == resource.path"
	}},
	{"namespace", func(*generator) string {
		return `context has "namespace" && context["namespace"].target_process_id == 1`
	}},
	{"username or uid", func(g *generator) string {
		return `context has user && (context.user.username == "ann" || context.user.uid == ` + g.uid() + ")"
	}},
	{"error unknown", func(*generator) string {
		return `context has "namespace" && context["namespace"].target_process_id + 9223372036854775806 > 0`
	}},
}

// classLeaves use what the entities file says of files and directories.
var classLeaves = []production{
	{"in class", func(g *generator) string { return `resource in DataClass::"` + pick(g, "pii", "secret", "none") + `"` }},
	{"in classes", func(*generator) string { return `resource in [DataClass::"pii", DataClass::"secret"]` }},
	{"in class of classes", func(*generator) string { return `resource in DataClass::"all"` }},
	{"classification", func(g *generator) string {
		return "resource has classification && resource.classification == " + pick(g, `"open"`, `"secret"`)
	}},
	{"classification like", func(*generator) string {
		return `resource has classification && resource.classification like "s*"`
	}},
	{"has classification", func(*generator) string { return "resource has classification" }},
	{"in class of principal", func(g *generator) string {
		return "resource in " + fmt.Sprintf(`%s::"bob".class`, g.typ)
	}},
}
