package agent

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/host"
)

// Who gives no key is told which was used, or that there is none, and how to give one.
func TestEvidenceWithoutAKeySaysHowToGiveOne(t *testing.T) {
	dir := t.TempDir()
	bundle, keyFile := filepath.Join(dir, "a.tar"), filepath.Join(dir, "host.key")
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.Create(bundle, evidence.Options{Workload: "one", Key: other})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = verifyOwn(bundle, keyFile)
	const how = "name by --key FILE"
	if err == nil || !strings.Contains(err.Error(), "no key to check its signature with: this host has none of its own: nothing was checked; "+how) {
		t.Errorf("without a key: %v", err)
	}
	if _, err = host.Key(keyFile); err != nil {
		t.Fatal(err)
	}
	if _, err = verifyOwn(bundle, keyFile); err == nil || !strings.Contains(err.Error(), "checked with the key of this host: if another took it, "+how) {
		t.Errorf("with another key: %v", err)
	}
	public, _ := PublicKey(other)
	if err := os.WriteFile(keyFile+".pub", public, 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := VerifyEvidence(bundle, keyFile+".pub"); err != nil || r.Workload != "one" {
		t.Errorf("with its key: %+v, %v", r, err)
	}
}
