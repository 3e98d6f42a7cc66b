package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	version      = 1
	manifestName = "manifest.json"
	maxManifest  = 1 << 20 // more than MaxParts parts need
	maxText      = 512     // of a text in it, in bytes
)

// Manifest says what a bundle holds and what it lacks. Texts in it have no control
// characters and at most 512 bytes: what is longer is cut.
type Manifest struct {
	Version  int       `json:"version"` // of the bundle's format
	Workload string    `json:"workload"`
	Host     Host      `json:"host"`
	Began    time.Time `json:"began"` // UTC
	Ended    time.Time `json:"ended"`
	Parts    []Record  `json:"parts"` // as they lie in the file
	Missing  []Absent  `json:"missing"`
}

// Host is where it was taken.
type Host struct {
	Name    string `json:"name"`     // the node's, as uname tells it
	BootID  string `json:"boot_id"`  // /proc/sys/kernel/random/boot_id
	Kernel  string `json:"kernel"`   // its release
	Version string `json:"stockade"` // the version of stockade that took it
}

// Record is a part that is there.
type Record struct {
	Name    string    `json:"name"`
	Size    int64     `json:"size"`   // in bytes
	SHA256  string    `json:"sha256"` // in hex
	Method  string    `json:"method"`
	Began   time.Time `json:"began"` // UTC
	Boot    int64     `json:"boot"`  // when it began, in nanoseconds since boot, sleep included
	Seconds float64   `json:"seconds"`
	// Truncated: there was more than Limit bytes, and only the first are there.
	Truncated bool  `json:"truncated"`
	Limit     int64 `json:"limit"`
	// Error is why it ends where it does, if it failed half-way.
	Error string `json:"error"`
}

// Absent is a part that is not there.
type Absent struct {
	Name   string `json:"name"`
	Method string `json:"method"`
	Why    string `json:"why"`
}

// encode is the one way to write a manifest.
func (m *Manifest) encode() ([]byte, error) {
	m.tidy()
	text, err := line(m)
	if err == nil && len(text) > maxManifest {
		err = fmt.Errorf("%s: %d bytes: it may have %d", manifestName, len(text), maxManifest)
	}
	return text, err
}

// tidy has texts as they can be: some are a workload's choice, or the kernel's.
func (m *Manifest) tidy() {
	for _, text := range []*string{&m.Workload, &m.Host.Name, &m.Host.BootID, &m.Host.Kernel, &m.Host.Version} {
		*text = tidy(*text)
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		p.Method, p.Error = tidy(p.Method), tidy(p.Error)
	}
	for i := range m.Missing {
		a := &m.Missing[i]
		a.Method, a.Why = tidy(a.Method), tidy(a.Why)
	}
}

// tidy replaces what does something to a terminal, or is no text, and cuts what is long.
func tidy(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return unicode.ReplacementChar
		}
		return r
	}, text) // which replaces what is no UTF-8, too
	if len(text) <= maxText {
		return text
	}
	const more = "…"
	return strings.ToValidUTF8(text[:maxText-len(more)], "") + more
}

// decodeManifest reads a manifest that is written in the one way.
func decodeManifest(text []byte) (m Manifest, err error) {
	var count struct{ Parts, Missing counter }
	err = json.Unmarshal(text, &count)
	if n := count.Parts + count.Missing; err == nil && n > MaxParts {
		return m, refuse(manifestName, "it has %d parts: it may have %d", n, MaxParts)
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, refuse(manifestName, "%v", err)
	}
	if m.Version != version {
		return m, fmt.Errorf("evidence: %s: version %d of the format, this program knows %d: it was not checked; use the stockade that took it, or a newer one",
			manifestName, m.Version, version)
	}
	again, err := m.encode()
	if err != nil || !bytes.Equal(again, text) {
		return m, refuse(manifestName, "it is not written as a manifest is")
	}
	all := names{}
	for _, name := range m.names() {
		if err := all.take(name); err != nil {
			return m, refuse(manifestName, "%v", err)
		}
	}
	return m, nil
}

// counter counts the elements of an array, which take no memory. One that comes twice is
// counted twice.
type counter int

func (c *counter) UnmarshalJSON(text []byte) error {
	var list []struct{}
	err := json.Unmarshal(text, &list)
	*c += counter(len(list))
	return err
}

func (m *Manifest) names() (list []string) {
	for _, p := range m.Parts {
		list = append(list, p.Name)
	}
	for _, a := range m.Missing {
		list = append(list, a.Name)
	}
	return list
}

// line is the one way to write something in JSON. No character takes more than twice its
// bytes, so that maxManifest is enough.
func line(what any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(what)
	return b.Bytes(), err
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
