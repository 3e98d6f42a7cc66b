package evidence

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Report says what a bundle holds that was found to be whole.
type Report struct {
	Manifest
	// KeyID is the fingerprint of the key that signed it, or, unless Checked, of the one
	// that is said to have.
	KeyID string `json:"keyid"`
	// Checked: the signature is that of the key that was given. Else no key was given:
	// everything fits together, and anybody may have made it.
	Checked bool   `json:"checked"`
	SHA256  string `json:"sha256"` // of the file, in hex
	Size    int64  `json:"size"`   // of the file, in bytes
}

// VerifyFile is Verify for a file. One that its writer left before it was whole, by its
// name and its end, is ErrUnfinished.
func VerifyFile(path string, key ed25519.PublicKey) (Report, error) {
	const follows = "it was not checked; name a file that can be read"
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Report{}, fmt.Errorf("evidence: %w: %s", err, follows)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Report{}, fmt.Errorf("evidence: %s: no regular file: %s", path, follows)
	}
	r, err := Verify(f, key)
	// By its name alone anything could be said to be unfinished: what ends, and was changed
	// before, is told as changed.
	if cut := (*short)(nil); errors.As(err, &cut) && unfinished.MatchString(path) {
		err = fmt.Errorf("evidence: %s: %w: nobody signed it, and it proves nothing; read in it what was taken (tar -xf), as a hint, and look for a whole bundle beside it", path, ErrUnfinished)
	}
	return r, err
}

// ErrUnfinished is the error of a bundle whose writer is not at its end.
var ErrUnfinished = errors.New("it is unfinished, since who took it was killed, or is still at it")

// Verify reads a bundle and says whether each byte of it is as it was when the key signed
// it. A nil key leaves out who signed, and so whether anybody did. A bundle that is not
// whole is an error, which says what is wrong; then nothing is reported. It needs little
// memory, whatever it reads.
func Verify(r io.Reader, key ed25519.PublicKey) (Report, error) {
	if key != nil && len(key) != ed25519.PublicKeySize {
		return Report{}, fmt.Errorf("evidence: the key has %d bytes, an Ed25519 key has %d: nothing was checked; use the host's public key", len(key), ed25519.PublicKeySize)
	}
	file := &meter{sum: sha256.New(), rest: MaxLimit}
	list, err := scan(io.TeeReader(r, file))
	if err != nil {
		return Report{}, err
	}
	manifest, envelope := list[len(list)-2], list[len(list)-1]
	e, payload, err := decodeEnvelope(envelope.text)
	if err != nil {
		return Report{}, err
	}
	if key != nil {
		if err := checkSignature(e, key); err != nil {
			return Report{}, err
		}
	}
	signed, err := decodeStatement(payload, manifest.sha256)
	if err != nil {
		return Report{}, err
	}
	m, err := decodeManifest(manifest.text)
	if err != nil {
		return Report{}, err
	}
	if err := checkStatement(signed, m, manifest.sha256); err != nil {
		return Report{}, err
	}
	if err := checkEntries(list, m); err != nil {
		return Report{}, err
	}
	return Report{
		Manifest: m, KeyID: e.Signatures[0].KeyID, Checked: key != nil,
		SHA256: hex.EncodeToString(file.sum.Sum(nil)), Size: MaxLimit - file.rest,
	}, nil
}

// checkEntries compares what lies in the file with what the manifest says of it.
func checkEntries(list []entry, m Manifest) error {
	parts, rest := list[:len(list)-2], list[len(list)-2:]
	for _, p := range m.Parts {
		if !slices.ContainsFunc(parts, func(e entry) bool { return e.name == p.Name }) {
			return refuse(p.Name, "the manifest names it, and it is not there")
		}
	}
	for i, e := range parts {
		at := slices.IndexFunc(m.Parts, func(p Record) bool { return p.Name == e.name })
		switch {
		case at < 0:
			return refuse(e.name, "it belongs to nothing: the manifest does not name it")
		case at != i:
			return refuse(e.name, "it is part %d in the file, and part %d in the manifest", i+1, at+1)
		case e.size != m.Parts[i].Size:
			return refuse(e.name, "it has %d bytes, in the manifest %d", e.size, m.Parts[i].Size)
		case e.sha256 != m.Parts[i].SHA256:
			return refuse(e.name, "its SHA-256 is not that of the manifest")
		case e.at != m.Parts[i].Began.Unix():
			return refuse(e.name, "its header has another time than the manifest")
		}
	}
	for _, e := range rest {
		if e.at != m.Ended.Unix() {
			return refuse(e.name, "its header has another time than the manifest")
		}
	}
	return nil
}

// meter hashes a file, and ends one that is too long.
type meter struct {
	sum  hash.Hash
	rest int64
}

func (m *meter) Write(p []byte) (int, error) {
	if m.rest -= int64(len(p)); m.rest < 0 {
		return 0, fmt.Errorf("the file has more than %d bytes", int64(MaxLimit))
	}
	return m.sum.Write(p)
}

// refuse is the error of a bundle that is not as it was.
func refuse(what, format string, args ...any) error {
	return fmt.Errorf("evidence: %s: %s: the bundle was changed or damaged, and proves nothing; look who had it, and get it anew from where it was kept",
		what, tidy(fmt.Sprintf(format, args...)))
}
