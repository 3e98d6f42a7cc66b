package kube

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/cert-controller/pkg/rotator"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// ControlOptions say how the part that is one in the cluster is reached.
type ControlOptions struct {
	// Namespace is where its Secret and its Lease are. Secret keeps the certificate, which is
	// made, and made anew before it expires, and whose authority is put into the
	// ValidatingWebhookConfiguration of the name Webhook.
	Namespace, Secret, Webhook string
	// Names are those under which the API server reaches it, the first its service's.
	Names []string
	Host  string // to listen at, "" is all addresses
	Port  int
	// Certificates is a folder of its own for a copy of the Secret.
	Certificates string
	// Metrics and Probes are addresses to listen at, "0" for none.
	Metrics, Probes string
	// Alone: there is no other, so none is elected.
	Alone bool
}

const controlName = "stockade-control"

// RunControl judges policies, and sums up what nodes tell, until ctx ends. Of several the one
// that is elected writes statuses; all judge.
func RunControl(ctx context.Context, cfg *rest.Config, o ControlOptions) error {
	m, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Controller: several, Metrics: metricsserver.Options{BindAddress: o.Metrics}, HealthProbeBindAddress: o.Probes,
		Cache:          cache.Options{DefaultTransform: slim},
		Client:         client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
		LeaderElection: !o.Alone, LeaderElectionID: controlName, LeaderElectionNamespace: o.Namespace, LeaderElectionReleaseOnCancel: true,
		WebhookServer: webhook.NewServer(webhook.Options{Host: o.Host, Port: o.Port, CertDir: o.Certificates}),
	})
	if err != nil {
		return fmt.Errorf("cluster: %w: nothing is done; check the address and the certificate", err)
	}
	c := &control{ControlOptions: o, manager: m}
	if err := errors.Join(c.certify(ctx), (&summary{client: m.GetClient(), checked: map[string]verdict{}}).join(m)); err != nil {
		return err
	}
	if err := m.AddHealthzCheck("alive", func(*http.Request) error { return nil }); err != nil {
		return err
	}
	if err := m.AddReadyzCheck("judges", func(r *http.Request) error {
		if !c.judges.Load() {
			return errors.New("certificate: not ready yet")
		}
		return m.GetWebhookServer().StartedChecker()(r)
	}); err != nil {
		return err
	}
	return m.Start(ctx)
}

// rotators counts those of this process, of which each has a name of its own.
var rotators atomic.Int32

type control struct {
	ControlOptions
	manager manager.Manager
	judges  atomic.Bool // the webhook was set up
}

// certify has the certificate made and renewed, and then policies judged.
func (c *control) certify(ctx context.Context) error {
	key := types.NamespacedName{Namespace: c.Namespace, Name: c.Secret}
	ready := make(chan struct{})
	// Who makes certificates gives up where there is nothing to keep them in.
	if err := c.makeSecret(ctx, key); err != nil {
		return fmt.Errorf("certificate: %w: no policy is judged", err)
	}
	err := rotator.AddRotator(c.manager, &rotator.CertRotator{
		SecretKey: key, CertDir: c.Certificates, IsReady: ready, EnableReadinessCheck: true,
		ControllerName: fmt.Sprintf("certificate-%d", rotators.Add(1)),
		CAName:         controlName, CAOrganization: "stockade", DNSName: c.Names[0], ExtraDNSNames: c.Names[1:],
		Webhooks: []rotator.WebhookInfo{{Name: c.Webhook, Type: rotator.Validating}},
	})
	if err != nil {
		return fmt.Errorf("certificate: %w: no policy is judged", err)
	}
	if err := c.manager.Add(everywhere(func(ctx context.Context) error { return c.copySecret(ctx, key) })); err != nil {
		return err
	}
	return c.manager.Add(everywhere(func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-ready:
		}
		c.manager.GetWebhookServer().Register(judgePath, &webhook.Admission{Handler: newJudge()})
		c.judges.Store(true)
		return nil
	}))
}

// everywhere is what runs whether one is elected or not.
type everywhere func(context.Context) error

// Start runs it.
func (e everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection is false.
func (everywhere) NeedLeaderElection() bool { return false }

// copySecret keeps a copy of the Secret in the folder: a volume would come a minute later. It
// makes the Secret, which is filled by who makes certificates.
func (c *control) copySecret(ctx context.Context, key types.NamespacedName) error {
	log := ctrl.LoggerFrom(ctx).WithName("certificate")
	f := folder{dir: c.Certificates}
	for {
		wait := time.Second
		var secret corev1.Secret
		err := c.manager.GetAPIReader().Get(ctx, key, &secret)
		if apierrors.IsNotFound(err) {
			err = c.makeSecret(ctx, key)
		}
		for _, name := range []string{"ca.crt", "tls.key", "tls.crt"} {
			text, there := secret.Data[name]
			if err != nil || !there {
				continue
			}
			if _, err = f.put(name, text); err == nil && name == "tls.crt" {
				wait = 10 * time.Second
			}
		}
		if err != nil && ctx.Err() == nil {
			log.Error(err, "the certificate that is used may be an old one")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// makeSecret makes the Secret, if there is none.
func (c *control) makeSecret(ctx context.Context, key types.NamespacedName) error {
	err := c.manager.GetClient().Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
