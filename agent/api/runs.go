package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/stockade-dev/stockade/agent/label"
	"github.com/stockade-dev/stockade/agent/tripwire"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Run asks the agent to hold the workload of a `stockade run`. Who asks is the
// run itself: its root directory becomes that of the workload.
type Run struct {
	Name string `json:"name"`
	// Cgroup is the id of the run's group, new and empty, of that name.
	Cgroup    uint64     `json:"cgroup"`
	Sources   []Text     `json:"sources"`
	Entities  *Text      `json:"entities,omitempty"`
	Principal string     `json:"principal"`
	Handled   uint64     `json:"handled"`
	Mode      string     `json:"mode"`
	Strict    bool       `json:"strict,omitempty"`
	Grants    abi.Grants `json:"grants,omitzero"`
	Digest    string     `json:"policy_digest"` // of the plan that the run made of them
	// Labels select it, beside its principal.
	Labels label.Set `json:"labels,omitempty"`
	// Budget is beyond how many denials it is responded to.
	Budget *tripwire.Budget `json:"budget,omitempty"`
	// Acknowledges says that the run tells what it dealt with: RunTaken. Until then the
	// agent keeps what it handed over.
	Acknowledges bool `json:"acknowledges,omitempty"`
}

// Text is a file, byte for byte.
type Text struct {
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// RunLine is one line of what the agent tells a run: first Started, then
// denials and notes, and at last End.
type RunLine struct {
	Started *RunStarted `json:"started,omitempty"`
	Denial  *RunDenial  `json:"denial,omitempty"`
	// Note is what else it is to know: who stopped it. One of an earlier build passes it
	// over.
	Note string  `json:"note,omitempty"`
	End  *RunEnd `json:"end,omitempty"`
}

// RunStarted says that the run's group is confined.
type RunStarted struct {
	Generation uint32   `json:"generation"`
	Gaps       []string `json:"gaps,omitempty"`
}

// RunDenial is one denial. What a workload may have chosen is carried byte for
// byte: JSON's text cannot.
type RunDenial struct {
	abi.Event
	Comm, Path, Dest, Exe, Xattr []byte
	// Policies are the ids of those that the agent's answer rests on, if the
	// denial is one.
	Policies []string `json:"policies,omitempty"`
}

// NewRunDenial returns the form that e has on the wire.
func NewRunDenial(e *abi.Event) *RunDenial {
	return &RunDenial{Event: *e, Comm: []byte(e.Comm), Path: []byte(e.Path), Dest: []byte(e.Dest), Exe: []byte(e.Exe), Xattr: []byte(e.Xattr)}
}

// Unpack undoes NewRunDenial.
func (d *RunDenial) Unpack() abi.Event {
	e := d.Event
	e.Comm, e.Path, e.Dest, e.Exe, e.Xattr = string(d.Comm), string(d.Path), string(d.Dest), string(d.Exe), string(d.Xattr)
	return e
}

// RunEnd is the account of a run that is over.
type RunEnd struct {
	Counters abi.Counters `json:"counters"`
	// Missed counts denials that the agent read and that the run was too slow
	// to take.
	Missed uint64 `json:"missed"`
}

// RunTaken is what a run dealt with in its life, by whatever agents it was handed over.
type RunTaken struct {
	Denials uint64 `json:"denials"`
	Lost    uint64 `json:"lost"` // of these, those that it could not write
	Told    uint64 `json:"told"` // of the lost, those that an agent was told of
	Last    uint64 `json:"last"` // the sequence number of the last
}

// Runs is the part of the backend that is about runs.
type Runs interface {
	// StartRun confines the group of a run.
	StartRun(peer Peer, r Run) (RunStarted, error)
	// AttachRun is for a run whose agent died: it takes what the next one has. taken is
	// nil for a run that does not tell.
	AttachRun(name string, taken *RunTaken) (RunStarted, error)
	// TakenByRun is what a run dealt with so far.
	TakenByRun(name string, taken RunTaken) error
	// FollowRun hands denials of a run to write, some at a time, until the run
	// is over and dealt with all, or ctx or write ends it.
	FollowRun(ctx context.Context, name string, write func([]RunLine) error)
	// EndRun says that nothing of the run lives any more.
	EndRun(name string) error
}

// routeRuns adds what runs ask for.
func routeRuns(mux *http.ServeMux, b Runs) {
	mux.HandleFunc("POST /v1/runs", func(w http.ResponseWriter, r *http.Request) {
		var run Run
		if !decode(w, r, &run) {
			return
		}
		started, err := b.StartRun(peerIn(r), run)
		if err != nil {
			answer(w, nil, err)
			return
		}
		follow(w, r, b, run.Name, started)
	})
	attach := func(w http.ResponseWriter, r *http.Request, taken *RunTaken) {
		name := r.PathValue("name")
		started, err := b.AttachRun(name, taken)
		if err != nil {
			answer(w, nil, err)
			return
		}
		follow(w, r, b, name, started)
	}
	mux.HandleFunc("GET /v1/runs/{name}", func(w http.ResponseWriter, r *http.Request) {
		attach(w, r, nil) // of an earlier build
	})
	mux.HandleFunc("POST /v1/runs/{name}", func(w http.ResponseWriter, r *http.Request) {
		var taken RunTaken
		if decode(w, r, &taken) {
			attach(w, r, &taken)
		}
	})
	mux.HandleFunc("PUT /v1/runs/{name}/taken", func(w http.ResponseWriter, r *http.Request) {
		var taken RunTaken
		if decode(w, r, &taken) {
			answer(w, struct{}{}, b.TakenByRun(r.PathValue("name"), taken))
		}
	})
	mux.HandleFunc("DELETE /v1/runs/{name}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, b.EndRun(r.PathValue("name")))
	})
}

