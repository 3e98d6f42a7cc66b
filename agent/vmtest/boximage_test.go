package vmtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Names of the images: one that a template selects, others that none does.
const (
	plainImage  = "stockade/plain:1"
	chosenImage = "stockade/chosen:1"
	pauseImage  = "stockade/pause:1"
	imageFile   = "/srv/image.tar"
)

// makeImage writes images that all engines load: one under two names, and the one of the
// container that holds a pod's namespaces.
func makeImage() {
	program, err := os.ReadFile("/usr/bin/busybox")
	must(err)
	files := map[string]string{"data/ok": "ok\n", "data/secret": "secret\n"}
	for _, name := range []string{"sh", "cat", "sleep", "touch"} {
		files["bin/"+name] = string(program)
	}
	layer := archive([]string{"bin/", "data/", "vol/", "proc/", "dev/", "etc/", "sys/"}, files)
	digest := func(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }
	contents := map[string]string{digest(layer) + "/layer.tar": string(layer)}
	var list []map[string]any
	for _, one := range []struct{ names, command []string }{
		{[]string{plainImage, chosenImage}, []string{"/bin/sh"}},
		{[]string{pauseImage}, []string{"/bin/sleep", "1000000"}},
	} {
		config, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin"}, "Cmd": one.command},
			"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest(layer)}},
		})
		must(err)
		contents[digest(config)+".json"] = string(config)
		list = append(list, map[string]any{"Config": digest(config) + ".json", "RepoTags": one.names, "Layers": []string{digest(layer) + "/layer.tar"}})
	}
	manifest, err := json.Marshal(list)
	must(err)
	contents["manifest.json"] = string(manifest)
	put(imageFile, string(archive([]string{digest(layer) + "/"}, contents)))
}

// archive is a tar file.
func archive(dirs []string, files map[string]string) []byte {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range dirs {
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}))
	}
	for name, text := range files {
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		must(err)
	}
	must(w.Close())
	return out.Bytes()
}
