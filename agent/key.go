package agent

import (
	"crypto/ed25519"
	"fmt"
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

// VerifyEvidence checks a bundle by a public key, in PEM in a file; "" is this host's.
func VerifyEvidence(bundle, keyFile string) (EvidenceReport, error) {
	if _, err := os.Stat(bundle); err != nil {
		return EvidenceReport{}, fmt.Errorf("evidence: %w: nothing was checked; name the file that a kill printed", err)
	}
	var key ed25519.PublicKey
	var err error
	if keyFile == "" {
		if key, err = host.Public(KeyFile); err != nil {
			err = fmt.Errorf("this host's key: %w: nothing is checked; name the public half of the key of the host that took it, by --key", err)
		}
	} else {
		key, err = host.ReadPublicKey(keyFile)
	}
	if err != nil {
		return EvidenceReport{}, err
	}
	return evidence.VerifyFile(bundle, key)
}
