package kube

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/stockade-dev/stockade/agent/kube/plan"
	"github.com/stockade-dev/stockade/agent/sink"
)

// How often what is told of at most, and what is remembered of that.
const (
	tellAgain = 5 * time.Minute
	maxTold   = 4096
	maxNote   = 1024 // of an Event, by its API
)

// denial is what is read of one, as the agent's socket tells it.
type denial struct {
	Type     string        `json:"type"`
	Workload string        `json:"workload"`
	Mode     string        `json:"mode"`
	Actions  []string      `json:"actions"`
	Path     string        `json:"path"`
	Exe      string        `json:"exe"`
	Reason   string        `json:"reason"`
	Policies []sink.Policy `json:"policies"`
}

// denials makes Events of denials until ctx ends: for each pod at most one a policy in some
// minutes. What follows within them is in the agent's log alone.
func (n *node) denials(ctx context.Context) error {
	t := teller{node: n, told: map[string]time.Time{}}
	for ctx.Err() == nil {
		// No agent, or one that went: it comes again, and status says so meanwhile.
		_ = n.agent.Events(ctx, lineWriter(func(line []byte) { t.line(ctx, line) }))
		select {
		case <-ctx.Done():
		case <-time.After(n.every / 5):
		}
	}
	return nil
}

// lineWriter gets whole lines, as the agent's client writes them.
type lineWriter func(line []byte)

// Write takes lines.
func (w lineWriter) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		w(line)
	}
	return len(text), nil
}

// teller remembers what was told.
type teller struct {
	*node
	told map[string]time.Time // by pod and policy
}

// line tells of a denial, if it was not told of just now.
func (t *teller) line(ctx context.Context, line []byte) {
	var d denial
	if json.Unmarshal(line, &d) != nil || d.Type != "denial" {
		return
	}
	c := t.container(d.Workload)
	if c == nil {
		return
	}
	ids := []string{""} // no policy permits it
	if len(d.Policies) > 0 {
		ids = nil
	}
	for _, p := range d.Policies {
		ids = append(ids, p.ID)
	}
	for _, id := range ids {
		of := ""
		if ref, ok := plan.ParseRef(id); ok {
			of = ref.String()
		}
		if key := c.Namespace + "/" + c.Pod + "/" + c.UID + " " + of; t.may(key, time.Now()) {
			if err := t.tellOf(ctx, c, &d, id); err != nil && ctx.Err() == nil {
				ctrl.LoggerFrom(ctx).Error(err, "no Event tells of a denial", "pod", c.Namespace+"/"+c.Pod)
				delete(t.told, key)
			}
		}
	}
}

// may reports whether something may be told, and then notes that it is.
func (t *teller) may(key string, now time.Time) bool {
	if last, told := t.told[key]; told && now.Sub(last) < tellAgain {
		return false
	}
	if len(t.told) >= maxTold {
		for k, last := range t.told {
			if now.Sub(last) >= tellAgain {
				delete(t.told, k)
			}
		}
		if len(t.told) >= maxTold {
			return false
		}
	}
	t.told[key] = now
	return true
}

// container finds whose workload one is, by its template, whose name it begins with.
func (n *node) container(workload string) *plan.Container {
	template, _, _ := strings.Cut(workload, ".")
	p, _ := n.now()
	if p == nil {
		return nil
	}
	for i := range p.Containers {
		if p.Containers[i].Template == template {
			return &p.Containers[i]
		}
	}
	return nil
}

// tellOf makes an Event on the pod of a container.
func (t *teller) tellOf(ctx context.Context, c *plan.Container, d *denial, policy string) error {
	var pod corev1.Pod
	if err := t.client.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: c.Pod}, &pod); err != nil {
		return err
	}
	return t.client.Create(ctx, &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "stockade-", Namespace: c.Namespace},
		EventTime:  metav1.NowMicro(), ReportingController: "stockade.dev/node", ReportingInstance: t.Node,
		Regarding: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
			FieldPath: "spec.containers{" + c.Name + "}"},
		Type: corev1.EventTypeWarning, Action: "Access", Reason: reasonOf(d), Note: noteOf(c, d, policy),
	})
}

func reasonOf(d *denial) string {
	if d.Mode == "audit" {
		return "WouldDeny"
	}
	return "Denied"
}

// noteOf says what was denied. All that the container may have chosen is escaped.
func noteOf(c *plan.Container, d *denial, policy string) string {
	why := sink.Token(d.Reason)
	if policy != "" {
		why = "policy " + sink.Token(policy)
	} else if d.Reason != "" {
		why = strings.Trim(why, `"`)
	}
	note := fmt.Sprintf("container %s: %s %s by %s: %s (further ones in the next minutes are in the agent's log)", c.Name,
		strings.Join(d.Actions, ","), sink.Token(d.Path), cmp.Or(sink.Token(d.Exe), "?"), why)
	if len(note) > maxNote {
		const cut = "…"
		note = strings.ToValidUTF8(note[:maxNote-len(cut)], "") + cut
	}
	return note
}
