package api

import (
	"net/http"

	"github.com/stockade-dev/stockade/agent/container"
)

// Containers is the part of the backend that is about containers.
type Containers interface {
	// StartContainer says whether a container may start, and confines one whose process is
	// prepared: however often it is asked for.
	StartContainer(ask container.Start) (container.Started, error)
}

// routeContainers adds what the wrapper of a runtime asks for.
func routeContainers(mux *http.ServeMux, b Containers) {
	mux.HandleFunc("POST "+container.Path, asked(func(_ *http.Request, ask container.Start) (any, error) {
		return b.StartContainer(ask)
	}))
}
