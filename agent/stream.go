package agent

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/explain"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
	"github.com/stockade-dev/stockade/compiler"
)

// logFile takes the denials of one or more workloads.
type logFile struct {
	config.Log
	mu sync.Mutex
	w  io.Writer
}

// openLogFile opens a log; std stands in where no file is named. With std nil nothing
// is opened: the configuration is only looked at.
func openLogFile(l config.Log, std io.Writer) (*logFile, error) {
	if l.File == "" || std == nil {
		return &logFile{Log: l, w: std}, nil
	}
	file, err := os.OpenFile(l.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log: %w: nothing is changed; name another file, or make its folder", err)
	}
	return &logFile{Log: l, w: file}, nil
}

// put writes one denial, given as an object.
func (l *logFile) put(d *sink.Denial, object string) error {
	line := object
	if !l.JSON {
		line = d.Line()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := io.WriteString(l.w, line+"\n")
	return err
}

func (l *logFile) close() {
	if file, ok := l.w.(*os.File); ok && l.File != "" {
		file.Close()
	}
}

// installation is what answers for one plan of a workload: for its denials, and for
// what it asks.
type installation struct {
	explain *explain.Explainer
	judge   *judge
}

func newInstallation(name string, plan *compiler.Plan) *installation {
	return &installation{explain.New(plan), &judge{name: name, plan: plan}}
}

// read delivers denials until the ring is closed.
func (d *Daemon) read(events eventReader) {
	for failures := 0; failures < maxReadErrors; {
		e, err := events.Read()
		switch {
		case errors.Is(err, bpf.ErrFlushed), errors.Is(err, os.ErrClosed):
			return
		case err != nil:
			failures++
			d.note("error: " + err.Error())
			continue
		}
		failures = 0
		d.deliver(e)
	}
	d.fail(errors.New("events: reading failed too often: the agent ends, enforcement stays; see its log"))
}

// deliver hands one denial to its run, or else writes it to its log; and to who
// listens.
func (d *Daemon) deliver(e abi.Event) {
	d.figures.event(&e)
	d.held.missed(&e)
	d.mu.Lock()
	w := d.byID[e.Workload]
	d.mu.Unlock()
	if w == nil || w.run == nil {
		d.write(w, e, d.kernel.Account)
		return
	}
	lost, ok := w.run.put(e)
	switch {
	case !ok:
		d.write(w, e, d.kernel.Account)
		return
	case lost:
		d.kernel.Account(w.id, false)
	}
	if d.hub.listened() {
		denial, _ := d.denialOf(w, &e)
		d.hub.send(denial.JSON())
	}
}

// denialOf explains one event of a workload, which may be unknown.
func (d *Daemon) denialOf(w *workload, e *abi.Event) (*sink.Denial, *compiler.Plan) {
	denial := &sink.Denial{Event: *e, Wall: wallTime(e.Time), Workload: fmt.Sprintf("#%d", e.Workload)}
	if w == nil {
		return denial, nil
	}
	denial.Workload = w.name
	d.mu.Lock()
	installed := w.installations[e.Generation]
	d.mu.Unlock()
	if installed == nil {
		return denial, nil
	}
	d.explaining.Lock()
	defer d.explaining.Unlock()
	plan := installed.explain.Plan()
	denial.Digest = plan.Digest
	denial.Policies = installed.explain.Policies(e)
	if e.Reason == abi.ReasonAnswered {
		denial.Policies = d.held.waits.verdict(e.Hold).policies
	}
	return denial, plan
}

// write writes one denial to its log and to who listens, and counts it.
func (d *Daemon) write(w *workload, e abi.Event, count func(id uint32, delivered bool)) {
	denial, plan := d.denialOf(w, &e)
	if plan != nil && w.run == nil { // who answers for a run is gone with it
		d.tickets.add(denial.Workload, plan, &e, denial.Wall)
	}
	log := d.spare
	d.mu.Lock()
	if w != nil && w.log != nil {
		log = w.log
	}
	d.mu.Unlock()
	object := denial.JSON()
	err := fault.At("agent.deliver")
	if err == nil {
		err = log.put(denial, object)
	}
	_ = fault.At("agent.logged")
	count(e.Workload, err == nil)
	if err != nil {
		d.noteOnce("log", fmt.Sprintf("log %s: %v: denials are lost, and counted; make room", log.File, err))
	}
	d.hub.send(object)
}

// hub hands lines to any number of listeners. One that is slow misses lines; it
// is told how many.
type hub struct {
	mu   sync.Mutex
	all  map[*listener]bool
	over bool
}

type listener struct {
	lines  chan string
	missed uint64
}

// Bounds of what waits for a listener, and of how many there are.
const (
	maxWaiting   = 1024
	maxListeners = 32
)

func (h *hub) subscribe() (<-chan string, func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := &listener{lines: make(chan string, maxWaiting)}
	if h.over || len(h.all) >= maxListeners {
		close(l.lines)
		return l.lines, func() {}
	}
	if h.all == nil {
		h.all = map[*listener]bool{}
	}
	h.all[l] = true
	return l.lines, func() { h.drop(l) }
}

// listened reports whether anybody listens.
func (h *hub) listened() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all) > 0
}

func (h *hub) drop(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, l)
}

func (h *hub) send(line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.all {
		if l.missed > 0 {
			select {
			case l.lines <- fmt.Sprintf(`{"type":"missed","count":%d}`, l.missed):
				l.missed = 0
			default:
			}
		}
		if l.missed > 0 { // in order, or not at all
			l.missed++
			continue
		}
		select {
		case l.lines <- line:
		default:
			l.missed++
		}
	}
}

// close ends all subscriptions.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	for l := range h.all {
		close(l.lines)
		delete(h.all, l)
	}
}
