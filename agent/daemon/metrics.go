package daemon

import (
	"maps"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/bpf/abi"
)

// Build names the build that metrics tell of; its main sets it.
var Build = struct{ Version, Commit string }{"unknown", "unknown"}

// allRuns stands for every run in a label: their names are new each time, and
// there would be no end of them. No workload can have this name.
const allRuns = "(runs)"

// likeOf stands likewise for the containers of a template, or of the pods of a namespace, each
// of which may have a template of its own.
func likeOf(template, pod string) string {
	if namespace, _, of := strings.Cut(pod, "/"); of {
		return "(pods of " + namespace + ")"
	}
	return "(containers of " + template + ")"
}

// ephemeral is what a workload is counted under when it is gone, with others like it; "":
// under nothing.
func (w *workload) ephemeral() string {
	switch {
	case w.run != nil:
		return allRuns
	case w.memory.Container != nil:
		return likeOf(w.memory.Container.Template, w.memory.Container.Facts.Pod)
	default:
		return ""
	}
}

// figures are what the agent counts of itself.
type figures struct {
	answered, reloads, refused atomic.Uint64
	lastReload                 atomic.Int64 // Unix time
	reasons                    [64]atomic.Uint64

	mu   sync.Mutex
	sums map[string]api.Workload // of those that were released, by what they are counted under
}

// event counts a denial that was read.
func (f *figures) event(e *abi.Event) { f.reasons[min(int(e.Reason), len(f.reasons)-1)].Add(1) }

// reload counts one that ended.
func (f *figures) reload(err error) {
	if err != nil {
		f.refused.Add(1)
		return
	}
	f.reloads.Add(1)
	f.lastReload.Store(time.Now().Unix())
}

// ended adds what a run or a container came to. Who calls it holds mu.
func (f *figures) ended(under string, c abi.Counters, delivered, lost uint64) {
	if f.sums == nil {
		f.sums = map[string]api.Workload{}
	}
	f.sums[under] = add(f.sums[under], api.Workload{Allowed: c.Allowed, Denied: c.Denied, Dropped: c.Dropped, Lost: lost, Delivered: delivered})
}

// add adds what is counted of two.
func add(a, b api.Workload) api.Workload {
	a.Allowed += b.Allowed
	a.Denied += b.Denied
	a.Delivered += b.Delivered
	a.Dropped += b.Dropped
	a.Lost += b.Lost
	a.Tasks += b.Tasks
	a.Cgroups = append(a.Cgroups, b.Cgroups...)
	return a
}

// describe returns the description of a metric.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("stockade_"+name, help, labels, nil)
}

// What there is of each workload, and of all runs together.
var (
	descAllowed    = describe("allowed_total", "Operations that were allowed.", "workload")
	descDenied     = describe("denied_total", "Operations that were denied, or would be in audit mode.", "workload")
	descDelivered  = describe("delivered_total", "Denials that were written to a log or shown to their run.", "workload")
	descDropped    = describe("dropped_total", "Denials whose event found no room in the ring.", "workload")
	descLost       = describe("lost_total", "Denials that were read and could not be written.", "workload")
	descTaken      = describe("sink_taken_total", "Denials that a sink beside the log took.", "workload", "sink")
	descSinkLost   = describe("sink_lost_total", "Denials that a sink beside the log did not take.", "workload", "sink")
	descTasks      = describe("tasks", "Living tasks.", "workload")
	descCgroups    = describe("cgroups", "Outermost cgroups.", "workload")
	descGeneration = describe("generation", "Number of the installed plan.", "workload")
	descWorkload   = describe("workload_info", "Always 1.", "workload", "mode", "origin", "policy_digest")
)

// What there is of the agent.
var (
	descBuild     = describe("build_info", "Always 1.", "version", "commit", "goversion", "kernel_side")
	descStart     = describe("start_time_seconds", "When the agent started, Unix time.")
	descReloads   = describe("reloads_total", "Reloads of the configuration by result.", "result")
	descReloaded  = describe("last_reload_success_seconds", "When the configuration was last followed, Unix time.")
	descConfig    = describe("config_ok", "1 if the last reload was followed, 0 if it changed nothing or not all.")
	descWaiting   = describe("asks_waiting", "Questions that wait for an answer.")
	descAnswered  = describe("asks_answered_total", "Questions that were answered.")
	descForgotten = describe("asks_forgotten_total", "Questions that had to make room.")
	descTables    = describe("tables_bytes", "Kernel memory for the tables of all workloads, and what of it is used.", "state")
	descEvents    = describe("events_total", "Denials that were read, by reason.", "reason")
	descRuns      = describe("runs", "Runs that the agent holds.")

	descContainers = describe("containers", "Containers that the agent holds.")
)

