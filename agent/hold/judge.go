package hold

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/image"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Judge settles what one plan asks: with cedar-go what is open, with the plan
// all else. It answers only if it knows for certain all that the verdict depends
// on.
type Judge struct {
	name string
	plan *compiler.Plan

	mu     sync.Mutex // an Oracle is not for concurrent use
	oracle *compiler.Oracle
}

// NewJudge returns who judges for a plan of a workload.
func NewJudge(name string, plan *compiler.Plan) *Judge { return &Judge{name: name, plan: plan} }

// settle says how an operation is to end. root may be nil.
func (j *Judge) settle(o *operation, file *os.File, x *examiner, root *rootDir, all *grants) verdict {
	e := o.asked
	if e.PathStatus != abi.PathOK || e.Missing == 0 || !exact(j.plan, e) {
		return verdict{}
	}
	var requests []abi.Request
	var uses []map[int]compiler.Uses
	var wanted compiler.Uses
	for _, a := range e.Missing.Actions() {
		r := explain.Request(j.plan, e, a, e.Path)
		used := j.plan.Uses(r)
		for _, u := range used {
			wanted |= u
		}
		requests, uses = append(requests, r), append(uses, used)
	}
	facts := x.learn(o, file, root, wanted)
	open := make([][]string, len(requests))
	asked := false
	for i := range requests {
		for policy, u := range uses[i] {
			if !facts.known(u) {
				open[i], asked = append(open[i], j.plan.Rules.Policies[policy].ID), true
			}
		}
	}
	var by *grant
	if asked {
		if by = all.find(j.name, requests, open, time.Now()); by == nil {
			return verdict{}
		}
	}
	return j.decide(requests, uses, facts, by)
}

// decide joins the verdicts on all requests of an operation. What is open is
// for the grant.
func (j *Judge) decide(requests []abi.Request, uses []map[int]compiler.Uses, facts *facts, by *grant) verdict {
	v := verdict{outcome: isAllowed, image: facts.image}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.oracle == nil {
		if j.oracle = j.plan.Oracle(); j.oracle == nil {
			return verdict{}
		}
	}
	for i, r := range requests {
		allow, determining := j.plan.Judge(r, func(policy int) bool {
			if by != nil && !facts.known(uses[i][policy]) {
				v.grant, v.workload = by.ID, j.name
				return j.plan.Favoured(r, policy, true)
			}
			return j.oracle.Satisfied(policy, r, facts.told)
		})
		if allow {
			continue
		}
		v.outcome, v.image = isDenied, nil
		for _, p := range determining {
			s := explain.Shown(p)
			if !slices.Contains(v.policies, s) {
				v.policies = append(v.policies, s)
			}
		}
	}
	if v.outcome == isDenied {
		v.grant = "" // it was no use
	}
	return v
}

// exact reports whether an event tells what the plan takes the executables for.
func exact(plan *compiler.Plan, e *abi.Event) bool {
	automaton := plan.Table.ExeIdentity()
	return e.Automaton == 0 || e.Automaton == automaton
}

// facts are what was found out about an operation.
type facts struct {
	told    compiler.Told
	unknown compiler.Uses
	image   *bpf.Image // nil: it does not matter
}

func (f *facts) known(uses compiler.Uses) bool { return uses&f.unknown == 0 }

// examiner finds out what the kernel's programs do not know. One evaluator has
// it.
type examiner struct {
	proc *os.File
	view *image.View
}

func newExaminer(note func(key, text string)) *examiner {
	x := &examiner{}
	var err error
	if x.proc, err = os.Open("/proc"); err == nil {
		x.view, err = image.NewView(x.proc)
	}
	if err != nil {
		note("examiner", fmt.Sprintf("asks: %v: arguments are not known", err))
	}
	return x
}

func (x *examiner) close() {
	if x.view != nil {
		x.view.Close()
	}
	if x.proc != nil {
		x.proc.Close()
	}
}

// never are the facts that are never known: which options of a program take a
// value, and the exact text of executables, which may have been renamed since.
const never = compiler.UsesKeys | compiler.UsesExe | compiler.UsesParent

// learn finds out the facts that are used, as far as it can for certain. An
// execve enters no namespace: of that there is nothing to learn.
func (x *examiner) learn(o *operation, file *os.File, root *rootDir, uses compiler.Uses) *facts {
	f := &facts{unknown: never}
	const ofImage = compiler.UsesArguments | compiler.UsesEnvironment
	if uses.Has(ofImage) {
		if err := x.readImage(o, file, f); err != nil {
			f.unknown |= ofImage
		}
	}
	if uses.Has(compiler.UsesUsername) {
		name, ok := "", false
		if root != nil {
			name, ok = root.user(o.asked.EUID)
		}
		if f.told.Username = name; !ok {
			f.unknown |= compiler.UsesUsername
		}
	}
	if uses.Has(compiler.UsesGroupname) {
		name, ok := "", false
		if root != nil {
			name, ok = root.group(o.asked.EGID)
		}
		if f.told.Groupname = name; !ok {
			f.unknown |= compiler.UsesGroupname
		}
	}
	return f
}

// readImage fills in what the task has passed to execve. The program itself is
// judged by what it was passed, an interpreter by what it will find.
func (x *examiner) readImage(o *operation, held *os.File, f *facts) error {
	if x.view == nil {
		return os.ErrClosed
	}
	call, err := image.Read(x.proc, o.event.TID)
	if err != nil {
		return err
	}
	task := image.Task{View: x.view, PID: int(o.asked.PID), TID: o.event.TID, Known: held}
	img, program, err := image.Predict(call, task)
	if err != nil {
		return err
	}
	here, err := image.FileOf(held)
	if err != nil {
		return err
	}
	args := call.Args
	if here.Device != program.Device || here.Inode != program.Inode {
		args = img.Args
	}
	f.image = &bpf.Image{Argc: len(img.Args), Envc: len(img.Env), Strings: img.Strings()}
	f.arguments(args)
	f.environment(call.Env)
	return nil
}

// arguments are told as Rex has them: what begins with a dash is a flag. Which of
// them are values of others is not known.
func (f *facts) arguments(args []string) {
	for _, token := range args[min(1, len(args)):] {
		f.told.Tokens = append(f.told.Tokens, token)
		if strings.HasPrefix(token, "-") {
			f.told.Flags = append(f.told.Flags, token)
		} else {
			f.told.Positional = append(f.told.Positional, token)
		}
	}
}

// environment is known if every string in it is a variable of its own: what
// programs make of others differs.
func (f *facts) environment(list []string) {
	f.told.Environment = make(map[string]string, len(list))
	for _, s := range list {
		name, value, ok := strings.Cut(s, "=")
		if _, twice := f.told.Environment[name]; twice || !ok || name == "" {
			f.unknown |= compiler.UsesEnvironment
			return
		}
		f.told.Environment[name] = value
	}
}
