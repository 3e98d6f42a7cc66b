package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/agent/host"
	"github.com/stockade-dev/stockade/agent/respond"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/bpf"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// Daemon holds the workloads that a configuration declares. What it sets up in
// the kernel outlives it.
type Daemon struct {
	file    string
	started time.Time

	lock   *os.File
	served bool // it could be asked
	*keeper
	*runs
	*containers
	groups *groups
	desk   respond.Desk

	over chan error // why the daemon ends
	once sync.Once
	// watchFiles changes which files a reload is due for; it changes under change.
	watchFiles func([]string)
}

// machine is what the daemon is on.
type machine struct{ host.Machine }

var thisMachine = machine{host.This}

// Serve runs the agent of a configuration until it is told to stop by ctx or a
// signal. Enforcement stays when it ends, however it ends. Its own words go to
// std, and denials for which the configuration names no file.
func Serve(ctx context.Context, file string, std io.Writer) error {
	return thisMachine.serve(ctx, file, std)
}

func (m machine) serve(ctx context.Context, file string, std io.Writer) error {
	d, err := m.open(file, std)
	if err != nil {
		return err
	}
	err = d.run(ctx)
	return errors.Join(err, d.close())
}

func newDaemon(m machine, file string, std io.Writer) *Daemon {
	k := &keeper{machine: m, std: std, all: newRegistry(), book: newNotebook(std), figures: &figures{}, tickets: &tickets{}}
	d := &Daemon{keeper: k, runs: &runs{keeper: k, quit: make(chan struct{})}, containers: &containers{k, []string{"1", "self"}}, file: file, started: time.Now(), over: make(chan error, 1),
		desk: respond.Desk{Custody: respond.NewCustody(m.Evidence(), m.Key)}}
	d.desk.Done, d.desk.Book = d.responded, k.past()
	k.wires.Respond, k.wires.Alarm, k.wires.Rearmed = d.tripped, k.book.note, k.rearmed
	return d
}

// open does everything up to the point where all that is declared is enforced.
// On an error nothing is left that was not there before.
func (m machine) open(file string, std io.Writer) (d *Daemon, err error) {
	cfg, err := config.Read(file)
	if err != nil {
		return nil, err
	}
	d = newDaemon(m, file, &lockedWriter{w: std})
	lock, err := m.TakeLock()
	if err != nil {
		return nil, err
	}
	d.lock = lock
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	staged, err := d.acquire(cfg)
	if err != nil {
		return nil, err
	}
	if err = d.begin(staged); err == nil {
		return d, nil
	}
	return nil, errors.Join(err, d.close())
}

// acquire adopts the kernel side, or loads it once all policies are known to
// compile.
func (d *Daemon) acquire(cfg *config.Config) (staged *draft, err error) {
	defer debug.FreeOSMemory() // loading took several times what running needs
	d.kernel, err = d.machine.Adopt(d.machine.Pins)
	if succeedable(err) {
		if err = d.succeed(cfg); err != nil {
			return nil, err
		}
	}
	var incomplete *bpf.IncompleteError
	switch {
	case err == nil:
		d.adopted = true
		if err = d.restore(); err == nil {
			staged, err = d.stage(cfg)
		}
		if err != nil {
			return nil, errors.Join(err, d.kernel.Abandon())
		}
		return staged, nil
	case errors.As(err, &incomplete) && incomplete.Begun:
		if err = d.discard(); err != nil {
			return nil, err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	default:
		if err = d.discard(); err != nil { // what somebody left of an upgrade
			return nil, err
		}
	}
	if err = d.machine.Check(); err != nil { // a set that is pinned has proved itself
		return nil, err
	}
	if staged, err = d.stage(cfg); err != nil {
		return nil, err
	}
	progress("loading the programs into the kernel")
	d.kernel, err = d.machine.Load(options(d.machine, cfg))
	return staged, err
}

// options are those of the set that a configuration wants.
func options(m machine, cfg *config.Config) bpf.Options {
	handled, strict := abi.DefaultActions, cfg.Strict
	for _, w := range cfg.All() {
		handled |= w.Handled
	}
	for _, w := range cfg.Workloads {
		strict = strict || w.Strict
	}
	for _, t := range cfg.Containers { // those apart are not the owner's of the host
		strict = strict || t.Strict && !t.Apart
	}
	return bpf.Options{PinDir: m.Pins, TableWords: int(cfg.Limits.Tables/8) - 1,
		EventBytes: int(cfg.Limits.Events), Handled: handled, Strict: strict,
		Clock: true} // policies to come may test the time
}

// discard removes pins that never became, or no longer are, a whole set.
func (d *Daemon) discard() error {
	n, err := d.machine.members()
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%s: what is pinned is not whole and confines %s: nothing is changed; end that with `stockade uninstall --force`, then start again", d.machine.Pins, sink.Plural(n, "task"))
	}
	for _, dir := range d.machine.sets() {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		d.book.note(dir + ": left by a start or an uninstall that was interrupted: removed")
		if err := bpf.Remove(dir); err != nil {
			return err
		}
	}
	return nil
}

