package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// program is a file that says for which machine it is, and no more.
func program(t *testing.T, name string, machine elf.Machine, interpreter bool) {
	t.Helper()
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1, Ehsize: 64, Phentsize: 56, Shentsize: 64}
	copy(header.Ident[:], elf.ELFMAG+"\x02\x01\x01")
	var text bytes.Buffer
	parts := []any{&header}
	if interpreter {
		header.Phoff, header.Phnum = 64, 1
		parts = append(parts, &elf.Prog64{Type: uint32(elf.PT_INTERP)})
	}
	for _, part := range parts {
		if err := binary.Write(&text, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	text.WriteString(filepath.Base(name))
	write(t, name, text.Bytes(), 0o700)
}

func write(t *testing.T, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, data, mode)); err != nil {
		t.Fatal(err)
	}
}

// prepare makes a folder with all that an image is built from.
func prepare(t *testing.T) options {
	dir := t.TempDir()
	o := options{repository: dir, programs: filepath.Join(dir, "programs"), out: filepath.Join(dir, "out"), name: "localhost/stockade"}
	o.version, o.revision, o.made = "v1.2.3", "abc", time.Unix(1700000000, 0).UTC()
	for _, m := range machines {
		program(t, filepath.Join(o.programs, m.arch, "stockade"), m.machine, false)
		program(t, filepath.Join(o.programs, m.arch, "stockade-kube"), m.machine, false)
		program(t, filepath.Join(o.programs, m.arch, "stockade-runc"), m.machine, false)
	}
	write(t, filepath.Join(dir, "LICENSES", "B.txt"), []byte("b"), 0o600)
	write(t, filepath.Join(dir, "LICENSES", "A.txt"), []byte("a"), 0o600)
	write(t, filepath.Join(dir, "LICENSE"), []byte("l"), 0o600)
	return o
}

