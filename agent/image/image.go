// Package image reads what a task that waits inside execve has passed, and
// predicts the arguments and the environment of the program that it is to
// become. A prediction is only a prediction: the task's other threads can write
// to its memory. Who relies on one has to have it compared with the outcome.
package image

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// Limit bounds, in bytes, the strings of one image.
const Limit = abi.MaxImage

// maxScripts is how many interpreters the kernel follows (fs/exec.c,
// exec_binprm).
const maxScripts = 5

// Call is an execve as a task has made it.
type Call struct {
	// Filename is what the program's file is called by: the path given, or with
	// a descriptor /dev/fd/N, or /dev/fd/N/path.
	Filename  string
	Args, Env []string

	dir  int32 // the descriptor of execveat
	path string
	at   bool // relative to dir
}

// Image is what a program begins with.
type Image struct {
	Args, Env []string
}

// Head is how a file begins, as the kernel reads it: 256 bytes, filled up with
// NUL.
type Head [256]byte

// File is one file of the chain from the program executed to the one that runs.
type File struct {
	Device, Inode uint64
	Head          Head
}

// Files opens what paths name for the task.
type Files interface {
	// Program is the file that the call names, Interpreter one by a path.
	Program(*Call) (File, error)
	Interpreter(path string) (File, error)
}

// ErrForeign is an error about a program that is neither a script nor for this
// machine: what handles it decides its arguments.
var ErrForeign = errors.New("neither a script nor a program of this machine")

// Predict returns the image that a call makes, and the program's own file.
func Predict(c *Call, files Files) (img Image, program File, err error) {
	if program, err = files.Program(c); err != nil {
		return img, program, err
	}
	img = Image{c.Args, c.Env}
	if len(img.Args) == 0 {
		img.Args = []string{""}
	}
	name, file := c.Filename, program
	for range maxScripts + 1 {
		if !file.Head.isScript() {
			if !native(&file.Head) {
				return img, program, ErrForeign
			}
			return img, program, img.bounded()
		}
		interpreter, argument, has, ok := file.Head.script()
		if !ok {
			return img, program, ErrForeign
		}
		args := []string{interpreter}
		if has {
			args = append(args, argument)
		}
		img.Args = append(append(args, name), img.Args[1:]...)
		name = interpreter
		if file, err = files.Interpreter(interpreter); err != nil {
			return img, program, err
		}
	}
	return img, program, errors.New("scripts of scripts, more than the kernel follows")
}

// Strings returns the arguments, then the environment, as they lie in memory.
func (i *Image) Strings() []byte {
	var b []byte
	for _, list := range [][]string{i.Args, i.Env} {
		for _, s := range list {
			b = append(append(b, s...), 0)
		}
	}
	return b
}

func (i *Image) bounded() error {
	if n := len(i.Strings()); n > Limit {
		return fmt.Errorf("arguments and environment of %d bytes, at most %d", n, Limit)
	}
	return nil
}

func (h *Head) isScript() bool { return h[0] == '#' && h[1] == '!' }

func blank(c byte) bool { return c == ' ' || c == '\t' }

// script reads the first line as fs/binfmt_script.c, load_script, does; indices
// stand for its pointers.
func (h *Head) script() (interpreter, argument string, has, ok bool) {
	last := len(h) - 1
	end := -1
	for i, c := range h {
		if c == '\n' {
			end = i
			break
		}
		if c == 0 { // strnchr stops here
			break
		}
	}
	if end < 0 {
		first := h.skip(2, last)
		if first < 0 || h.terminator(first, last) < 0 {
			return "", "", false, false
		}
		end = last
	}
	for blank(h[end-1]) {
		end--
	}
	name := h.skip(2, end)
	if name < 0 || name == end {
		return "", "", false, false
	}
	arg := -1
	separator := h.terminator(name, end)
	if separator >= 0 && h[separator] != 0 {
		arg = h.skip(separator, end)
	}
	line := *h
	line[end] = 0
	if arg >= 0 {
		line[separator] = 0
		argument = line.text(arg)
	}
	return line.text(name), argument, arg >= 0, true
}

// skip returns the first byte that is not blank, up to last; -1 if there is
// none.
func (h *Head) skip(first, last int) int {
	for ; first <= last; first++ {
		if !blank(h[first]) {
			return first
		}
	}
	return -1
}

// terminator returns the first byte that is blank or NUL, up to last.
func (h *Head) terminator(first, last int) int {
	for ; first <= last; first++ {
		if blank(h[first]) || h[first] == 0 {
			return first
		}
	}
	return -1
}

// text returns the string that begins at a byte.
func (h *Head) text(at int) string {
	end := at
	for end < len(h) && h[end] != 0 {
		end++
	}
	return string(h[at:end])
}

// named fills in the names of an execveat (fs/exec.c, alloc_bprm).
func (c *Call) named(dir int32, path string) {
	c.dir, c.path = dir, path
	c.at = dir != atCwd && (path == "" || path[0] != '/')
	c.Filename = path
	if c.at {
		c.Filename = "/dev/fd/" + strconv.Itoa(int(dir))
		if path != "" {
			c.Filename += "/" + path
		}
	}
}

const atCwd = -100 // AT_FDCWD
