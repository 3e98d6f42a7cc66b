package host

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/stockade-dev/stockade/agent/file"
)

// KeyFile is where the key lies that this host signs with. It outlives a reboot: what
// was signed can be checked for years.
const KeyFile = LastingRoot + "/host.key"

// maxKey bounds such a file, in bytes.
const maxKey = 16 << 10

// Key returns the key of this machine, see the function.
func (m Machine) Key() (ed25519.PrivateKey, error) {
	return Key(filepath.Join(m.Lasting, filepath.Base(KeyFile)))
}

// Key returns the Ed25519 key that this host signs with, from a file (PKCS #8 in PEM)
// that is made when there is none. One that others can read, write or replace is refused.
func Key(file string) (ed25519.PrivateKey, error) {
	if err := checkFolder(filepath.Dir(file)); err != nil {
		return nil, err
	}
	key, err := readKey(file)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := makeKey(file); err != nil && !errors.Is(err, fs.ErrExist) { // made by another meanwhile
		return nil, fmt.Errorf("host key: %w: nothing can be signed; run as root, or make room", err)
	}
	return readKey(file)
}

// checkFolder refuses a folder in which others could put a key of their own.
func checkFolder(folder string) error {
	var st unix.Stat_t
	switch err := unix.Stat(folder, &st); {
	case errors.Is(err, fs.ErrNotExist):
		return nil // it is made, for its owner alone
	case err != nil:
		return fmt.Errorf("host key: folder %s: %w: nothing can be signed; run as root", folder, err)
	case int(st.Uid) != os.Geteuid():
		return errOwner(folder, int(st.Uid), os.Geteuid())
	case st.Mode&0o022 != 0:
		return fmt.Errorf("host key: folder %s: mode %#o, others could replace the key: nothing can be signed; name a file in a folder that only you can write",
			folder, st.Mode&0o7777)
	}
	return nil
}

// errOwner is the error of a folder that belongs to another user.
func errOwner(folder string, owner, user int) error {
	if owner == 0 {
		return fmt.Errorf("host key: folder %s: belongs to root, and user %d asks: nothing can be signed or shown; run as root, for example with sudo", folder, user)
	}
	return fmt.Errorf("host key: folder %s: belongs to user %d, not to %d: nothing can be signed; run as its owner, or name a file in a folder of your own", folder, owner, user)
}

func readKey(file string) (ed25519.PrivateKey, error) {
	refuse := func(what string) error {
		return fmt.Errorf("host key %s: %s: nothing can be signed; look who changed it, then move it away: the next use makes another", file, what)
	}
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("host key: %w: nothing can be signed; run as root", err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, refuse(err.Error())
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, refuse("no regular file")
	case st.Mode&0o077 != 0:
		return nil, refuse(fmt.Sprintf("mode %#o, others than its owner may use it", st.Mode&0o777))
	case int(st.Uid) != os.Geteuid():
		return nil, refuse(fmt.Sprintf("belongs to user %d", st.Uid))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, refuse(err.Error())
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, refuse("no private key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, refuse(err.Error())
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, refuse("no Ed25519 key")
	}
	return key, nil
}

// makeKey makes a key: whole, on the disk, or not at all; and never in the place of
// one that is there.
func makeKey(name string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	folder := filepath.Dir(name)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return err
	}
	if _, err := os.Lstat(name); err == nil {
		return fs.ErrExist
	}
	return file.Replace(name, name+draft, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
}

// PublicKey renders the public half of a key in PEM, and its fingerprint.
func PublicKey(key ed25519.PrivateKey) (text []byte, fingerprint string) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		panic(err) // it knows Ed25519
	}
	sum := sha256.Sum256(der)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// ReadPublicKey reads the public half of an Ed25519 key from a file, as PublicKey renders
// it; text before it is passed over.
func ReadPublicKey(file string) (ed25519.PublicKey, error) {
	const follows = "nothing is checked; name a file as `stockade key show` prints it"
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("key: %w: %s", err, follows)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, fmt.Errorf("key: %w: %s", err, follows)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("key: %s: no public key in PEM: %s", file, follows)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("key: %s: %w: %s", file, err, follows)
	}
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("key: %s: %T: no Ed25519 key: %s", file, key, follows)
	}
	return public, nil
}

// Public returns the public half of the key in a file, which is not made if there is none.
func Public(file string) (ed25519.PublicKey, error) {
	key, err := readKey(file)
	if err != nil {
		return nil, err
	}
	return key.Public().(ed25519.PublicKey), nil
}
