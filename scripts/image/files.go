package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// machines are the architectures, and what a program for each says it is for.
var machines = []struct {
	arch    string
	machine elf.Machine
}{
	{"amd64", elf.EM_X86_64},
	{"arm64", elf.EM_AARCH64},
}

// documents is where licences lie in an image.
const documents = "usr/share/doc/stockade"

// collect reads what goes into the image of an architecture: programs from
// PROGRAMS/ARCH, licences from the repository.
func collect(repository, programs, arch string, machine elf.Machine) ([]file, error) {
	var files []file
	for _, name := range []string{"stockade", "stockade-kube", "stockade-runc"} {
		from := filepath.Join(programs, arch, name)
		if err := fits(from, machine); err != nil {
			return nil, fmt.Errorf("%s: %w: no image is made; run make image", from, err)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		files = append(files, file{"usr/bin/" + name, 0o755, data})
	}
	for _, top := range []string{"LICENSE", "LICENSES"} {
		err := filepath.WalkDir(filepath.Join(repository, top), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			below, err := filepath.Rel(repository, name)
			files = append(files, file{path.Join(documents, filepath.ToSlash(below)), 0o644, data})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%w: no image is made; run this in the repository", err)
		}
	}
	return withDirectories(files), nil
}

// fits says why a program does not run on a machine, in an image with no library.
func fits(name string, machine elf.Machine) error {
	program, err := elf.Open(name)
	if err != nil {
		return err
	}
	defer program.Close()
	if program.Machine != machine {
		return fmt.Errorf("is for %v, not %v", program.Machine, machine)
	}
	if slices.ContainsFunc(program.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP }) {
		return fmt.Errorf("is not static")
	}
	return nil
}

// withDirectories adds the directories of files, and sorts.
func withDirectories(files []file) []file {
	seen := map[string]bool{".": true}
	all := slices.Clone(files)
	for _, f := range files {
		for dir := path.Dir(f.path); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			all = append(all, file{dir + "/", fs.ModeDir | 0o755, nil})
		}
	}
	slices.SortFunc(all, func(a, b file) int { return strings.Compare(a.path, b.path) })
	return all
}
