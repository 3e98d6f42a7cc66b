// Package dial is how the agent is reached: where it listens, and what its refusals look like.
package dial

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
)

// DefaultSocket is where the agent listens, unless its configuration says otherwise.
const DefaultSocket = "/run/stockade/agent.sock"

// ErrNoAgent is an error about a socket behind which no agent answers.
var ErrNoAgent = errors.New("no agent")

// URL is the address of a path of the agent's, behind whatever socket.
func URL(path string) string { return "http://agent" + path }

// Transport reaches the agent behind a socket; nothing is connected yet.
func Transport(socket string) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
}

// Failure is the body of an answer that is an error.
type Failure struct {
	Error string `json:"error"`
}

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 1 << 20

// Body reads an answer to its end.
func Body(resp *http.Response) ([]byte, error) {
	return io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
}

// Refusal is what the body of a failure says, for people; "" if it is none.
func Refusal(body []byte) string {
	var f Failure
	if json.Unmarshal(body, &f) != nil {
		return ""
	}
	return f.Error
}
