package inspect

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A helper's lines on stdout begin with a letter that says what follows, in JSON.
const (
	lineRecord = 'r' // one process or group
	lineSpent  = 's' // a Spent, of which Files are those since the last one
	lineEnd    = 'e' // an end: it is complete
)

// end is what is known when all has been read.
type end struct {
	Cut Cuts `json:"cut,omitempty"`
}

// wordsFD is where a helper says, in one line each, what it is about to read: a number of
// a process, a blank, and a file.
const wordsFD = 3

// look is a helper at work.
type look struct {
	values bool
	spent  Spent
	fresh  map[string]Content // hashed since spent was last told
	told   Spent
	words  *os.File
	out    *bufio.Writer
	failed error // the first failure to write: who asked is gone
}

// Helper is the main of the process that Run starts: it reads one Request from stdin and
// answers on stdout and descriptor 3. The error says that it was started otherwise, or
// that Run has gone.
func Helper(stdin io.Reader, stdout io.Writer) error {
	var st unix.Stat_t
	if unix.Fstat(wordsFD, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return errors.New("look: descriptor 3 is no pipe: nothing was read; this verb is started by stockade alone")
	}
	unix.CloseOnExec(wordsFD)
	if err := humble(); err != nil {
		return err
	}
	var r Request
	if err := json.NewDecoder(stdin).Decode(&r); err != nil {
		return fmt.Errorf("look: request: %w: nothing was read; this verb is started by stockade alone", err)
	}
	if err := r.check(); err != nil {
		return err
	}
	l := &look{values: r.Values, spent: r.Spent, fresh: map[string]Content{},
		words: os.NewFile(wordsFD, "words"), out: bufio.NewWriter(stdout)}
	if l.spent.Files == nil {
		l.spent.Files = map[string]Content{}
	}
	return l.answer(&r)
}

// humble takes from a helper what it inherits and has no use for. It leaves no core, since
// it holds what it read, and lets nobody trace it who has no right to all; memory short, it
// goes before who started it. It starts no program, so that none can have more rights.
func humble() error {
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte("0"), 0); err != nil && !errors.Is(err, unix.EACCES) {
		return fmt.Errorf("look: %w: nothing was read; mount /proc", err)
	}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("look: %w: nothing was read; mount /proc", err)
	}
	for _, entry := range fds {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || fd <= wordsFD {
			continue
		}
		// What this program opened is closed on exec; what it inherited never is.
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("look: prctl: %w: nothing was read; update the kernel", err)
	}
	return nil
}

// answer reads all that is asked for.
func (l *look) answer(r *Request) error {
	var last end
	if r.Collector == ControlGroup {
		last.Cut = l.groups(r.Groups)
	}
	read := collectors[r.Collector]
	for _, named := range r.Processes {
		if read == nil || l.failed != nil {
			break
		}
		record := l.record(named, read)
		l.tellSpent()
		l.tell(lineRecord, record)
	}
	l.tell(lineEnd, last)
	return l.failed
}

// say says what is about to be read.
func (l *look) say(pid int, file string) {
	if l.failed == nil {
		_, l.failed = fmt.Fprintf(l.words, "%d %s\n", pid, file)
	}
}

// tell writes a line.
func (l *look) tell(kind byte, v any) {
	if l.failed != nil {
		return
	}
	l.out.WriteByte(kind)
	l.out.Write(marshal(v))
	l.out.WriteByte('\n')
	l.failed = l.out.Flush()
}

// tellSpent tells what counts against common bounds, if that has changed.
func (l *look) tellSpent() {
	now := l.spent
	now.Files = l.fresh
	if len(l.fresh) == 0 && now.Descriptors == l.told.Descriptors && now.Mappings == l.told.Mappings && now.Hashed == l.told.Hashed {
		return
	}
	l.tell(lineSpent, now)
	l.told, l.fresh = now, map[string]Content{}
}
