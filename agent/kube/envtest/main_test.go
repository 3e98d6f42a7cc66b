// Package envtest tests package kube against an API server. It needs kube-apiserver and etcd in
// $STOCKADE_KUBERNETES/bin: make test-kubernetes.
package envtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/stockade-dev/stockade/agent/kube/v1alpha1"
)

const (
	deploy = "../../../scripts/deploy/kubernetes"
	system = "stockade-system"
)

var (
	admin     client.Client
	strictly  client.Client // refuses fields that are not known, as kubectl does
	installed []*unstructured.Unstructured
	// What the two parts are: each with its own rights alone.
	asNode, asControl *rest.Config
)

func TestMain(m *testing.M) {
	folder := os.Getenv("STOCKADE_KUBERNETES")
	if folder == "" {
		fmt.Println("no test is run: they need an API server; run: make test-kubernetes")
		os.Exit(0)
	}
	os.Exit(run(m, filepath.Join(folder, "bin")))
}

func run(m *testing.M, bin string) int {
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	env := &envtest.Environment{BinaryAssetsDirectory: bin, CRDDirectoryPaths: []string{deploy + "/chart/crds"}, ErrorIfCRDPathMissing: true}
	cfg, err := env.Start()
	if err == nil {
		defer func() { _ = env.Stop() }()
		err = prepare(env, cfg)
	}
	if err != nil {
		fmt.Println("API server:", err)
		return 1
	}
	return m.Run()
}

func prepare(env *envtest.Environment, cfg *rest.Config) error {
	s := runtime.NewScheme()
	err := errors.Join(corev1.AddToScheme(s), eventsv1.AddToScheme(s), rbacv1.AddToScheme(s), admissionv1.AddToScheme(s), v1alpha1.AddToScheme(s))
	if err != nil {
		return err
	}
	if admin, err = client.New(cfg, client.Options{Scheme: s}); err != nil {
		return err
	}
	strictly = client.WithFieldValidation(admin, metav1.FieldValidationStrict)
	if installed, err = manifest(); err != nil {
		return err
	}
	for _, o := range installed {
		if o.GetKind() == "Namespace" || strings.HasPrefix(o.GetAPIVersion(), "rbac.") {
			err = errors.Join(err, admin.Create(context.Background(), o.DeepCopy()))
		}
	}
	for name, to := range map[string]**rest.Config{"stockade-node": &asNode, "stockade-control": &asControl} {
		// As their service accounts would be, which no controller makes here.
		user, failed := env.AddUser(envtest.User{Name: "system:serviceaccount:" + system + ":" + name, Groups: []string{"system:serviceaccounts"}}, cfg)
		if err = errors.Join(err, failed); failed == nil {
			*to = user.Config()
		}
	}
	return err
}

// manifest reads what is installed.
func manifest() (list []*unstructured.Unstructured, err error) {
	file, err := os.Open(filepath.Join(deploy, "stockade.yaml"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	for dec := yaml.NewYAMLOrJSONDecoder(file, 4096); ; {
		o := &unstructured.Unstructured{}
		if err := dec.Decode(o); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			list = append(list, o)
		}
	}
}

// create makes objects, which are removed when the test ends.
func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := admin.Create(t.Context(), o); err != nil {
			t.Fatalf("%T %s: %v", o, o.GetName(), err)
		}
		t.Cleanup(func() { _ = admin.Delete(context.Background(), o, client.GracePeriodSeconds(0)) })
	}
}

// within waits until something is so, and says what is instead.
func within(t *testing.T, limit time.Duration, what string, so func() (bool, string)) {
	t.Helper()
	last := ""
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var is bool
		if is, last = so(); is {
			return
		}
	}
	t.Fatalf("%s: not within %s: %s", what, limit, last)
}

// start runs a part until the test ends.
func start(t *testing.T, what string, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stopped := false
	stop = func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-done; err != nil && !strings.Contains(err.Error(), "context canceled") {
			t.Errorf("%s: %v", what, err)
		}
	}
	t.Cleanup(stop)
	return stop
}