// collector asks the daemon anew at each scrape.
type collector struct{ d *Daemon }

// Describe describes nothing: what there is depends on the workloads.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c collector) Collect(to chan<- prometheus.Metric) {
	f := c.d.figures
	f.mu.Lock() // a run is among the living or among the sums
	s, err := c.d.Status()
	sums := maps.Clone(f.sums)
	f.mu.Unlock()
	if err != nil {
		to <- prometheus.NewInvalidMetric(descWorkload, err)
		return
	}
	c.workloads(to, s, sums)
	c.agent(to, s)
}

// put sends one value.
func put(to chan<- prometheus.Metric, kind prometheus.ValueType, desc *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
}

func (c collector) workloads(to chan<- prometheus.Metric, s api.Status, sums map[string]api.Workload) {
	if sums == nil {
		sums = map[string]api.Workload{}
	}
	sums[allRuns] = sums[allRuns] // always told
	living := map[string]int{}
	for _, w := range s.Workloads {
		under := allRuns
		if w.Container != nil {
			under = likeOf(w.Container.Template, w.Container.Pod)
		}
		if w.Origin != fromRun && w.Container == nil {
			counts(to, w, len(w.Cgroups))
			put(to, prometheus.GaugeValue, descGeneration, float64(w.Generation), w.Name)
			put(to, prometheus.GaugeValue, descWorkload, 1, w.Name, w.Mode, w.Origin, w.Digest)
			for _, s := range w.Sinks {
				put(to, prometheus.CounterValue, descTaken, float64(s.Taken), w.Name, s.Name)
				put(to, prometheus.CounterValue, descSinkLost, float64(s.Lost), w.Name, s.Name)
			}
			continue
		}
		living[under]++
		sums[under] = add(sums[under], w)
	}
	containers := 0
	for name, sum := range sums {
		sum.Name = name
		counts(to, sum, len(sum.Cgroups))
		if name != allRuns {
			containers += living[name]
		}
	}
	put(to, prometheus.GaugeValue, descRuns, float64(living[allRuns]))
	put(to, prometheus.GaugeValue, descContainers, float64(containers))
}

// counts sends what is counted of one workload.
func counts(to chan<- prometheus.Metric, w api.Workload, groups int) {
	for desc, value := range map[*prometheus.Desc]uint64{descAllowed: w.Allowed, descDenied: w.Denied,
		descDelivered: w.Delivered, descDropped: w.Dropped, descLost: w.Lost} {
		put(to, prometheus.CounterValue, desc, float64(value), w.Name)
	}
	put(to, prometheus.GaugeValue, descTasks, float64(w.Tasks), w.Name)
	put(to, prometheus.GaugeValue, descCgroups, float64(groups), w.Name)
}

func (c collector) agent(to chan<- prometheus.Metric, s api.Status) {
	f := c.d.figures
	put(to, prometheus.GaugeValue, descBuild, 1, Build.Version, Build.Commit, runtime.Version(), s.Kernel)
	put(to, prometheus.GaugeValue, descStart, float64(s.Started.Unix()))
	put(to, prometheus.CounterValue, descReloads, float64(f.reloads.Load()), "ok")
	put(to, prometheus.CounterValue, descReloads, float64(f.refused.Load()), "failed")
	put(to, prometheus.GaugeValue, descReloaded, float64(max(f.lastReload.Load(), s.Started.Unix())))
	ok := 0.0
	if s.Error == "" {
		ok = 1
	}
	put(to, prometheus.GaugeValue, descConfig, ok)
	if asks, err := c.d.Asks(); err == nil {
		put(to, prometheus.GaugeValue, descWaiting, float64(len(asks.Asks)))
		put(to, prometheus.CounterValue, descForgotten, float64(asks.Forgotten))
	}
	put(to, prometheus.CounterValue, descAnswered, float64(f.answered.Load()))
	put(to, prometheus.GaugeValue, descTables, float64(c.d.kernel.Words()*8), "size")
	put(to, prometheus.GaugeValue, descTables, float64(c.d.kernel.Used()*8), "used")
	for reason := range f.reasons {
		if n := f.reasons[reason].Load(); n > 0 {
			put(to, prometheus.CounterValue, descEvents, float64(n), abi.Reason(reason).String())
		}
	}
}
