package bpf

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/bpf/fault"
)

// The programs and maps of kern/heir.bpf.c.
const (
	heirIter     = "heir_marks"
	oldTasks     = "old_tasks"
	oldMembers   = "old_members"
	inheritedMap = "inherited"
)

// inherited is the twin of struct inherited in kern/heir.bpf.c.
type inherited struct{ Changed, Missed uint64 }

// heirPasses bounds how often is looked whether the old set has something that the new one
// has not.
const heirPasses = 100

// Heir is what a set that takes the place of another build's needs beside what that holds.
type Heir struct {
	// Plan returns the table of a workload that has one, by its name.
	Plan func(name string) ([]uint64, error)
	// Own are the directories of our own, see Guard.
	Own []string
}

// Succeed loads a set beside the one that another build pinned in dir, gives it all that that
// one holds, and then has the two change places. From the moment at which it is attached an
// operation needs both, until the other goes: see Bury. On an error the other counts as
// before, and nothing else is left; a process that is killed leaves that to the next.
//
// The order is what keeps the new set from judging wrongly. A workload has all it is judged
// by before anything belongs to it. A task has what is known of its executables before a
// cgroup can give it a mark that knows nothing. From then on both learn of each operation
// that changes any of it; what they learned of at once, in two orders, differs the next time
// that they are compared, and the places are changed once two comparisons found nothing.
func Succeed(dir string, o Options, h Heir) (*Enforcer, error) {
	old, err := openFormer(dir)
	if err != nil {
		return nil, err
	}
	e, err := old.succeed(o, h)
	return e, errors.Join(err, old.Abandon())
}

func (old *former) succeed(o Options, h Heir) (*Enforcer, error) {
	if err := Bury(old.dir, nil); err != nil { // what one left that was killed
		return nil, err
	}
	plans, words, err := old.plans(h)
	if err != nil {
		return nil, err
	}
	o.PinDir, o.isNew = Beside(old.dir), true
	o.TableWords = max(o.TableWords, 2*words)
	o.Handled |= abi.ActionMask(old.header().Handled)
	o.Strict = o.Strict || old.header().Strict == 1
	o.Clock = o.Clock || old.header().Clock == 1
	e, err := Load(o)
	if err != nil {
		return nil, err
	}
	if err = e.inherit(old, plans, h.Own); err == nil {
		err = e.takePlace(old)
	}
	if err != nil {
		// It may have judged: what it told of counts.
		return nil, errors.Join(fmt.Errorf("%s: the set of another build: %w: it goes on enforcing, and is not succeeded; try again", old.dir, err), e.Abandon(), Bury(old.dir, nil))
	}
	return e, nil
}

// plans returns the tables of all workloads that have one, by number, and their words.
func (old *former) plans(h Heir) (plans map[uint32][]uint64, words int, err error) {
	plans = map[uint32][]uint64{}
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		w, err := old.workload(id)
		if err != nil {
			return nil, 0, err
		}
		r := old.record(id)
		if uint32(w.plan) == 0 || r.Name[0] == 0 {
			continue
		}
		if plans[id], err = h.Plan(r.name()); err != nil {
			return nil, 0, fmt.Errorf("%s: pinned by another build, and its workload %s cannot be given to this one: %w: nothing is changed, and what is pinned goes on enforcing; start that build again, or end the workload and try again", old.dir, r.name(), err)
		}
		words += len(plans[id])
	}
	return plans, words, nil
}

