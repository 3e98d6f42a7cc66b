package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Who changes a file all the time puts nobody else's changes off.
func TestFilesThatDoNotRestAreReadAllTheSame(t *testing.T) {
	dir := t.TempDir()
	changed := make(chan bool, 100)
	f, err := newFileWatch(func() { changed <- true }, func(text string) { t.Error(text) })
	if err != nil {
		t.Fatal(err)
	}
	f.set([]string{filepath.Join(dir, "file")})
	over := make(chan bool)
	go func() {
		defer close(over)
		f.follow()
	}()
	for end := time.Now().Add(10 * patience); ; time.Sleep(settling / 4) {
		if err := os.WriteFile(filepath.Join(dir, "file"), fmt.Append(nil, end), 0o600); err != nil {
			t.Fatal(err)
		}
		if len(changed) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Error("not read as long as it is written")
			break
		}
	}
	if err := f.close(); err != nil {
		t.Error(err)
	}
	<-over
}
