package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// maxIDs is how many are collected at most.
const maxIDs = 1 << 16

// IDs returns the ids of groups and of all beneath, by their paths relative to the mount of
// cgroup2: an id is the inode of the directory. Collect them while they are there, and keep
// them: a socket bears the id of the group whose process made it, even when the group is
// removed. One that is gone has none. The error stands beside what could be collected: the
// map is never nil.
func IDs(groups []string) (map[uint64]bool, error) {
	ids := map[uint64]bool{}
	root, err := theRoot()
	if err != nil {
		return ids, err
	}
	var errs []error
	for _, rel := range groups {
		if err := root.collect(rel, ids); err != nil {
			errs = append(errs, fmt.Errorf("cgroups below %s: %w: not all are known; try again", rel, err))
		}
	}
	return ids, errors.Join(errs...)
}

func (r *root) collect(rel string, ids map[uint64]bool) error {
	dir, err := r.dir(rel)
	if vanished(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return walk(dir, func(_ string, _ int, id uint64) error {
		if len(ids) >= maxIDs {
			return fmt.Errorf("more than %d", maxIDs)
		}
		ids[id] = true
		return nil
	})
}

// Paths finds groups by their ids, each with its path relative to the mount. One that is
// removed meanwhile is left out, and what is too deep: who may make groups chooses how deep.
func Paths(wanted func(id uint64) bool) (map[uint64]string, error) {
	root, err := theRoot()
	if err != nil {
		return nil, err
	}
	dir, err := root.dir(".")
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w: none is known", err)
	}
	paths := map[uint64]string{}
	err = walk(dir, func(rel string, _ int, id uint64) error {
		if wanted(id) {
			paths[id] = rel
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDeep) {
		return nil, fmt.Errorf("cgroups: %w: not all are known; try again", err)
	}
	return paths, nil
}

// vanished reports whether a group was removed while it was looked at.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV)
}
