package agent

import (
	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/dial"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/reach"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/socket"
	"github.com/stockade-dev/stockade/agent/tripwire"
)

// Client talks to a running agent.
type Client = api.Client

// What verbs need of package api.
type (
	// Status is the agent's.
	Status = api.Status
	// WorkloadStatus is that of one workload.
	WorkloadStatus = api.Workload
	// PolicySet is what Client.Apply takes.
	PolicySet = api.Policy
	// PolicySource is one file of it.
	PolicySource = api.Source
	// Asks are the questions that wait, Answer is one to a question.
	Asks   = api.Asks
	Answer = api.Answer
	// Change is what a change came to.
	Change = api.Change
	// Respond asks to stop a workload, Response is what was verified.
	Respond   = api.Respond
	Response  = api.Response
	Responses = api.Responses
	Step      = api.Step
	// Inspection is what can be known of a workload now; a ProcessDocument is a part of it.
	Inspection      = api.Inspection
	Outside         = api.Outside
	ProcessDocument = inspect.ProcessDocument
	ProcessRecord   = inspect.ProcessRecord
	// Selection says which workloads are meant, by Labels or otherwise.
	Selection = label.Selection
	Labels    = label.Set
	// Lock is one that holds.
	Lock = lock.Lock
	// SocketAbility is what this kernel does of what stopping sockets needs.
	SocketAbility = socket.Ability
	// Host does what is asked of workloads wherever they are held.
	Host = reach.Host
)

// ParseLabels reads labels that are each written as KEY=VALUE.
func ParseLabels(list []string) (Labels, error) { return label.Parse(list) }

// ParseBudget reads beyond how many denials a run is responded to, as "1000/10s=freeze".
func ParseBudget(text string) (*tripwire.Budget, error) { return tripwire.ParseBudget(text) }

// ProbeSockets asks the kernel what it lists and destroys.
func ProbeSockets() (SocketAbility, error) { return socket.Probe() }

// ThisHost is this host, with the agent behind a socket.
func ThisHost(socket string) *Host { return reach.This(socket) }

// What Respond can ask for.
const (
	VerbLockdown = api.VerbLockdown
	VerbFreeze   = api.VerbFreeze
	VerbThaw     = api.VerbThaw
	VerbKill     = api.VerbKill
	VerbUnlock   = api.VerbUnlock
)

// ErrNoAgent is an error about a socket behind which no agent listens.
var ErrNoAgent = api.ErrNoAgent

// ErrUncertain is an error about an agent that went away without an answer.
var ErrUncertain = api.ErrUncertain

// ErrNoMember is an error about a process that is in no workload.
var ErrNoMember = reach.ErrNoMember

// DefaultSocket is where the agent listens, unless its configuration says
// otherwise.
const DefaultSocket = dial.DefaultSocket

// NewClient returns a client of the agent behind a socket.
func NewClient(socket string) *Client { return api.NewClient(socket) }

// Token renders text that a workload may have chosen as one word of a line.
func Token(text string) string { return sink.Token(text) }

// Plural counts things, of which word names one.
func Plural[N int | uint32 | uint64](n N, word string) string { return sink.Plural(n, word) }
