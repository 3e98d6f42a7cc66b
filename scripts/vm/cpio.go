//go:build linux

package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Archive writes a cpio archive of the kind "newc", which the kernel unpacks
// as its initramfs. Everything belongs to root. The first error stays.
type Archive struct {
	w     io.Writer
	inode uint32
	seen  map[string]bool // folders written so far
	err   error
}

// NewArchive begins an archive on w.
func NewArchive(w io.Writer) *Archive {
	return &Archive{w: w, seen: map[string]bool{"": true}}
}

func (a *Archive) write(data []byte) {
	if a.err == nil {
		_, a.err = a.w.Write(data)
	}
}

func (a *Archive) pad(size int64) {
	if rest := size % 4; rest != 0 {
		a.write(make([]byte, 4-rest))
	}
}

// head writes the header of one entry; size bytes and a pad must follow.
func (a *Archive) head(name string, mode uint32, size int64) {
	if size > 1<<32-1 {
		a.err = fmt.Errorf("%s: larger than 4 GiB: cannot be put into an initramfs", name)
		return
	}
	a.inode++
	const links, devices = 1, 0
	text := fmt.Sprintf("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, links, 0, size, devices, 0, 0, 0, len(name)+1, 0, name)
	a.write([]byte(text))
	a.pad(int64(len(text)))
}

func (a *Archive) entry(name string, mode uint32, data []byte) {
	a.head(name, mode, int64(len(data)))
	a.write(data)
	a.pad(int64(len(data)))
}

// enter returns the name as it stands in the archive, and writes the folders
// above it where they are not there yet.
func (a *Archive) enter(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for i, c := range name {
		if c == '/' {
			a.Folder(name[:i], 0o755)
		}
	}
	return name
}

// Folder adds a folder, once.
func (a *Archive) Folder(name string, mode fs.FileMode) {
	name = a.enter(name)
	if !a.seen[name] {
		a.seen[name] = true
		a.entry(name, syscall.S_IFDIR|unixMode(mode), nil)
	}
}

// File adds a file with the given content.
func (a *Archive) File(name string, mode fs.FileMode, data []byte) {
	a.entry(a.enter(name), syscall.S_IFREG|unixMode(mode), data)
}

// Link adds a symbolic link.
func (a *Archive) Link(name, target string) {
	a.entry(a.enter(name), syscall.S_IFLNK|0o777, []byte(target))
}

// HostFile adds a file of the host; a symbolic link is followed.
func (a *Archive) HostFile(name, host string) {
	if a.err != nil {
		return
	}
	file, err := os.Open(host)
	if err != nil {
		a.err = err
		return
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		a.err = err
		return
	}
	a.head(a.enter(name), syscall.S_IFREG|unixMode(info.Mode()), info.Size())
	if a.err != nil {
		return
	}
	if n, err := io.Copy(a.w, io.LimitReader(file, info.Size())); err != nil || n != info.Size() {
		a.err = fmt.Errorf("%s: changed or failed while it was read: not packed: %w", host, err)
		return
	}
	a.pad(info.Size())
}

// HostTree adds a file or folder of the host with everything below it.
// Symbolic links inside a folder stay links; sockets, pipes and devices are
// left out.
func (a *Archive) HostTree(name, host string) {
	if a.err != nil {
		return
	}
	host, err := filepath.EvalSymlinks(host)
	if err != nil {
		a.err = err
		return
	}
	err = filepath.WalkDir(host, func(at string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rest, err := filepath.Rel(host, at)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := path.Join(name, filepath.ToSlash(rest))
		switch {
		case entry.IsDir():
			a.Folder(target, info.Mode())
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(at)
			if err != nil {
				return err
			}
			a.Link(target, link)
		case info.Mode().IsRegular():
			a.HostFile(target, at)
		}
		return a.err
	})
	if a.err == nil {
		a.err = err
	}
}

// Close ends the archive and returns the first error.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func unixMode(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	for flag, bit := range map[fs.FileMode]uint32{
		fs.ModeSetuid: syscall.S_ISUID, fs.ModeSetgid: syscall.S_ISGID, fs.ModeSticky: syscall.S_ISVTX,
	} {
		if mode&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
