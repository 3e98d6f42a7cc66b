//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Options say what to boot and what to run in it.
type Options struct {
	Kernel      string
	Root        string
	CPUs        int
	Memory      int
	ICount      bool
	Systemd     bool
	Append      string
	Timeout     time.Duration
	BootTimeout time.Duration
	Tries       int
	Files       []FilePair
	Env         []string
	Modules     []string
	Runtimes    string
	Disk        string
	Dir         string
	Ship        bool
	KeepLog     bool
	Verbose     bool
	Shell       bool
	Command     []string
}

// FilePair is a file or folder of the host and its path in the guest.
type FilePair struct{ Host, Guest string }

const (
	rootInitramfs  = "initramfs"
	rootDebian     = "debian"
	rootEngines    = "engines"
	rootKubernetes = "kubernetes"
)

// onDisk reports whether the root is a userland's image.
func (o *Options) onDisk() bool { return findUserland(o.Root) != nil }

var errHelp = flag.ErrHelp

// stringList is a flag that may be given many times.
type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, " ") }
func (l *stringList) Set(s string) error { *l = append(*l, s); return nil }

type flags struct {
	*flag.FlagSet
	options             Options
	files, env, modules stringList
}

func newFlags(verb string) *flags {
	f := &flags{FlagSet: flag.NewFlagSet(verb, flag.ContinueOnError)}
	o, root := &f.options, rootInitramfs
	o.Shell = verb == "shell"
	if o.Shell {
		root = rootDebian
	}
	f.SetOutput(io.Discard)
	f.StringVar(&o.Kernel, "kernel", defaultKernel, "`LABEL` of the kernel, see vm list")
	f.StringVar(&o.Root, "root", root, "`KIND` of root: initramfs (busybox on a tmpfs), debian (ext4; default of shell), engines or kubernetes (ext4)")
	f.IntVar(&o.CPUs, "cpus", 1, "`NUMBER` of processors; more than 1 is for race tests only")
	f.IntVar(&o.Memory, "mem", 1024, "memory in `MiB`")
	f.BoolVar(&o.ICount, "icount", false, "let guest time count instructions, for ratios of cost; needs 1 processor")
	f.BoolVar(&o.Systemd, "systemd", false, "let systemd be process 1; needs a root on disk")
	f.StringVar(&o.Append, "append", "", "more `WORDS` for the kernel's command line")
	f.DurationVar(&o.Timeout, "timeout", 300*time.Second, "`TIME` the command may take")
	f.DurationVar(&o.BootTimeout, "boot-timeout", 120*time.Second, "`TIME` one boot may take")
	f.IntVar(&o.Tries, "tries", 3, "`NUMBER` of boots tried when the kernel dies before init")
	f.Var(&f.files, "file", "copy a file or folder: `HOST:GUEST`; may be repeated")
	f.Var(&f.env, "env", "`NAME=VALUE` for the command; may be repeated")
	f.Var(&f.modules, "module", "also load the kernel module `NAME`; may be repeated")
	f.StringVar(&o.Runtimes, "runtimes", "", "container runtimes whose name matches the `GLOB`, and busybox, in /vmtest; needs the root debian")
	f.StringVar(&o.Disk, "disk", "", "keep the root on disk in `FILE`, for the next run: so a machine boots again; made where it is missing")
	f.StringVar(&o.Dir, "dir", "/root", "working `FOLDER` of the command in the guest")
	f.BoolVar(&o.Ship, "ship", false, "CMD is a file of the host: copy it, and ./testdata, to /ship and run it there")
	f.BoolVar(&o.KeepLog, "keep-log", false, "keep the kernel's console log after a success too")
	f.BoolVar(&o.Verbose, "verbose", false, "say how long the boot and the command took")
	return f
}

func optionsHelp() string {
	var text strings.Builder
	newFlags("run").VisitAll(func(f *flag.Flag) {
		name, about := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			about += " (" + f.DefValue + ")"
		}
		fmt.Fprintf(&text, "  --%-20s %s\n", strings.TrimSpace(f.Name+" "+name), about)
	})
	return text.String()
}

func parseOptions(verb string, args []string) (*Options, error) {
	f := newFlags(verb)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, errHelp
		}
		return nil, fmt.Errorf("%s: %w: nothing done; see vm --help", verb, err)
	}
	o := &f.options
	o.Command, o.Env, o.Modules = f.Args(), f.env, f.modules
	for _, text := range f.files {
		host, guest, found := strings.Cut(text, ":")
		if !found || host == "" || !filepath.IsAbs(guest) {
			return nil, fmt.Errorf("--file %s: not HOST:/GUEST: nothing done; give an absolute path in the guest", text)
		}
		o.Files = append(o.Files, FilePair{host, filepath.Clean(guest)})
	}
	return o, o.check()
}

func (o *Options) check() error {
	switch {
	case findKernel(o.Kernel) == nil:
		return fmt.Errorf("--kernel %s: no such kernel: nothing done; known are %s", o.Kernel, kernelLabels())
	case o.Root != rootInitramfs && !o.onDisk():
		return fmt.Errorf("--root %s: no such root: nothing done; give %s, %s, %s or %s", o.Root, rootInitramfs, rootDebian, rootEngines, rootKubernetes)
	case o.CPUs < 1 || o.Memory < 128 || o.Tries < 1:
		return errors.New("--cpus, --mem, --tries: at least 1, 128 and 1: nothing done")
	case o.ICount && o.CPUs != 1:
		return errors.New("--icount: counts one processor only: nothing done; leave --cpus at 1")
	case o.Shell && o.ICount:
		return errors.New("--icount: a shell has no use for it: nothing done; leave it away")
	case o.Systemd && !o.onDisk():
		return errors.New("--systemd: the small root has none: nothing done; add --root debian")
	case o.Runtimes != "" && o.Root != rootDebian:
		return errors.New("--runtimes: the small root lacks their libraries: nothing done; add --root debian")
	case o.Disk != "" && !o.onDisk():
		return errors.New("--disk: the small root is in memory: nothing done; add --root debian")
	case !o.Shell && len(o.Command) == 0:
		return errors.New("run: no command: nothing done; give it after --")
	case o.Ship && len(o.Command) == 0:
		return errors.New("--ship: no command: nothing done; give it after --")
	}
	for _, pair := range o.Env {
		if i := strings.IndexByte(pair, '='); i < 1 {
			return fmt.Errorf("--env %s: not NAME=VALUE: nothing done", pair)
		}
	}
	if o.Ship {
		return o.ship()
	}
	return nil
}

// ship makes the command run from a copy under /ship, with the folder
// testdata beside it, as "go test -exec" needs it.
func (o *Options) ship() error {
	const folder = "/ship"
	host := o.Command[0]
	if info, err := os.Stat(host); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("--ship %s: not a file of this host: nothing done; build it first", host)
	}
	guest := filepath.Join(folder, filepath.Base(host))
	o.Files = append(o.Files, FilePair{host, guest})
	if info, err := os.Stat("testdata"); err == nil && info.IsDir() {
		o.Files = append(o.Files, FilePair{"testdata", folder + "/testdata"})
	}
	o.Command = append([]string{guest}, o.Command[1:]...)
	o.Dir = folder
	return nil
}
