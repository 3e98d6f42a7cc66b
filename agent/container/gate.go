package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"
	"time"
)

// Path is where the agent is asked.
const Path = "/v1/containers"

// again is how long after a failure the agent is asked again.
const again = 100 * time.Millisecond

// Ask asks the agent behind a socket, until it answers or ctx ends. What it did is the same
// however often it is asked.
func Ask(ctx context.Context, socket string, ask *Start) (Started, error) {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	text, err := json.Marshal(ask)
	if err != nil {
		return Started{}, fmt.Errorf("%s: %w: nothing was started", ask, err)
	}
	for {
		started, err := askOnce(ctx, &client, text)
		if err == nil || !errors.Is(err, ErrNoAgent) {
			return started, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
		if ctx.Err() != nil { // a call that has no time says another thing
			return started, fmt.Errorf("%s: %w at %s: %s was not started; start it with `stockade agent`, and see its log", ask, err, socket, ask.Short())
		}
	}
}

func askOnce(ctx context.Context, client *http.Client, text []byte) (started Started, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent"+Path, bytes.NewReader(text))
	if err != nil {
		return started, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return started, fmt.Errorf("agent: %w: only root starts containers that it confines: nothing was started; engines without root cannot use it", fs.ErrPermission)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return started, fmt.Errorf("%w listens", ErrNoAgent)
	case err != nil: // it went away, or time is over
		return started, fmt.Errorf("%w answers", ErrNoAgent)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return started, fmt.Errorf("%w answers to the end", ErrNoAgent)
	}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &started); err != nil {
			return started, fmt.Errorf("agent: its answer: %w: nothing was started; use one build for both", err)
		}
		return started, nil
	}
	var failure struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &failure) != nil || failure.Error == "" {
		failure.Error = fmt.Sprintf("agent: %s: nothing was started; use one build for both", resp.Status)
	}
	return started, errors.New(failure.Error)
}
