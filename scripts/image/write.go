package main

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// writeLayout writes an OCI layout. Its index.json names the image's index, so that who
// loads it takes the image of its platform, under the name of tag.
func writeLayout(dir string, index v1.ImageIndex, tag name.Tag) error {
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	return l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag.TagStr(), // skopeo, podman
		"io.containerd.image.name":          tag.Name(),   // ctr, podman
	}))
}

// writeArchive packs a layout.
func writeArchive(to, dir string, made time.Time) error {
	return create(to, func(out *os.File) error {
		w := tar.NewWriter(out)
		err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
			if err != nil || at == dir {
				return err
			}
			below, err := filepath.Rel(dir, at)
			if err != nil {
				return err
			}
			header := &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeDir, Name: filepath.ToSlash(below) + "/", Mode: 0o755, ModTime: made}
			if d.IsDir() {
				return w.WriteHeader(header)
			}
			data, err := os.ReadFile(at)
			if err != nil {
				return err
			}
			header.Typeflag, header.Name, header.Mode, header.Size = tar.TypeReg, filepath.ToSlash(below), 0o644, int64(len(data))
			if err := w.WriteHeader(header); err != nil {
				return err
			}
			_, err = w.Write(data)
			return err
		})
		return errors.Join(err, w.Close())
	})
}

// writeDocker writes the image of one platform as docker save does: older engines read no
// OCI layout.
func writeDocker(to string, image v1.Image, tag name.Tag) error {
	return create(to, func(out *os.File) error { return tarball.Write(tag, image, out) })
}

// create writes a file; what is not whole goes again.
func create(to string, write func(*os.File) error) error {
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	if err := errors.Join(write(out), out.Close()); err != nil {
		os.Remove(to)
		return err
	}
	return nil
}
