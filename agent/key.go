package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/host"
)

// KeyFile is where the key lies that this host signs with.
const KeyFile = host.KeyFile

// HostKey returns that key from a file; the first use makes it.
func HostKey(file string) (ed25519.PrivateKey, error) { return host.Key(file) }

// PublicKey renders the public half of a key in PEM, and its fingerprint.
func PublicKey(key ed25519.PrivateKey) (text []byte, fingerprint string) { return host.PublicKey(key) }

// EvidenceReport says what a bundle of evidence holds.
type EvidenceReport = evidence.Report

// UncheckedError is an error of evidence of which nothing was checked.
type UncheckedError struct{ error }

func (e UncheckedError) Unwrap() error { return e.error }

// VerifyEvidence checks a bundle by a public key, in PEM in a file; "" is this host's. An
// error about what was not checked at all is an UncheckedError.
func VerifyEvidence(bundle, keyFile string) (EvidenceReport, error) {
	info, err := os.Stat(bundle)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: no regular file", bundle)
	}
	if err != nil {
		return EvidenceReport{}, UncheckedError{fmt.Errorf("evidence: %w: nothing was checked; name the file that a kill printed", err)}
	}
	if keyFile == "" {
		return verifyOwn(bundle, KeyFile)
	}
	key, err := host.ReadPublicKey(keyFile)
	if err != nil {
		return EvidenceReport{}, UncheckedError{err}
	}
	return evidence.VerifyFile(bundle, key)
}

// verifyOwn checks a bundle by the key of this host, in a file, for want of another.
func verifyOwn(bundle, keyFile string) (EvidenceReport, error) {
	const mend = "name by --key FILE the public half of the key of the host that took it, as `stockade key show` prints it there"
	key, err := host.Public(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = errors.New("this host has none of its own")
	case errors.Is(err, fs.ErrPermission):
		err = errors.New("only root can read that of this host")
	}
	if err != nil {
		if _, failed := evidence.VerifyFile(bundle, nil); errors.Is(failed, evidence.ErrUnfinished) {
			return EvidenceReport{}, failed // no key would help
		}
		return EvidenceReport{}, UncheckedError{fmt.Errorf("evidence %s: no key to check its signature with: %w: nothing was checked; %s", bundle, err, mend)}
	}
	report, err := evidence.VerifyFile(bundle, key)
	if err != nil && !errors.Is(err, evidence.ErrUnfinished) {
		err = fmt.Errorf("%w; it was checked with the key of this host: if another took it, %s", err, mend)
	}
	return report, err
}
