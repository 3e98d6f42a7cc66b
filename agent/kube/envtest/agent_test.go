package envtest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/container"
	"github.com/stockade-dev/stockade/agent/policies"
	"github.com/stockade-dev/stockade/compiler"
)

// fakeAgent answers at a socket as the agent does: it reads the folder by the agent's own
// means, and holds containers under what their templates say.
type fakeAgent struct {
	t      *testing.T
	dir    string
	socket string

	mu     sync.Mutex
	runs   []container.Facts
	denied chan string
}

func newAgent(t *testing.T) *fakeAgent {
	dir := t.TempDir()
	a := &fakeAgent{t: t, dir: dir, socket: filepath.Join(dir, "agent.sock"), denied: make(chan string, 100)}
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(a.status()) })
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case line := <-a.denied:
				fmt.Fprintln(w, line)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				return
			}
		}
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return a
}

// starts has a container run, under the template that selects it then.
func (a *fakeAgent) starts(f container.Facts) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runs = append(a.runs, f)
}

// template is the one of a container, nil for none.
func (a *fakeAgent) template(f container.Facts) *config.Template {
	c, err := config.Parse(filepath.Join(a.dir, "agent.yaml"), []byte("containers_from: kubernetes/containers.yaml\n"))
	if err != nil {
		a.t.Errorf("the agent cannot read the folder: %v", err)
		return nil
	}
	for i := range c.Containers {
		if c.Containers[i].Match.Selects(&f) {
			return &c.Containers[i]
		}
	}
	return nil
}

func (a *fakeAgent) status() (s api.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s.Kernel = "test"
	for _, f := range a.runs {
		t := a.template(f)
		if t == nil || t.Unconfined {
			continue
		}
		in, err := policies.InputOf(&t.Workload)
		if err != nil {
			a.t.Error(err)
			continue
		}
		p, err := compiler.Compile(in)
		if err != nil {
			a.t.Error(err)
			continue
		}
		s.Workloads = append(s.Workloads, api.Workload{Name: t.Name + "." + f.ID, Mode: t.Mode.String(), Digest: p.DigestName(),
			Container: &api.Container{Template: t.Name, ID: f.ID, Name: f.Name, Pod: f.Pod}})
	}
	return s
}
