package vmtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// board is the memory that probes share with the test.
type board struct {
	pause  uint32
	probes [probes]tally
}

// tally is what one probe counts: for each of four operations how often it was
// allowed and denied.
type tally struct {
	counts [4][2]uint64
	other  uint64 // neither
	rounds uint64
	rests  uint32
	_      uint32
}

// note counts the end of an operation.
func (t *tally) note(i int, err error) {
	switch {
	case err == nil:
		atomic.AddUint64(&t.counts[i][0], 1)
	case errors.Is(err, syscall.EACCES):
		atomic.AddUint64(&t.counts[i][1], 1)
	default:
		fmt.Fprintln(os.Stderr, "probe:", err)
		atomic.AddUint64(&t.other, 1)
	}
}

// probing are the rounds of probes, by the argument that makes the test binary
// one: opens opens raceFiles in turn, runs runs heldRuns.
var probing = map[string]func(*tally){
	"probe-opens": func(t *tally) {
		for i, name := range raceFiles {
			fd, err := syscall.Open(agentDir+"/"+name, syscall.O_RDONLY, 0)
			if err == nil {
				syscall.Close(fd)
			}
			t.note(i, err)
		}
	},
	"probe-runs": func(t *tally) {
		for i, argument := range heldRuns {
			t.note(i, exec.Command("/usr/bin/id", argument).Run())
		}
	},
}

const (
	probes    = 2
	boardFile = "/dev/shm/faults"
)

func openBoard() *board {
	file, err := os.OpenFile(boardFile, os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	defer file.Close()
	must(file.Truncate(int64(unsafe.Sizeof(board{}))))
	mem, err := syscall.Mmap(int(file.Fd()), 0, int(unsafe.Sizeof(board{})), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	must(err)
	return (*board)(unsafe.Pointer(&mem[0]))
}

// probe enters the agent's cgroup and goes round for ever.
func probe(round func(*tally), number string) {
	n, err := strconv.Atoi(number)
	must(err)
	b := openBoard()
	me := &b.probes[n]
	must(os.WriteFile(agentGroup+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0))
	must(syscall.Setpriority(syscall.PRIO_PROCESS, 0, 10))
	for {
		time.Sleep(45 * time.Millisecond)
		if atomic.LoadUint32(&b.pause) != 0 {
			atomic.StoreUint32(&me.rests, 1)
			continue
		}
		atomic.StoreUint32(&me.rests, 0)
		round(me)
		atomic.AddUint64(&me.rounds, 1)
	}
}

// counts are how often each of raceFiles was allowed and denied.
type counts [4][2]uint64

func (c counts) minus(d counts) counts {
	for i := range c {
		for j := range c[i] {
			c[i][j] -= d[i][j]
		}
	}
	return c
}

func (c counts) sum() (allowed, denied uint64) {
	for i := range c {
		allowed, denied = allowed+c[i][0], denied+c[i][1]
	}
	return allowed, denied
}

// reads names the files that were allowed; one that was denied too is an error.
func (c counts) reads() (names string, err error) {
	for i, name := range raceFiles {
		switch {
		case c[i][0] > 0 && c[i][1] > 0:
			err = fmt.Errorf("%s: allowed %d times, denied %d times", name, c[i][0], c[i][1])
		case c[i][0] > 0:
			names += " " + name
		}
	}
	return names, err
}

// crowd is all probes.
type crowd struct {
	board *board
	cmds  []*exec.Cmd
}

func startCrowd(kind string) *crowd {
	must(os.RemoveAll(boardFile))
	c := &crowd{board: openBoard()}
	for i := range probes {
		cmd := exec.Command("/proc/self/exe", kind, strconv.Itoa(i))
		cmd.Stderr = os.Stderr
		must(cmd.Start())
		c.cmds = append(c.cmds, cmd)
	}
	return c
}

func (c *crowd) stop() {
	for _, cmd := range c.cmds {
		cmd.Process.Kill()
		cmd.Wait()
	}
	c.cmds = nil
}

// wait waits until something is so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// rest stops the probes between two rounds and returns what they counted.
func (c *crowd) rest(t *testing.T) (sum counts) {
	t.Helper()
	atomic.StoreUint32(&c.board.pause, 1)
	for i := range c.board.probes {
		p := &c.board.probes[i]
		wait(t, "a probe to rest", func() bool { return atomic.LoadUint32(&p.rests) == 1 })
		for j := range sum {
			sum[j][0] += atomic.LoadUint64(&p.counts[j][0])
			sum[j][1] += atomic.LoadUint64(&p.counts[j][1])
		}
		if n := atomic.LoadUint64(&p.other); n > 0 {
			t.Fatalf("%d operations were neither allowed nor denied by policy", n)
		}
	}
	return sum
}

// goOn lets them go on, and returns when each has begun.
func (c *crowd) goOn(t *testing.T) {
	t.Helper()
	atomic.StoreUint32(&c.board.pause, 0)
	c.rounds(t, 1)
}

// rounds waits until each probe has gone round as often.
func (c *crowd) rounds(t *testing.T, n uint64) {
	t.Helper()
	for i := range c.board.probes {
		p := &c.board.probes[i]
		end := atomic.LoadUint64(&p.rounds) + n
		wait(t, "a probe's rounds", func() bool { return atomic.LoadUint64(&p.rounds) >= end })
	}
}
