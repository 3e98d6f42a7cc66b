package container

import (
	"os"
	"path/filepath"
	"testing"
)

// What containerd wrote for a pod of a kubelet 1.37, byte for byte.
func TestWhatContainerdWritesForPodsIsUnderstood(t *testing.T) {
	const pod = "default/box-free-vm/b07dcba7e7bd1c61e6970248dabe11e8"
	for file, want := range map[string]Facts{
		"sandbox":   {Pod: pod, Sandbox: true},
		"container": {Pod: pod, Name: "main", Image: "docker.io/stockade/plain:1"},
	} {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile("testdata/containerd-2.1.9/" + file + ".json")
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			put(t, filepath.Join(dir, cri, "config.json"), string(text))
			got, err := ReadBundle(filepath.Join(dir, cri), id)
			if err != nil || got.Pod != want.Pod || got.Sandbox != want.Sandbox || got.Name != want.Name || got.Image != want.Image {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}
