package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// beMapped is a process with executable mappings: args[0] anonymous ones in memory that
// can be written, too, args[1] files in memory, and the files of the other arguments.
func beMapped(args []string) {
	count := func(i int) int {
		n, err := strconv.Atoi(args[i])
		must(err)
		return n
	}
	for range count(0) {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_PRIVATE|unix.MAP_ANON)
		must(err)
	}
	mapped := func(fd int) {
		_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
		must(err)
		must(unix.Close(fd))
	}
	for i := range count(1) {
		fd, err := unix.MemfdCreate("odd\nname", 0)
		must(err)
		_, err = unix.Write(fd, fmt.Append(nil, "file ", i))
		must(err)
		mapped(fd)
	}
	for _, name := range args[2:] {
		fd, err := unix.Open(name, unix.O_RDONLY, 0)
		must(err)
		mapped(fd)
	}
	ready()
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// find returns the mapping of a path.
func find(t *testing.T, r ExecutablesRecord, path string) Mapping {
	t.Helper()
	for _, m := range r.Mappings {
		if m.PathB64 == nil && m.Path == path || path != "" && string(m.PathB64) == path {
			return m
		}
	}
	t.Fatalf("no mapping of %q: %+v", path, r)
	return Mapping{}
}

func TestAProgramThatWasRemovedIsHashed(t *testing.T) {
	text, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "cat\xff\n")
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	in, _, _ := os.Pipe()
	defer in.Close()
	cmd.Stdin = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r := one[ExecutablesRecord](t, Executables, named(t, cmd.Process.Pid))
	path += " (deleted)"
	m := find(t, r, path)
	if e := r.Executable; string(e.PathB64) != path || e.SHA256 != sumOf(text) || e.Size != int64(len(text)) || e.Content != m.Content || e.Inode != m.Inode {
		t.Errorf("%+v, mapped %+v", e, m)
	}
	if m.Count < 1 || m.Perms[2] != 'x' || m.Writable {
		t.Errorf("%+v", m)
	}
}

func TestExecutableMemoryIsTold(t *testing.T) {
	dir := t.TempDir()
	odd := filepath.Join(dir, "a\\012\nb")
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(odd, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, nil, 0o644); err != nil || os.Truncate(large, MaxFile+1) != nil {
		t.Fatal(err)
	}
	r := one[ExecutablesRecord](t, Executables, start(t, do(t, "map", "2", "1", odd, odd, large, "/dev/zero")))
	if m := find(t, r, odd); m.SHA256 != sumOf([]byte("content")) || m.Size != 7 || m.Count != 2 {
		t.Errorf("%+v", m)
	}
	if m := find(t, r, "/memfd:odd\nname (deleted)"); m.SHA256 != sumOf([]byte("file 0")) {
		t.Errorf("%+v", m)
	}
	if m := find(t, r, ""); !m.Writable || m.Count < 1 || m.Inode != 0 || m.SHA256 != "" || m.Perms != "rwxp" {
		t.Errorf("%+v", m)
	}
	if m := find(t, r, large); m.SHA256 != "" || m.Size != MaxFile+1 || !strings.Contains(m.Unhashed, "larger than 268435456 bytes") {
		t.Errorf("%+v", m)
	}
	if m := find(t, r, "/dev/zero"); m.SHA256 != "" || m.Unhashed != "it is no regular file" {
		t.Errorf("%+v", m)
	}
	if find(t, r, "[vdso]").Inode != 0 || r.Cut != nil || r.Failed != nil {
		t.Errorf("%+v", r)
	}
}

func TestMappingsBeyondTheBoundAreCounted(t *testing.T) {
	const files = MaxMappings + 20
	r := one[ExecutablesRecord](t, Executables, start(t, do(t, "map", "0", fmt.Sprint(files))))
	told, sums := 0, map[string]bool{}
	for _, m := range r.Mappings {
		told += m.Count
		sums[m.SHA256] = true
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.PID))
	if err != nil {
		t.Fatal(err)
	}
	all := 0
	for line := range strings.Lines(string(text)) {
		if strings.Fields(line)[1][2] == 'x' {
			all++
		}
	}
	if len(r.Mappings) != MaxMappings || r.Cut["mappings"] != (Total{Total: int64(all)}) || all-told < 20 || len(sums) < MaxMappings-20 {
		t.Errorf("%d files and %d of %d told, %d sums, cut %v", len(r.Mappings), told, all, len(sums), r.Cut)
	}
}

func TestAFileIsHashedOnceForAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "shared")
	if err := os.WriteFile(path, []byte("shared"), 0o644); err != nil {
		t.Fatal(err)
	}
	list := []Process{start(t, do(t, "map", "0", "0", path)), start(t, do(t, "map", "0", "0", path))}
	var text strings.Builder
	r := newRun(helperArgs, Request{Collector: Executables, Processes: list}, &text)
	if err := r.all(t.Context()); err != nil {
		t.Fatal(err)
	}
	var bytes int64
	for _, c := range r.request.Spent.Files {
		bytes += c.Size
	}
	if bytes == 0 || r.request.Spent.Hashed != bytes {
		t.Errorf("%d bytes hashed, files have %d", r.request.Spent.Hashed, bytes)
	}
	doc := decode[ExecutablesRecord](t, text.String())
	if a, b := find(t, doc.Processes[0], path), find(t, doc.Processes[1], path); a.SHA256 != sumOf([]byte("shared")) || a.File.Content != b.File.Content {
		t.Errorf("%+v, %+v", a, b)
	}
}

func TestHashingHasABoundInAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("ten bytes!"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, do(t, "map", "0", "0", path))
	for left, hashed := range map[int64]bool{10: true, 9: false} {
		var text strings.Builder
		r := newRun(helperArgs, Request{Collector: Executables, Processes: []Process{p}}, &text)
		r.request.Spent.Hashed = AllFiles - left
		if err := r.all(t.Context()); err != nil {
			t.Fatal(err)
		}
		record := decode[ExecutablesRecord](t, text.String()).Processes[0]
		m := find(t, record, path)
		if (m.SHA256 != "") != hashed || (m.Unhashed == "") != hashed {
			t.Errorf("%d bytes left: %+v", left, m)
		}
		if record.Executable.SHA256 != "" || !strings.Contains(record.Executable.Unhashed, "more than 1073741824") {
			t.Errorf("%+v", record.Executable)
		}
	}
}