// follow writes lines until the run is over or its connection closed.
func follow(w http.ResponseWriter, r *http.Request, b Runs, name string, started RunStarted) {
	w.Header().Set("Content-Type", "application/jsonl")
	control := http.NewResponseController(w)
	write := func(lines []RunLine) error {
		for i := range lines {
			if err := WriteRunLine(w, &lines[i]); err != nil {
				return err
			}
		}
		return control.Flush()
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	if write([]RunLine{{Started: &started}}) != nil {
		cancel() // FollowRun learns that nobody listens
	}
	b.FollowRun(ctx, name, write)
}

// WriteRunLine writes one line.
func WriteRunLine(w io.Writer, line *RunLine) error {
	text, err := json.Marshal(line)
	if err == nil {
		_, err = w.Write(append(text, '\n'))
	}
	return err
}

// RunStream is what a client reads of its run.
type RunStream struct {
	Started RunStarted
	body    io.ReadCloser
	lines   *json.Decoder
}

// StartRun asks for a run. Closing the stream ends what the agent does for it.
func (c *Client) StartRun(ctx context.Context, r Run) (*RunStream, error) {
	return c.stream(ctx, http.MethodPost, "/v1/runs", r)
}

// AttachRun takes up a run that an earlier agent held.
func (c *Client) AttachRun(ctx context.Context, name string, taken RunTaken) (*RunStream, error) {
	return c.stream(ctx, http.MethodPost, "/v1/runs/"+url.PathEscape(name), taken)
}

// TakenByRun tells what a run dealt with.
func (c *Client) TakenByRun(ctx context.Context, name string, taken RunTaken) error {
	return c.call(ctx, http.MethodPut, "/v1/runs/"+url.PathEscape(name)+"/taken", taken, nil)
}

// EndRun says that nothing of the run lives any more; the stream then ends.
func (c *Client) EndRun(ctx context.Context, name string) error {
	return c.call(ctx, http.MethodDelete, "/v1/runs/"+url.PathEscape(name), nil, nil)
}

func (c *Client) stream(ctx context.Context, method, path string, in any) (*RunStream, error) {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	s := &RunStream{body: resp.Body, lines: json.NewDecoder(resp.Body)}
	first, err := s.Next()
	if err == nil && first.Started == nil {
		err = errors.New("agent: no start of a run: nothing was started; use the agent's own build")
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	s.Started = *first.Started
	return s, nil
}

// Next waits for the next line.
func (s *RunStream) Next() (line RunLine, err error) {
	if err := s.lines.Decode(&line); err != nil {
		return line, fmt.Errorf("agent: %w: its stream ended", err)
	}
	return line, nil
}

// Close ends the stream.
func (s *RunStream) Close() error { return s.body.Close() }
