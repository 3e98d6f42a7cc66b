package kube

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stockade-dev/stockade/agent/dial"
)

// DefaultSocket is where the agent listens, unless its configuration says otherwise.
const DefaultSocket = dial.DefaultSocket

// Config says how the cluster is reached: as a file says, or, without one, as a pod does.
func Config(file string) (*rest.Config, error) {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, nil)))
	var cfg *rest.Config
	var err error
	if file == "" {
		cfg, err = rest.InClusterConfig()
	} else {
		cfg, err = clientcmd.BuildConfigFromFlags("", file)
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: %w: nothing is done; run it as a pod, or name a --kubeconfig", err)
	}
	return cfg, nil
}