// begin installs what was staged and confines what is there.
func (d *Daemon) begin(staged *draft) (err error) {
	cfg := staged.config
	if err := fault.At("agent.begin"); err != nil {
		return fmt.Errorf("workloads: %w: nothing is installed", err)
	}
	if err := d.kernel.Guard(d.machine.Own()); err != nil {
		return err
	}
	for _, gap := range d.kernel.Gaps() {
		d.book.note("warning: " + gap)
	}
	d.limit(cfg)
	if err = d.answerAsks(); err != nil {
		return err
	}
	if cfg.Strict && !d.kernel.Strict() {
		d.book.note("strict: the pinned set has no hooks for it: no run can be strict; run `stockade uninstall` and start again to change it")
	}
	if err = d.checkStrict(staged); err != nil {
		return err
	}
	if err = d.commit(staged, true); err != nil {
		return err
	}
	d.holdAsks()
	d.expectAsks()
	if d.groups, err = newGroups(d.confine, d.book.note); err != nil {
		return err
	}
	if err = d.groups.set(patternsOf(cfg.Workloads)); err == nil {
		err = d.bury() // what it reads may be responded to: all is there for that
	}
	if err != nil {
		return errors.Join(err, d.groups.tree.Close())
	}
	return nil
}

// oomScore makes the agent one of the last that the kernel kills for memory.
const oomScore = "-900"

// limit applies the limits on this process.
func (d *Daemon) limit(cfg *config.Config) {
	debug.SetMemoryLimit(cfg.Limits.Memory)
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(oomScore), 0); err != nil {
		d.book.note(fmt.Sprintf("oom_score_adj: %v: short of memory, the kernel may kill the agent before others; enforcement would stay", err))
	}
	if words := int(cfg.Limits.Tables / 8); d.adopted && d.kernel.Words() < words {
		d.book.note(fmt.Sprintf("limits: tables: %d KiB asked for, %d KiB are pinned: the pinned size stays; run `stockade uninstall` and start again to change it", cfg.Limits.Tables>>10, d.kernel.Words()*8>>10))
	}
}

// run serves until it is told to stop.
func (d *Daemon) run(ctx context.Context) error {
	events, err := d.kernel.Events()
	if err != nil {
		return err
	}
	socket := d.config.Socket // it stays, whatever a reload says
	listener, err := api.Listen(socket)
	if err != nil {
		return errors.Join(err, events.Close())
	}
	server := api.NewServer(d, d.allow)
	files, err := newFileWatch(func() { _ = d.Reload() }, d.book.note) // told by note and status
	if err != nil {
		return errors.Join(err, events.Close(), listener.Close())
	}
	d.served = true
	d.change.Lock()
	d.watchFiles = files.set
	files.set(d.watched())
	d.change.Unlock()

	metrics := d.serveMetrics()

	var tasks, reading sync.WaitGroup
	reading.Go(func() {
		if err := d.out.follow(events); err != nil {
			d.fail(fmt.Errorf("%w: the agent ends, enforcement stays; see its log", err))
		}
	})
	tasks.Go(d.groups.follow)
	tasks.Go(files.follow)
	tasks.Go(func() { _ = server.Serve(listener) })
	clock := host.StartClock(d.kernel.SyncClock)
	err = d.wait(ctx)
	err = errors.Join(err, events.Close(), metrics.Close())
	reading.Wait()
	close(d.quit) // runs take what was read; what is on the ring is the next agent's
	d.part(partLimit)
	_ = d.out.hub.Close()
	shut, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(shut) != nil {
		server.Close()
	}
	d.logRest()
	os.Remove(socket)
	errs := []error{err, clock.Stop(), files.close(), d.groups.tree.Close()}
	tasks.Wait()
	return errors.Join(errs...)
}

// close leaves the kernel side to the next agent, but for one that never served:
// its start failed.
func (d *Daemon) close() error {
	d.change.Lock()
	defer d.change.Unlock()
	end := d.kernel.Abandon
	if !d.served && !d.adopted {
		end = d.kernel.Close
	}
	return errors.Join(d.held.Close(), d.closeSinks(), end(), d.lock.Close())
}

// fail ends the daemon.
func (d *Daemon) fail(err error) { d.once.Do(func() { d.over <- err }) }