// inherit gives a set all that the old one holds.
func (e *Enforcer) inherit(old *former, plans map[uint32][]uint64, own []string) error {
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		if old.record(id).Name[0] == 0 {
			continue
		}
		if err := e.inheritWorkload(old, id, plans[id]); err != nil {
			return fmt.Errorf("workload %s: %w", old.record(id).name(), err)
		}
	}
	if err := e.Guard(own); err != nil {
		return err
	}
	iter, done, err := e.attachHeir(old)
	if err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	defer done()
	if _, err := e.takeMarks(iter); err != nil { // before any cgroup: see Succeed
		return fmt.Errorf("marks: %w", err)
	}
	for clean, pass := 0, 0; clean < 2; pass++ {
		if pass == heirPasses {
			return fmt.Errorf("its tasks change faster than they are taken over: %w", ErrInUse)
		}
		news, err := e.pass(old, iter)
		if err != nil {
			return err
		}
		if clean++; news > 0 {
			clean = 0
		}
	}
	return nil
}

// inheritWorkload gives a workload to a set that has none of its number: nobody is judged by
// it yet, so the order does not matter. Its root is what the kernel knows it by.
func (e *Enforcer) inheritWorkload(old *former, id uint32, words []uint64) error {
	if err := fault.At("bpf.heir-workload"); err != nil {
		return err
	}
	theirs, err := old.workload(id)
	if err != nil {
		return err
	}
	ours, err := e.workload(id)
	if err != nil {
		return err
	}
	at, shared := 0, true
	if words != nil {
		if at, shared = e.same(words); !shared {
			at = e.free(len(words))
		}
		if at == 0 {
			return fmt.Errorf("its table takes %d KiB, and there is no such gap; raise limits: tables", len(words)*8>>10)
		}
		e.used[id] = []region{{at, len(words)}}
	}
	if !shared {
		e.put(at, words)
	}
	var seq uint64
	if err := old.maps["seqs"].Lookup(id, &seq); err != nil {
		return err
	}
	if err := e.maps["seqs"].Put(id, seq); err != nil {
		return err
	}
	generation := atomic.LoadUint64(&theirs.plan) >> 32
	ours.rootMnt, ours.rootDentry, ours.caps, ours.sockets = theirs.rootMnt, theirs.rootDentry, theirs.caps, theirs.sockets
	ours.flags = atomic.LoadUint32(&theirs.flags) & (workloadStrict | workloadEnding | workloadContainer)
	ours.mode = atomic.LoadUint32(&theirs.mode)
	ours.plan = uint64(at) | generation<<32
	if err := e.carry(old, id); err != nil {
		return err
	}
	e.record(id).rename(old.record(id).name())
	e.last = id
	return nil
}

// attachHeir attaches what takes marks over.
func (e *Enforcer) attachHeir(old *former) (iter *link.Iter, done func(), err error) {
	var links []link.Link
	done = func() {
		for _, l := range links {
			_ = l.Close()
		}
		delete(e.maps, oldTasks) // they are the old set's
		delete(e.maps, oldMembers)
	}
	if err := fault.At("bpf.heir-attach"); err != nil {
		return nil, done, err
	}
	e.maps[oldTasks], e.maps[oldMembers] = old.maps["tasks"], old.maps["members"]
	o := Options{TableWords: e.Words() - 1, EventBytes: int(e.maps["events"].MaxEntries())}
	programs, err := e.load(o, btf.NewCache(), groupHeir)
	defer closeAll(programs)
	for _, p := range programs {
		var l link.Link
		if l, err = attachOne(p); err != nil {
			break
		}
		links = append(links, l)
		if p.name == heirIter {
			iter, _ = l.(*link.Iter)
		}
	}
	if err == nil && iter == nil {
		err = errors.New("no iterator")
	}
	if err != nil {
		done()
	}
	return iter, done, err
}

// takeMarks gives every task the mark that it has in the old set, and returns how many had
// another.
func (e *Enforcer) takeMarks(iter *link.Iter) (news int, err error) {
	if err := fault.At("bpf.heir-marks"); err != nil {
		return 0, err
	}
	if err := e.maps[inheritedMap].Put(uint32(0), inherited{}); err != nil {
		return 0, err
	}
	if err := runIter(iter); err != nil {
		return 0, err
	}
	var sum inherited
	err = e.maps[inheritedMap].Lookup(uint32(0), &sum)
	return int(sum.Changed + sum.Missed), err
}

