package bpf

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Deputy is what can be done with a set that is pinned beside who keeps it, which may not
// answer, or come back meanwhile: its workloads are looked at, locked down and kept from
// making tasks. All of these are stores that a keeper expects at any time, as the kernel
// makes them, too.
type Deputy struct {
	e   Enforcer
	dir string
}

// OpenDeputy opens a set that is pinned in dir. The error is fs.ErrNotExist if there is
// none, and a ForeignError if it is of a build whose sets are not understood.
func OpenDeputy(dir string) (*Deputy, error) {
	d := &Deputy{dir: dir, e: Enforcer{maps: map[string]*ebpf.Map{}, links: map[string]link.Link{}}}
	if err := d.open(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Deputy) open() error {
	registry, err := openPin(d.dir, registryName)
	if err != nil {
		return err
	}
	d.e.maps[registryName] = registry
	if err := checkContract(d.dir, registry); err != nil {
		return err
	}
	for _, name := range []string{"cgroups", "members", "counts"} {
		if d.e.maps[name], err = openPin(d.dir, name); err != nil {
			return err
		}
	}
	workloads, err := ebpf.LoadPinnedMap(filepath.Join(d.dir, mapPin+"workloads"), nil)
	if err != nil {
		return fmt.Errorf("%s: map workloads: %w", d.dir, err)
	}
	d.e.maps["workloads"] = workloads
	roll, err := link.LoadPinnedLink(filepath.Join(d.dir, linkPin+rollIter), nil)
	if err != nil {
		return &IncompleteError{Dir: d.dir, What: fmt.Sprintf("%s%s: %v", linkPin, rollIter, err)}
	}
	d.e.links[rollIter] = roll
	d.e.store = &store{maps: d.e.maps}
	d.e.store.workloads, err = mapMemory(workloads)
	return err
}

// Close lets go of the set, which goes on enforcing.
func (d *Deputy) Close() error {
	var errs []error
	if d.e.store != nil && d.e.store.workloads != nil {
		errs = append(errs, unix.Munmap(d.e.store.workloads))
	}
	for _, l := range d.e.links {
		errs = append(errs, l.Close())
	}
	for _, m := range d.e.maps {
		if m != nil {
			errs = append(errs, m.Close())
		}
	}
	return errors.Join(errs...)
}

// Workloads lists those of the set by number, without the sizes of their tables.
func (d *Deputy) Workloads() (list []Workload, err error) {
	for id := uint32(1); id < abi.MaxWorkloads; id++ {
		w, err := d.Workload(id)
		if err != nil {
			return nil, err
		}
		if w.Name != "" && w.Name != endedName {
			list = append(list, w)
		}
	}
	return list, nil
}

// Workload tells of one, whether it has a name or not.
func (d *Deputy) Workload(id uint32) (one Workload, err error) {
	w, err := d.e.store.workload(id)
	if err != nil {
		return one, err
	}
	r, err := d.record(id)
	if err != nil {
		return one, err
	}
	one = told(id, &r, w)
	one.Counters, err = sumCounts(d.e.maps["counts"], id)
	one.Counters = r.Before.counters(one.Counters)
	return one, err
}

func (d *Deputy) record(id uint32) (record, error) {
	return readRecord(d.dir, d.e.maps[registryName], id)
}

// Groups returns the workload of every cgroup that has one, by cgroup id.
func (d *Deputy) Groups() (map[uint64]uint32, error) { return d.e.store.Groups() }

// Roll lists the threads of all workloads, as that of an Enforcer.
func (d *Deputy) Roll() ([]Marked, error) { return d.e.Roll() }

// Tasks counts the living tasks of each workload, as that of an Enforcer.
func (d *Deputy) Tasks() (map[uint32]int, error) { return d.e.store.Tasks() }

// Mode returns the mode of a workload, as that of an Enforcer.
func (d *Deputy) Mode(id uint32) (abi.Mode, error) { return d.e.store.Mode(id) }

// SetEnding has no task of a workload make another, as that of an Enforcer.
func (d *Deputy) SetEnding(id uint32, ending bool) error { return d.e.store.SetEnding(id, ending) }

// LockDown locks the workload of a name down. The number that it had when it was looked at
// may be another's by now, if nothing of it was left.
func (d *Deputy) LockDown(id uint32, name string) error {
	r, err := d.record(id)
	if err == nil && r.name() == name {
		err = d.e.store.SetMode(id, abi.Lockdown)
	}
	if err == nil {
		r, err = d.record(id)
	}
	if err == nil {
		err = d.counts()
	}
	if err == nil && r.name() != name {
		err = fmt.Errorf("workload %s: ended meanwhile: number %d is %q now; see `stockade ps`", name, id, r.name())
	}
	return err
}

// counts is an error about a set that is not the one that counts any more: another build's
// took its place.
func (d *Deputy) counts() error {
	now, err := openPin(d.dir, registryName)
	if err != nil {
		return err
	}
	defer now.Close()
	var ids [2]ebpf.MapID
	for i, m := range []*ebpf.Map{now, d.e.maps[registryName]} {
		info, err := m.Info()
		if err != nil {
			return fmt.Errorf("%s: registry: %w: whether it is locked down is not known; try again", d.dir, err)
		}
		ids[i], _ = info.ID()
	}
	if ids[0] != ids[1] {
		return fmt.Errorf("%s: another set took its place meanwhile: whether it is locked down is not known; try again", d.dir)
	}
	return nil
}
