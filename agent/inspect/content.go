package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Content is what a file holds.
type Content struct {
	Size   int64  `json:"size,omitempty"` // bytes
	SHA256 string `json:"sha256,omitempty"`
	// Unhashed says why there is no sum.
	Unhashed string `json:"unhashed,omitempty"`
}

// content reads the content of a file that the kernel holds for a process, through a link
// of its directory that leads there whatever the path says. It does so once for each state
// of a file: inodes get other files, so that the number alone would tell one for another.
func (l *look) content(p *process, link string, f *File) {
	p.say(p.PID, link)
	place, st, err := locate(p.dir, link)
	if err != nil {
		f.Unhashed = err.Error()
		p.fail(link, err)
		return
	}
	defer unix.Close(place)
	f.Device, f.Inode = fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)), st.Ino
	id := fmt.Sprintf("%d %d %d %d.%09d", st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
	known, ok := l.spent.Files[id]
	if !ok {
		known = l.hash(p, link, place, st)
		l.spent.Files[id], l.fresh[id] = known, known
	}
	f.Content = known
}

// locate finds the file behind a link, without opening it: that does something to a
// device, and may wait for ever at a fifo.
func locate(dir int, link string) (place int, st unix.Stat_t, err error) {
	place, err = unix.Openat(dir, link, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(place, &st); err != nil {
		unix.Close(place)
	}
	return place, st, err
}

// hash hashes a regular file.
func (l *look) hash(p *process, link string, place int, st unix.Stat_t) Content {
	c := Content{Size: st.Size}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		c.Unhashed = "it is no regular file"
	case st.Size > MaxFile:
		c.Unhashed = fmt.Sprintf("it is larger than %d bytes", MaxFile)
	case st.Size > AllFiles-l.spent.Hashed:
		c.Unhashed = fmt.Sprintf("%d bytes of other files were hashed: with it they would be more than %d", l.spent.Hashed, AllFiles)
	}
	if c.Unhashed != "" {
		return c
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", place), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		c.Unhashed = err.Error()
		return c
	}
	defer unix.Close(fd)
	sum, n := sha256.New(), int64(0)
	for n <= MaxFile { // it may grow
		got, err := io.CopyN(sum, reader(fd), chunk)
		n += got
		l.spent.Hashed += got
		if errors.Is(err, io.EOF) {
			c.Size, c.SHA256 = n, hex.EncodeToString(sum.Sum(nil))
			return c
		}
		if err != nil {
			c.Unhashed = err.Error()
			return c
		}
		p.say(p.PID, link)
	}
	c.Unhashed = fmt.Sprintf("it grew beyond %d bytes", MaxFile)
	return c
}
