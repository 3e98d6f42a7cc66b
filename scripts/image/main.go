// Command image makes Stockade's container image, without a container engine: from
// programs that are built already, for each platform, reproducibly.
//
//	DIR/image                  an OCI layout
//	DIR/stockade-image.tar     the same, for `ctr image import` and `podman load`
//	DIR/stockade-image-ARCH.tar  one platform, for `docker load`
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
)

// options are what is to be made.
type options struct {
	about
	repository, programs, out string
	name                      string // of the image, without its tag
}

func main() {
	o := options{}
	flag.StringVar(&o.repository, "repository", "../..", "the licences are in `DIR`")
	flag.StringVar(&o.programs, "programs", "", "the programs are in `DIR`/ARCH")
	flag.StringVar(&o.out, "out", "", "the image goes to `DIR`")
	flag.StringVar(&o.name, "name", "localhost/stockade", "the image's `NAME`")
	flag.StringVar(&o.version, "version", "", "`VERSION`, and the image's tag")
	flag.StringVar(&o.revision, "revision", "", "the `COMMIT`")
	flag.Parse()
	err := errors.New("image: flags are missing: no image is made; run make image")
	if flag.NArg() == 0 && o.programs != "" && o.out != "" && o.version != "" && o.revision != "" {
		if o.made, err = epoch(os.Getenv("SOURCE_DATE_EPOCH")); err == nil {
			err = build(o)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// epoch is the time that all of the image has.
func epoch(text string) (time.Time, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: no number of seconds since 1970: no image is made; set it to one, or build in a git repository, whose commit has a time", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// build makes the image in all its forms, and prints what it made.
func build(o options) error {
	tag, err := name.NewTag(o.name+":"+o.version, name.StrictValidation)
	if err != nil {
		return fmt.Errorf("image %s:%s: %w: no image is made; set IMAGE and VERSION", o.name, o.version, err)
	}
	var images []platform
	for _, m := range machines {
		files, err := collect(o.repository, o.programs, m.arch, m.machine)
		if err != nil {
			return err
		}
		made, err := image(m.arch, files, o.about)
		if err != nil {
			return err
		}
		images = append(images, platform{m.arch, made})
	}
	joined := index(images, o.about)

	dir, archive := filepath.Join(o.out, "image"), filepath.Join(o.out, "stockade-image.tar")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := writeLayout(dir, joined, tag); err != nil {
		return err
	}
	if err := writeArchive(archive, dir, o.made); err != nil {
		return err
	}
	digest, err := joined.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%s %s\n", tag, digest)
	if err := print(archive, "linux/amd64 and linux/arm64: ctr image import, podman load"); err != nil {
		return err
	}
	for _, i := range images {
		to := filepath.Join(o.out, "stockade-image-"+i.arch+".tar")
		if err := writeDocker(to, i, tag); err != nil {
			return err
		}
		digest, err := i.Digest()
		if err != nil {
			return err
		}
		if err := print(to, "linux/"+i.arch+" "+digest.String()+": docker load, podman load"); err != nil {
			return err
		}
	}
	return nil
}

func print(file, what string) error {
	info, err := os.Stat(file)
	if err == nil {
		fmt.Printf("  %s, %d bytes: %s\n", filepath.Base(file), info.Size(), what)
	}
	return err
}
