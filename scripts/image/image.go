package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	source  = "https://github.com/stockade-dev/stockade"
	licence = "Apache-2.0 AND (GPL-2.0-only OR BSD-2-Clause)" // of LICENSES/README.md
)

// about is what an image says of itself.
type about struct {
	version, revision string
	made              time.Time
}

func (a about) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.source":   source,
		"org.opencontainers.image.version":  a.version,
		"org.opencontainers.image.revision": a.revision,
		"org.opencontainers.image.licenses": licence,
	}
}

// file is one of an image. Its directories come before it, and names are sorted.
type file struct {
	path string // without the first slash; a directory's ends in one
	mode fs.FileMode
	data []byte
}

// layer packs files so that equal ones give equal bytes: no name of a user, no number of
// one but root's, no time but the image's.
func layer(files []file, made time.Time) (v1.Layer, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		kind := byte(tar.TypeReg)
		if f.mode.IsDir() {
			kind = tar.TypeDir
		}
		header := &tar.Header{Format: tar.FormatUSTAR, Typeflag: kind, Name: f.path, Mode: int64(f.mode.Perm()), Size: int64(len(f.data)), ModTime: made}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9), tarball.WithCompressedCaching)
}

// image is that of one architecture.
func image(arch string, files []file, a about) (v1.Image, error) {
	l, err := layer(files, a.made)
	if err != nil {
		return nil, fmt.Errorf("layer of %s: %w", arch, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	made := v1.Time{Time: a.made}
	base, err = mutate.ConfigFile(base, &v1.ConfigFile{
		Architecture: arch, OS: "linux", Created: made, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       "0:0", // by number: there is no /etc/passwd
			Entrypoint: []string{"/usr/bin/stockade"},
			Cmd:        []string{"agent"},
			WorkingDir: "/",
			Env:        []string{"PATH=/usr/bin"},
			Labels:     a.labels(),
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.Append(base, mutate.Addendum{Layer: l, History: v1.History{Created: made, CreatedBy: "make image"}})
}

// platform is an image with its architecture.
type platform struct {
	arch string
	v1.Image
}

// index joins images.
func index(images []platform, a about) v1.ImageIndex {
	joined := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, i := range images {
		joined = mutate.AppendManifests(joined, mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: i.arch}}})
	}
	return mutate.Annotations(joined, a.labels()).(v1.ImageIndex)
}
