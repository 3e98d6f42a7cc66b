package evidence

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	envelopeName = "manifest.dsse.json"
	maxEnvelope  = 256 << 10 // more than MaxParts subjects need

	payloadType   = "application/vnd.in-toto+json"
	predicateType = "https://stockade.dev/evidence/v1"
)

// KeyID is the fingerprint of a key, as `stockade key show` prints it.
func KeyID(key ed25519.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err) // it knows Ed25519
	}
	sum := sha256.Sum256(der)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// keyID is how one looks.
var keyID = regexp.MustCompile(`^SHA256:[A-Za-z0-9+/]{43}$`)

// signer is an Ed25519 key for DSSE.
type signer struct {
	private ed25519.PrivateKey // nil: it only checks
	public  ed25519.PublicKey
}

func (s signer) Sign(_ context.Context, text []byte) ([]byte, error) {
	return ed25519.Sign(s.private, text), nil
}

func (s signer) Verify(_ context.Context, text, sig []byte) error {
	if !ed25519.Verify(s.public, text, sig) {
		return errors.New("the signature is another's")
	}
	return nil
}

func (s signer) KeyID() (string, error)   { return KeyID(s.public), nil }
func (s signer) Public() crypto.PublicKey { return s.public }

// statement says what is signed: the manifest and all parts.
func statement(m Manifest, sum string) (*intoto.Statement, error) {
	predicate, err := structpb.NewStruct(map[string]any{
		"workload": m.Workload,
		"began":    m.Began.Format(time.RFC3339Nano),
		"ended":    m.Ended.Format(time.RFC3339Nano),
		"host":     map[string]any{"name": m.Host.Name, "boot_id": m.Host.BootID, "kernel": m.Host.Kernel, "stockade": m.Host.Version},
	})
	subject := func(name, sum string) *intoto.ResourceDescriptor {
		return &intoto.ResourceDescriptor{Name: name, Digest: map[string]string{string(intoto.AlgorithmSHA256): sum}}
	}
	s := &intoto.Statement{
		Type: intoto.StatementTypeUri, PredicateType: predicateType, Predicate: predicate,
		Subject: []*intoto.ResourceDescriptor{subject(manifestName, sum)},
	}
	for _, p := range m.Parts {
		s.Subject = append(s.Subject, subject(p.Name, p.SHA256))
	}
	return s, errors.Join(err, s.Validate())
}

// sign makes the envelope of a manifest, which is tidy, and of its text.
func sign(key ed25519.PrivateKey, m Manifest, manifest []byte) ([]byte, error) {
	s, err := statement(m, digest(manifest))
	if err != nil {
		return nil, err
	}
	loose, err := protojson.Marshal(s)
	if err != nil {
		return nil, err
	}
	var payload bytes.Buffer // without the blanks that protojson strews at random
	if err := json.Compact(&payload, loose); err != nil {
		return nil, err
	}
	envelopes, err := dsse.NewEnvelopeSigner(signer{private: key, public: key.Public().(ed25519.PublicKey)})
	if err != nil {
		return nil, err
	}
	envelope, err := envelopes.SignPayload(context.Background(), payloadType, payload.Bytes())
	if err != nil {
		return nil, err
	}
	text, err := line(envelope)
	if err == nil && len(text) > maxEnvelope {
		err = fmt.Errorf("%s: %d bytes: it may have %d", envelopeName, len(text), maxEnvelope)
	}
	return text, err
}

// decodeEnvelope reads an envelope that is written in the one way, with one signature.
func decodeEnvelope(text []byte) (e dsse.Envelope, payload []byte, err error) {
	if err := json.Unmarshal(text, &e); err != nil {
		return e, nil, refuse(envelopeName, "%v", err)
	}
	if e.PayloadType != payloadType || len(e.Signatures) != 1 || !keyID.MatchString(e.Signatures[0].KeyID) {
		return e, nil, refuse(envelopeName, "it is no in-toto statement with one signature, of a host's key")
	}
	payload, err = base64.StdEncoding.DecodeString(e.Payload)
	sig, failed := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	again := dsse.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(payload),
		Signatures: []dsse.Signature{{KeyID: e.Signatures[0].KeyID, Sig: base64.StdEncoding.EncodeToString(sig)}},
	}
	want, encoding := line(again)
	if errors.Join(err, failed, encoding) != nil || !bytes.Equal(want, text) {
		return e, nil, refuse(envelopeName, "it is not written as an envelope is")
	}
	return e, payload, nil
}

// checkSignature says whether an envelope is signed by a key, and else by whose.
func checkSignature(e dsse.Envelope, key ed25519.PublicKey) error {
	verifier, err := dsse.NewEnvelopeVerifier(signer{public: key})
	if err != nil {
		return err
	}
	named, want := e.Signatures[0].KeyID, KeyID(key)
	// No signature covers the name of its key: it is looked at apart.
	e.Signatures = []dsse.Signature{{Sig: e.Signatures[0].Sig}}
	_, err = verifier.Verify(context.Background(), &e)
	switch {
	case err == nil && named == want:
		return nil
	case err == nil:
		return refuse(envelopeName, "it is signed by key %s, and names key %s", want, named)
	case named != want:
		return fmt.Errorf("evidence: %s: it is signed by key %s, not by key %s: nothing was checked of it; use the key of the host that took it, and ask who else signs",
			envelopeName, named, want)
	}
	return refuse(envelopeName, "its signature does not fit what is signed")
}

// decodeStatement reads a payload that is about a manifest with this digest.
func decodeStatement(payload []byte, manifest string) (*intoto.Statement, error) {
	s := new(intoto.Statement)
	if err := protojson.Unmarshal(payload, s); err != nil {
		return nil, refuse(envelopeName, "%v", err)
	}
	if subjects := s.GetSubject(); len(subjects) == 0 || subjects[0].GetDigest()[string(intoto.AlgorithmSHA256)] != manifest {
		return nil, refuse(manifestName, "its SHA-256 is not the one that was signed")
	}
	return s, nil
}

// checkStatement says whether a statement is the one about a manifest.
func checkStatement(s *intoto.Statement, m Manifest, manifest string) error {
	want, err := statement(m, manifest)
	if err != nil {
		return refuse(manifestName, "%v", err)
	}
	if !proto.Equal(s, want) {
		return refuse(envelopeName, "what is signed is not what the manifest says")
	}
	return nil
}