// digests are those of all files that were made.
func digests(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		found[strings.TrimPrefix(name, dir)] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestTwoBuildsInTwoFoldersAreEqual(t *testing.T) {
	one, two, later := prepare(t), prepare(t), prepare(t)
	later.made = later.made.Add(time.Second)
	for _, name := range []string{"LICENSE", "programs/amd64/stockade"} { // what a folder's files are like matters not
		old := time.Unix(1, 0)
		if err := errors.Join(os.Chtimes(filepath.Join(two.repository, name), old, old), os.Chmod(filepath.Join(two.repository, name), 0o777)); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []options{one, two, two, later} { // a second build in a folder replaces the first
		if err := build(o); err != nil {
			t.Fatal(err)
		}
	}
	first := digests(t, one.out)
	if len(first) < 3+2+7 { // archives, index.json and oci-layout, and of blobs an index, 2 × (manifest, config, layer)
		t.Errorf("made: %v", slices.Sorted(maps.Keys(first)))
	}
	if second := digests(t, two.out); !maps.Equal(first, second) {
		t.Errorf("two builds differ:\n%v\n%v", first, second)
	}
	third := digests(t, later.out)
	for _, name := range []string{"/image/index.json", "/stockade-image.tar", "/stockade-image-arm64.tar"} {
		if first[name] == third[name] {
			t.Errorf("%s: is that of another time: digests see nothing", name)
		}
	}
}

// wanted are the files of an image.
var wanted = []string{
	"drwxr-xr-x usr/", "drwxr-xr-x usr/bin/", "-rwxr-xr-x usr/bin/stockade", "-rwxr-xr-x usr/bin/stockade-kube", "-rwxr-xr-x usr/bin/stockade-runc",
	"drwxr-xr-x usr/share/", "drwxr-xr-x usr/share/doc/", "drwxr-xr-x usr/share/doc/stockade/",
	"-rw-r--r-- usr/share/doc/stockade/LICENSE", "drwxr-xr-x usr/share/doc/stockade/LICENSES/",
	"-rw-r--r-- usr/share/doc/stockade/LICENSES/A.txt", "-rw-r--r-- usr/share/doc/stockade/LICENSES/B.txt",
}

// look reads an image back.
func look(t *testing.T, i v1.Image, arch string, machine elf.Machine, o options) {
	t.Helper()
	if err := validate.Image(i); err != nil {
		t.Error(err)
	}
	config, err := i.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.OS != "linux" || config.Architecture != arch || !config.Created.Equal(o.made) || len(config.History) != 1 ||
		!slices.Equal(c.Entrypoint, []string{"/usr/bin/stockade"}) || !slices.Equal(c.Cmd, []string{"agent"}) || c.User != "0:0" || config.Author+c.Hostname+config.Container != "" {
		t.Errorf("%s: configuration: %+v", arch, config)
	}
	labels := map[string]string{
		"org.opencontainers.image.source": "https://github.com/stockade-dev/stockade", "org.opencontainers.image.version": "v1.2.3",
		"org.opencontainers.image.revision": "abc", "org.opencontainers.image.licenses": "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)",
	}
	if !maps.Equal(c.Labels, labels) {
		t.Errorf("%s: labels: %v", arch, c.Labels)
	}
	layers, err := i.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%s: %d layers, %v", arch, len(layers), err)
	}
	packed, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	var names []string
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.FileInfo().Mode().String()+" "+h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname+h.Gname != "" || !h.ModTime.Equal(o.made) {
			t.Errorf("%s: %s: %+v", arch, h.Name, h)
		}
		if !strings.HasPrefix(h.Name, "usr/bin/s") {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := elf.NewFile(bytes.NewReader(data)); err != nil || p.Machine != machine || !strings.HasSuffix(string(data), filepath.Base(h.Name)) {
			t.Errorf("%s: %s: %+v, %v", arch, h.Name, p, err)
		}
	}
	if !slices.Equal(names, wanted) {
		t.Errorf("%s: files: %q", arch, names)
	}
}

func TestImageIsReadBack(t *testing.T) {
	o := prepare(t)
	if err := build(o); err != nil {
		t.Fatal(err)
	}
	top, err := layout.ImageIndexFromPath(filepath.Join(o.out, "image"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil {
		t.Error(err)
	}
	manifest, err := top.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].MediaType != types.OCIImageIndex ||
		manifest.Manifests[0].Annotations["io.containerd.image.name"] != "localhost/stockade:v1.2.3" {
		t.Fatalf("index.json: %+v, %v", manifest, err)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest, err = index.IndexManifest(); err != nil || len(manifest.Manifests) != len(machines) {
		t.Fatalf("the index: %+v, %v", manifest, err)
	}
	for n, m := range machines {
		if p := manifest.Manifests[n].Platform; p == nil || p.OS != "linux" || p.Architecture != m.arch {
			t.Errorf("%s: platform: %+v", m.arch, p)
		}
		image, err := index.Image(manifest.Manifests[n].Digest)
		if err != nil {
			t.Fatal(err)
		}
		look(t, image, m.arch, m.machine, o)
		if image, err = tarball.ImageFromPath(filepath.Join(o.out, "stockade-image-"+m.arch+".tar"), nil); err != nil {
			t.Fatal(err)
		}
		look(t, image, m.arch, m.machine, o)
	}
	archived(t, filepath.Join(o.out, "stockade-image.tar"), filepath.Join(o.out, "image"))
}

// archived fails unless an archive has the files of a layout.
func archived(t *testing.T, archive, dir string) {
	t.Helper()
	packed, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	left := digests(t, dir)
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && left["/"+h.Name] != fmt.Sprintf("%x", sha256.Sum256(data)) || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: %+v", archive, h)
		}
		delete(left, "/"+h.Name)
	}
	if len(left) > 0 {
		t.Errorf("%s: lacks %v", archive, left)
	}
}

func TestWhatDoesNotFitIsRefused(t *testing.T) {
	for _, c := range []struct {
		says  string
		spoil func(*options)
	}{
		{"arm64/stockade: is for EM_X86_64, not EM_AARCH64: no image is made", func(o *options) {
			program(t, filepath.Join(o.programs, "arm64", "stockade"), elf.EM_X86_64, false)
		}},
		{"amd64/stockade-runc: is not static: no image is made", func(o *options) {
			program(t, filepath.Join(o.programs, "amd64", "stockade-runc"), elf.EM_X86_64, true)
		}},
		{"no such file or directory: no image is made", func(o *options) { o.programs = "/nowhere" }},
		{"LICENSES: no such file or directory: no image is made", func(o *options) { os.RemoveAll(filepath.Join(o.repository, "LICENSES")) }},
		{"image localhost/stockade:a b: ", func(o *options) { o.version = "a b" }},
	} {
		o := prepare(t)
		c.spoil(&o)
		if err := build(o); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v, not %q", err, c.says)
		}
		if made, err := os.ReadDir(o.out); len(made) > 0 {
			t.Errorf("%s: made %v, %v", c.says, made, err)
		}
	}
}

func TestTimeIsOfTheSource(t *testing.T) {
	if made, err := epoch("1700000000"); err != nil || made.Format(time.RFC3339) != "2023-11-14T22:13:20Z" {
		t.Errorf("%v, %v", made, err)
	}
	for _, text := range []string{"", "yesterday", "-1"} {
		if _, err := epoch(text); err == nil || !strings.Contains(err.Error(), "no image is made; ") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
