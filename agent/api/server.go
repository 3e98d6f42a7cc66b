package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/dial"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Backend does what is asked for.
type Backend interface {
	Responder
	Locker
	Apply(name string, p Policy) (Change, error)
	Rollback(name string) (Change, error)
	SetMode(name, mode string) (Change, error)
	Asks() (Asks, error)
	Answer(id string, a Answer) (Change, error)
	Reload() error
	Uninstall(force bool) (Removed, error)
	// Subscribe returns a channel of denials, one JSON object each, and how to
	// end it.
	Subscribe() (lines <-chan string, end func())
	Runs
	Containers
	// Metrics serves the figures of the agent and its workloads.
	Metrics() http.Handler
}

// ErrNotFound is an error about a name that no workload has.
var ErrNotFound = errors.New("no such workload")

// Peer is who is at the other end of a connection.
type Peer struct {
	PID int
	UID uint32
}

// maxBody bounds what a request may hold: a large policy set.
const maxBody = 64 << 20

// maxConnections bounds the connections at once; each run keeps one.
const maxConnections = 512

type peerKey struct{}

// NewServer returns a server for a unix socket. allow refuses peers: its error
// is what they are told.
func NewServer(b Backend, allow func(Peer) error) *http.Server {
	mux := http.NewServeMux()
	routeResponder(mux, b)
	routeLocker(mux, b)
	mux.HandleFunc("POST /v1/workloads/{name}/policy", asked(func(r *http.Request, p Policy) (any, error) {
		return b.Apply(r.PathValue("name"), p)
	}))
	mux.HandleFunc("POST /v1/workloads/{name}/rollback", func(w http.ResponseWriter, r *http.Request) {
		change, err := b.Rollback(r.PathValue("name"))
		answer(w, change, err)
	})
	mux.HandleFunc("POST /v1/workloads/{name}/mode", asked(func(r *http.Request, m Mode) (any, error) {
		return b.SetMode(r.PathValue("name"), m.Mode)
	}))
	mux.HandleFunc("GET /v1/asks", func(w http.ResponseWriter, r *http.Request) {
		asks, err := b.Asks()
		answer(w, asks, err)
	})
	mux.HandleFunc("POST /v1/asks/{id}", asked(func(r *http.Request, a Answer) (any, error) {
		return b.Answer(r.PathValue("id"), a)
	}))
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, b.Reload())
	})
	mux.HandleFunc("POST /v1/uninstall", asked(func(r *http.Request, u Uninstall) (any, error) {
		return b.Uninstall(u.Force)
	}))
	mux.HandleFunc("GET /v1/events", func(w http.ResponseWriter, r *http.Request) { stream(w, r, b) })
	routeRuns(mux, b)
	routeContainers(mux, b)
	mux.Handle("GET /metrics", b.Metrics())
	return serverOf(mux, allow)
}

// serverOf returns a server that knows who asks.
func serverOf(mux http.Handler, allow func(Peer) error) *http.Server {
	return &http.Server{
		Handler: guard(mux, allow),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			peer, err := peerOf(c)
			if err != nil {
				return ctx // guard finds no peer
			}
			return context.WithValue(ctx, peerKey{}, peer)
		},
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
}

// peerIn returns who asks: guard saw to it that it is known.
func peerIn(r *http.Request) Peer {
	peer, _ := r.Context().Value(peerKey{}).(Peer)
	return peer
}

// guard lets requests of allowed peers through.
func guard(next http.Handler, allow func(Peer) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := r.Context().Value(peerKey{}).(Peer)
		err := errors.New("peer: unknown: nothing was done; connect to the unix socket")
		if ok {
			err = allow(peer)
		}
		if err != nil {
			write(w, http.StatusForbidden, dial.Failure{Error: err.Error()})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// peerOf asks the kernel who connected.
func peerOf(c net.Conn) (Peer, error) {
	conn, ok := c.(syscall.Conn)
	if !ok {
		return Peer{}, fmt.Errorf("%T: no unix socket", c)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return Peer{}, err
	}
	if failed != nil {
		return Peer{}, failed
	}
	return Peer{int(cred.Pid), cred.Uid}, nil
}

// asked answers a request whose body is a T.
func asked[T any](do func(r *http.Request, in T) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		if decode(w, r, &in) {
			out, err := do(r, in)
			answer(w, out, err)
		}
	}
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil && dec.More() {
		err = errors.New("more than one value")
	}
	if err != nil {
		write(w, http.StatusBadRequest, dial.Failure{Error: fmt.Sprintf("request: %v: nothing was done; see agent/api", err)})
	}
	return err == nil
}

func answer(w http.ResponseWriter, v any, err error) {
	if fault.At("agent.answer") != nil {
		panic(http.ErrAbortHandler) // as if the peer could not be reached
	}
	switch {
	case errors.Is(err, ErrNotFound), errors.Is(err, lock.ErrNone):
		write(w, http.StatusNotFound, dial.Failure{Error: err.Error()})
	case err != nil:
		write(w, http.StatusConflict, dial.Failure{Error: err.Error()})
	default:
		write(w, http.StatusOK, v)
	}
}

func write(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the peer may be gone
}

// stream writes denials until the peer or the agent goes.
func stream(w http.ResponseWriter, r *http.Request, b Backend) {
	lines, end := b.Subscribe()
	defer end()
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	_ = control.Flush()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return
			}
			if _, err := io.WriteString(w, line+"\n"); err != nil || control.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// Listen makes the socket, for root alone. What an earlier agent left is
// replaced: the caller holds the lock that keeps two agents apart.
func Listen(path string) (net.Listener, error) {
	if err := unix.Unlink(path); err != nil && err != unix.ENOENT {
		return nil, fmt.Errorf("socket %s: %w: the agent cannot be reached; name another", path, err)
	}
	if err := fault.At("agent.listen"); err != nil {
		return nil, fmt.Errorf("socket %s: %w: the agent cannot be reached; name another", path, err)
	}
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", path)
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket %s: %w: the agent cannot be reached; name another", path, err)
	}
	return &bounded{Listener: l, slots: make(chan struct{}, maxConnections)}, nil
}

// bounded keeps connections beyond a number waiting.
type bounded struct {
	net.Listener
	slots chan struct{}
}

// Accept returns the next connection once there is room for it.
func (b *bounded) Accept() (net.Conn, error) {
	b.slots <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.slots
		return nil, err
	}
	conn, ok := c.(*net.UnixConn)
	if !ok {
		<-b.slots
		return nil, errors.Join(fmt.Errorf("%T: no unix socket", c), c.Close())
	}
	return &counted{UnixConn: conn, slots: b.slots}, nil
}

// counted gives its slot back when it is closed.
type counted struct {
	*net.UnixConn
	once  sync.Once
	slots chan struct{}
}

// Close closes the connection.
func (c *counted) Close() error {
	c.once.Do(func() { <-c.slots })
	return c.UnixConn.Close()
}