// runIter runs an iterator that tells nothing.
func runIter(iter *link.Iter) error {
	tasks, err := iter.Open()
	if err != nil {
		return err
	}
	defer tasks.Close()
	_, err = io.Copy(io.Discard, tasks)
	return err
}

// pass takes over what the old set has and this one has not, and returns how much that was.
func (e *Enforcer) pass(old *former, iter *link.Iter) (news int, err error) {
	groups, err := e.takeEntries(old, "cgroups")
	if err != nil {
		return 0, fmt.Errorf("cgroups: %w", err)
	}
	if err := e.takeDegraded(old); err != nil {
		return 0, err
	}
	if err := e.graceperiod(); err != nil { // who met what was before has ended
		return 0, fmt.Errorf("grace period: %w", err)
	}
	marks, err := e.takeMarks(iter)
	if err != nil {
		return 0, fmt.Errorf("marks: %w", err)
	}
	terminals, err := e.takeEntries(old, "terminals")
	if err != nil {
		return 0, fmt.Errorf("terminals: %w", err)
	}
	locked, err := e.takeModes(old)
	return groups + marks + terminals + locked, err
}

// takeEntries puts the entries of a map of workloads that the old set has, and this one has
// not, into this one's. One that goes meanwhile goes from both.
func (e *Enforcer) takeEntries(old *former, name string) (news int, err error) {
	theirs, err := listWorkloads(old.maps[name])
	if err != nil {
		return 0, err
	}
	ours, err := listWorkloads(e.maps[name])
	if err != nil {
		return 0, err
	}
	for key, id := range theirs {
		if ours[key] == id {
			continue
		}
		if err := fault.At("bpf.heir-entry"); err != nil {
			return 0, err
		}
		if err := e.maps[name].Put(key, id); err != nil {
			return 0, err
		}
		var still uint32
		if err := old.maps[name].Lookup(key, &still); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = e.maps[name].Delete(key)
			if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return 0, err
			}
			continue // gone from both: who makes and ends some all the time keeps nobody
		}
		news++
	}
	return news, nil
}

// takeDegraded has ancestors looked at, too, if the old set looks at them.
func (e *Enforcer) takeDegraded(old *former) error {
	var full uint64
	err := old.maps["degraded"].Lookup(uint32(0), &full)
	if err == nil && full != 0 {
		err = e.maps["degraded"].Put(uint32(0), full)
	}
	if err != nil {
		return fmt.Errorf("cgroups: %w", err)
	}
	return nil
}

// takeModes locks down what was locked down in the old set meanwhile, by a tripwire or by who
// did without an agent.
func (e *Enforcer) takeModes(old *former) (news int, err error) {
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		theirs, err := old.workload(id)
		if err != nil {
			return 0, err
		}
		ours, err := e.workload(id)
		if err != nil {
			return 0, err
		}
		if old.record(id).Name[0] == 0 || old.record(id).Name != e.record(id).Name || abi.Mode(atomic.LoadUint32(&theirs.mode)) != abi.Lockdown {
			continue
		}
		if atomic.SwapUint32(&ours.mode, uint32(abi.Lockdown)) != uint32(abi.Lockdown) {
			news++
		}
		ending := atomic.LoadUint32(&theirs.flags) & workloadEnding
		atomic.OrUint32(&ours.flags, ending)
	}
	return news, nil
}

// takePlace has the set change places with the old one: with that, it is the one that counts.
func (e *Enforcer) takePlace(old *former) error {
	if err := fault.At("bpf.heir-place"); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, e.pinDir, unix.AT_FDCWD, old.dir, unix.RENAME_EXCHANGE); err != nil {
		return fmt.Errorf("folder: %w", err)
	}
	_ = fault.At("bpf.heir-placed")
	e.pinDir = old.dir
	e.header().New = 0
	return nil
}
