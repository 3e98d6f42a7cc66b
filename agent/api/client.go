package api

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"

	"github.com/stockade-dev/stockade/agent/dial"
)

// Client talks to the agent behind a socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a client; nothing is connected yet.
func NewClient(socket string) *Client {
	return &Client{socket, http.Client{Transport: dial.Transport(socket)}}
}

// Listens reports whether something listens where the agent does.
func (c *Client) Listens() bool {
	conn, err := net.Dial("unix", c.socket)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// ErrUncertain is an error about an agent that went away without an answer.
var ErrUncertain = errors.New("whether it did anything is not known")

// ErrNoAgent is an error about a socket behind which no agent listens.
var ErrNoAgent = dial.ErrNoAgent

// Status asks for the agent's state.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Apply makes a policy set that of a workload.
func (c *Client) Apply(ctx context.Context, name string, p Policy) (change Change, err error) {
	return change, c.call(ctx, http.MethodPost, workloadPath(name, "policy"), p, &change)
}

// Rollback makes the policy set before the present one that of a workload.
func (c *Client) Rollback(ctx context.Context, name string) (change Change, err error) {
	return change, c.call(ctx, http.MethodPost, workloadPath(name, "rollback"), struct{}{}, &change)
}

// SetMode changes the mode of a workload.
func (c *Client) SetMode(ctx context.Context, name, mode string) (change Change, err error) {
	return change, c.call(ctx, http.MethodPost, workloadPath(name, "mode"), Mode{mode}, &change)
}

// Asks lists the questions that wait.
func (c *Client) Asks(ctx context.Context) (a Asks, err error) {
	return a, c.call(ctx, http.MethodGet, "/v1/asks", nil, &a)
}

// Answer settles a question.
func (c *Client) Answer(ctx context.Context, id string, a Answer) (change Change, err error) {
	return change, c.call(ctx, http.MethodPost, "/v1/asks/"+url.PathEscape(id), a, &change)
}

// Reload makes the agent read its configuration and all policies again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", struct{}{}, nil)
}

// Uninstall ends all enforcement, and the agent.
func (c *Client) Uninstall(ctx context.Context, force bool) (r Removed, err error) {
	return r, c.call(ctx, http.MethodPost, "/v1/uninstall", Uninstall{force}, &r)
}

// Events copies denials to w, an object a line, until ctx ends or the agent
// goes.
func (c *Client) Events(ctx context.Context, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if _, failed := io.WriteString(w, line); failed != nil {
			return failed
		}
		switch {
		case err == nil:
		case ctx.Err() != nil:
			return nil
		default:
			return fmt.Errorf("agent: %w: no more denials are shown; see whether it runs", err)
		}
	}
}

func workloadPath(name, verb string) string {
	return "/v1/workloads/" + url.PathEscape(name) + "/" + verb
}

// do sends a request and returns an answer that is no failure.
func (c *Client) do(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("request: %w: nothing was done", err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, dial.URL(path), body)
	if err != nil {
		return nil, fmt.Errorf("request: %w: nothing was done", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w listens at %s: nothing was done; start it with `stockade agent --config FILE`", ErrNoAgent, c.socket)
		}
		if errors.Is(err, fs.ErrPermission) {
			return nil, fmt.Errorf("agent: %s: permission denied to uid %d: nothing was done; run as root, for example with sudo", c.socket, os.Geteuid())
		}
		var of *url.Error // its address means nothing here
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("agent: %w: %w; see `stockade ps`", err, ErrUncertain)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	said, _ := dial.Body(resp) // a part of it says nothing
	text := cmp.Or(dial.Refusal(said), "agent: "+resp.Status+": nothing was done")
	if resp.StatusCode == http.StatusNotFound {
		return nil, notFound(text)
	}
	return nil, errors.New(text)
}

// notFound is ErrNotFound in the words of the agent.
type notFound string

func (n notFound) Error() string { return string(n) }
func (n notFound) Unwrap() error { return ErrNotFound }

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.do(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("agent: %w: what it did is not known; see `stockade ps`", err)
	}
	return nil
}
