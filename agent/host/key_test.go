package host

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKeyIsMadeOnceAndKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state", "host.key")
	keys := make([]ed25519.PrivateKey, 8)
	var all sync.WaitGroup
	for i := range keys { // the first uses may come at once
		all.Go(func() {
			var err error
			if keys[i], err = Key(file); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, k := range keys {
		if !k.Equal(keys[0]) {
			t.Fatal("two uses got two keys")
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	left, _ := os.ReadDir(filepath.Dir(file))
	if len(left) != 1 {
		t.Errorf("left beside it: %v", left)
	}
	text, fingerprint := PublicKey(keys[0])
	block, _ := pem.Decode(text)
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !ed25519.Verify(public.(ed25519.PublicKey), []byte("m"), ed25519.Sign(keys[0], []byte("m"))) {
		t.Errorf("what it signs is not what its public half checks: %v", err)
	}
	if !strings.HasPrefix(fingerprint, "SHA256:") || len(fingerprint) != 7+43 {
		t.Errorf("fingerprint %s", fingerprint)
	}
}

func TestKeyThatIsNotOursAloneIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, file string) error{
		"others than its owner": func(_ *testing.T, file string) error { return os.Chmod(file, 0o640) },
		"no private key in PEM": func(_ *testing.T, file string) error { return os.WriteFile(file, []byte("x"), 0o600) },
		"no regular file": func(_ *testing.T, file string) error {
			os.Remove(file)
			return os.Mkdir(file, 0o700)
		},
		"too many levels": func(t *testing.T, file string) error { // a link
			if err := os.Rename(file, file+".real"); err != nil {
				return err
			}
			return os.Symlink(file+".real", file)
		},
		"x509": func(_ *testing.T, file string) error {
			return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")}), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "host.key")
			if _, err := Key(file); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, file); err != nil {
				t.Fatal(err)
			}
			_, err := Key(file)
			if err == nil || !strings.Contains(err.Error(), name) && name != "x509" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestKeyThatOthersCouldReplaceIsRefused(t *testing.T) {
	folder := t.TempDir()
	file := filepath.Join(folder, "host.key")
	for _, made := range []bool{false, true} {
		if err := os.Chmod(folder, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		if _, err := Key(file); err == nil || !strings.Contains(err.Error(), "others could replace the key") {
			t.Errorf("made %t: got %v", made, err)
		}
		if err := os.Chmod(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := Key(file); err != nil {
			t.Errorf("made %t: %v", made, err)
		}
	}
}

// Who is not root is told to be, and not to keep a key of the host's elsewhere.
func TestWhoMayUseTheKeyIsTold(t *testing.T) {
	for want, owner := range map[string]int{"run as root": 0, "run as its owner": 7} {
		if err := errOwner("/f", owner, 1000); !strings.Contains(err.Error(), want) {
			t.Errorf("owner %d: %v", owner, err)
		}
	}
}
