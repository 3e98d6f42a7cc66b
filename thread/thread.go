// Package thread does what changes the thread that does it: its root, or a namespace.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Start does something on a thread that ends with it, and returns once that has begun. It
// is not the first thread of the process: that one never ends, and what /proc/self and
// /proc/net say is said of it.
func Start(do func()) {
	begun := make(chan bool)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			Start(do) // on another, since this one is taken
			runtime.UnlockOSThread()
			close(begun)
			return
		}
		close(begun)
		do()
	}()
	<-begun
}

// Do is Start, and waits for what it came to.
func Do(do func() error) error {
	result := make(chan error, 1)
	Start(func() { result <- do() })
	return <-result
}
