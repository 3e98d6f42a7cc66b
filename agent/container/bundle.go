package container

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// spec is what of a bundle's config.json matters here.
type spec struct {
	Annotations map[string]string `json:"annotations"`
	Mounts      []struct {
		Destination string `json:"destination"`
		Source      string `json:"source"`
	} `json:"mounts"`
}

// maxFile bounds the files that are read: a spec of thousands of mounts has some MiB.
const maxFile = 64 << 20

// ReadBundle says what is known of a container, by its bundle and by what its engine keeps
// beside that.
func ReadBundle(bundle, id string) (Facts, error) {
	f := Facts{ID: id}
	bundle, err := filepath.Abs(bundle)
	if err != nil {
		return f, fmt.Errorf("bundle: %w: nothing was started", err)
	}
	f.Bundle = bundle
	file := filepath.Join(bundle, "config.json")
	var s spec
	if err := readJSON(file, &s); err != nil {
		return f, fmt.Errorf("bundle: %w: nothing was started; see what made it", err)
	}
	f.Annotations = s.Annotations
	f.cri()
	if err := errors.Join(f.docker(&s), f.podman()); err != nil {
		return f, err
	}
	return f, f.Check()
}

func readJSON(name string, to any) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("larger than %d MiB", maxFile>>20)
	}
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// cri takes what the Kubernetes service of containerd writes into annotations: no pod sets
// these. Elsewhere anybody who starts a container may.
func (f *Facts) cri() {
	if f.task() != "k8s.io" {
		return
	}
	told := func(key string) string { return f.Annotations["io.kubernetes.cri."+key] }
	f.Name, f.Image, f.Sandbox = told("container-name"), told("image-name"), told("container-type") == "sandbox"
	if uid := told("sandbox-uid"); uid != "" {
		f.Pod = told("sandbox-namespace") + "/" + told("sandbox-name") + "/" + uid
	}
}

// task returns the namespace of a task of containerd, by its bundle; "" of others.
func (f *Facts) task() string {
	space := filepath.Dir(f.Bundle)
	if filepath.Base(f.Bundle) != f.ID || filepath.Base(filepath.Dir(space)) != "io.containerd.runtime.v2.task" {
		return ""
	}
	return filepath.Base(space)
}

// docker takes what Docker keeps of a container in the folder from which it mounts
// /etc/hostname.
func (f *Facts) docker(s *spec) error {
	if f.task() != "moby" {
		return nil
	}
	for _, m := range s.Mounts {
		dir := filepath.Dir(m.Source)
		if m.Destination != "/etc/hostname" || filepath.Base(dir) != f.ID {
			continue
		}
		var kept struct {
			ID, Name string
			Config   struct {
				Image  string
				Labels map[string]string
			}
		}
		err := readJSON(filepath.Join(dir, "config.v2.json"), &kept)
		if errors.Is(err, fs.ErrNotExist) || err == nil && kept.ID != f.ID {
			return nil // another engine's
		}
		if err != nil {
			return fmt.Errorf("%s: what Docker knows of it: %w: nothing was started", f, err)
		}
		f.Name, f.Image, f.Labels = strings.TrimPrefix(kept.Name, "/"), kept.Config.Image, kept.Config.Labels
	}
	return nil
}

// podman takes what Podman and CRI-O keep of their containers, two folders above a bundle that is
// .../ID/userdata: those of --rm are in a book of their own.
func (f *Facts) podman() error {
	dir := filepath.Dir(f.Bundle)
	if filepath.Base(f.Bundle) != "userdata" || filepath.Base(dir) != f.ID {
		return nil
	}
	for _, book := range []string{"containers.json", "volatile-containers.json"} {
		var list []struct {
			ID       string   `json:"id"`
			Names    []string `json:"names"`
			Metadata string   `json:"metadata"`
		}
		err := readJSON(filepath.Join(filepath.Dir(dir), book), &list)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: what Podman knows of it: %w: nothing was started", f, err)
		}
		for _, one := range list {
			var more struct {
				Image string `json:"image-name"`
			}
			if one.ID != f.ID {
				continue
			}
			if len(one.Names) > 0 {
				f.Name = one.Names[0]
			}
			if json.Unmarshal([]byte(one.Metadata), &more) == nil {
				f.Image = more.Image
			}
		}
	}
	return nil
}
