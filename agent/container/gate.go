package container

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"
	"time"

	"github.com/stockade-dev/stockade/agent/dial"
)

// Path is where the agent is asked.
const Path = "/v1/containers"

// again is how long after a failure the agent is asked again.
const again = 100 * time.Millisecond

// Ask asks the agent behind a socket, until it answers or ctx ends. What it did is the same
// however often it is asked.
func Ask(ctx context.Context, socket string, ask *Start) (Started, error) {
	transport := dial.Transport(socket)
	transport.DisableKeepAlives = true
	client := http.Client{Transport: transport}
	text, err := json.Marshal(ask)
	if err != nil {
		return Started{}, fmt.Errorf("%s: %w: nothing was started", ask, err)
	}
	for {
		started, err := askOnce(ctx, &client, text)
		if err == nil || !errors.Is(err, dial.ErrNoAgent) {
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
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, dial.URL(Path), bytes.NewReader(text))
	if err != nil {
		return started, err
	}
	resp, err := client.Do(req)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return started, fmt.Errorf("agent: %w: only root starts containers that it confines: nothing was started; engines without root cannot use it", fs.ErrPermission)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return started, fmt.Errorf("%w listens", dial.ErrNoAgent)
	case err != nil: // it went away, or time is over
		return started, fmt.Errorf("%w answers", dial.ErrNoAgent)
	}
	defer resp.Body.Close()
	body, err := dial.Body(resp)
	if err != nil {
		return started, fmt.Errorf("%w answers to the end", dial.ErrNoAgent)
	}
	if resp.StatusCode != http.StatusOK {
		return started, errors.New(cmp.Or(dial.Refusal(body), fmt.Sprintf("agent: %s: nothing was started; use one build for both", resp.Status)))
	}
	if err := json.Unmarshal(body, &started); err != nil {
		return started, fmt.Errorf("agent: its answer: %w: nothing was started; use one build for both", err)
	}
	return started, nil
}
