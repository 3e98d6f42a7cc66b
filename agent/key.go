package agent

import (
	"crypto/ed25519"

	"github.com/stockade-dev/stockade/agent/host"
)

// KeyFile is where the key lies that this host signs with.
const KeyFile = host.KeyFile

// HostKey returns that key from a file; the first use makes it.
func HostKey(file string) (ed25519.PrivateKey, error) { return host.Key(file) }

// PublicKey renders the public half of a key in PEM, and its fingerprint.
func PublicKey(key ed25519.PrivateKey) (text []byte, fingerprint string) { return host.PublicKey(key) }
