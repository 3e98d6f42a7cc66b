package evidence

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"golang.org/x/sys/unix"
)

func verify(text []byte) error {
	_, err := Verify(bytes.NewReader(text), public(hosts))
	return err
}

// each calls a function for 0 to n-1, on all processors.
func each(n int, do func(i int)) {
	var all sync.WaitGroup
	workers := runtime.NumCPU()
	for first := range workers {
		all.Go(func() {
			for i := first; i < n; i += workers {
				do(i)
			}
		})
	}
	all.Wait()
}

func TestEveryByteThatIsChangedIsFound(t *testing.T) {
	good := small(t)
	if err := verify(good); err != nil {
		t.Fatal(err)
	}
	each(len(good), func(i int) {
		for _, bits := range []byte{0x01, 0x20, 0x80, good[i] ^ 0xff} {
			bad := bytes.Clone(good)
			if bad[i] ^= bits; bits != 0 && verify(bad) == nil {
				t.Errorf("byte %d, %#x changed by %#x: it is not found", i, good[i], bits)
			}
		}
	})
}

func TestEveryByteThatIsGoneOrMoreIsFound(t *testing.T) {
	good := small(t)
	each(len(good), func(i int) {
		if verify(good[:i]) == nil {
			t.Errorf("cut off at byte %d: it is not found", i)
		}
		if verify(slices.Delete(bytes.Clone(good), i, i+1)) == nil {
			t.Errorf("without byte %d: it is not found", i)
		}
		if verify(slices.Insert(bytes.Clone(good), i, good[i])) == nil {
			t.Errorf("byte %d twice: it is not found", i)
		}
		if i%block == 0 && verify(slices.Delete(bytes.Clone(good), i, i+block)) == nil {
			t.Errorf("without the block at byte %d: it is not found", i)
		}
		if i%block == 0 && verify(slices.Insert(bytes.Clone(good), i, good[i:i+block]...)) == nil {
			t.Errorf("the block at byte %d twice: it is not found", i)
		}
	})
	for _, more := range []string{"\x00", "x", string(zeros[:block]), string(zeros[:]), string(good)} {
		says(t, verify(append(bytes.Clone(good), more...)), "bytes that belong to nothing, after the end")
	}
}

// forgery is a bundle that one without the host's key makes of a good one.
type forgery struct {
	want  string // what is said of it
	forge func(list []member) []member
	// whole: without a key nothing is wrong with it.
	whole bool
}

// edit changes the text of a member.
func edit(i int, old, with string) func([]member) []member {
	return func(list []member) []member {
		list[i].text = strings.Replace(list[i].text, old, with, 1)
		return list
	}
}

// envelope changes what the envelope says.
func envelope(change func(*dsse.Envelope)) func([]member) []member {
	return func(list []member) []member {
		var e dsse.Envelope
		if err := json.Unmarshal([]byte(list[3].text), &e); err != nil {
			panic(err)
		}
		change(&e)
		text, err := line(e)
		if err != nil {
			panic(err)
		}
		list[3].text = string(text)
		return list
	}
}

// sealed has the manifest say something else, and signs it with a key.
func sealed(key ed25519.PrivateKey, change func(*Manifest)) func([]member) []member {
	return func(list []member) []member {
		var m Manifest
		if err := json.Unmarshal([]byte(list[2].text), &m); err != nil {
			panic(err)
		}
		change(&m)
		text, err := m.encode()
		if err != nil {
			panic(err)
		}
		signed, err := sign(key, m, text)
		if err != nil {
			panic(err)
		}
		list[2].text, list[3].text = string(text), string(signed)
		return list
	}
}

// The members of a small bundle: 0 processes.json, 1 net/tcp.txt, 2 the manifest, 3 the envelope.
var forgeries = map[string]forgery{
	"a part":       {want: "processes.json: its SHA-256 is not that of the manifest", forge: edit(0, "7", "8")},
	"longer part":  {want: "processes.json: it has 30 bytes, in the manifest 29", forge: edit(0, "7", "78")},
	"swapped":      {want: "net/tcp.txt: it is part 1 in the file, and part 2", forge: func(l []member) []member { l[0], l[1] = l[1], l[0]; return l }},
	"part gone":    {want: "processes.json: the manifest names it, and it is not there", forge: func(l []member) []member { return l[1:] }},
	"part more":    {want: "more: it belongs to nothing", forge: func(l []member) []member { return slices.Insert(l, 1, member{"more", "x", l[0].at}) }},
	"part twice":   {want: "processes.json: it is part 2 in the file, and part 1", forge: func(l []member) []member { return slices.Insert(l, 1, l[0]) }},
	"part's time":  {want: "processes.json: its header has another time", forge: func(l []member) []member { l[0].at = l[0].at.Add(time.Second); return l }},
	"its own time": {want: "manifest.json: its header has another time", forge: func(l []member) []member { l[2].at = l[2].at.Add(time.Second); return l }},
	"too many": {want: "there are more than 256 parts", forge: func(l []member) []member {
		return append(slices.Repeat(l[:1], MaxParts+1), l[2:]...)
	}},
	"manifest":       {want: "manifest.json: its SHA-256 is not the one that was signed", forge: edit(2, "agent-7", "agent-8")},
	"its blanks":     {want: "manifest.json: its SHA-256 is not the one that was signed", forge: edit(2, ",", ", ")},
	"manifest gone":  {want: "manifest.json: it does not lie before", forge: func(l []member) []member { return slices.Delete(l, 2, 3) }},
	"manifest twice": {want: "manifest.json: it belongs to nothing", forge: func(l []member) []member { return slices.Insert(l, 2, l[2]) }},
	"manifest first": {want: "manifest.json: it does not lie before", forge: func(l []member) []member { return []member{l[2], l[0], l[1], l[3]} }},
	"great manifest": {want: "manifest.json: 1048577 bytes: it may have 1048576", forge: func(l []member) []member { l[2].text = strings.Repeat(" ", maxManifest+1); return l }},
	"envelope gone":  {want: "bytes that belong to nothing", forge: func(l []member) []member { return l[:3] }},
	"envelope twice": {want: "bytes that belong to nothing, in the end", forge: func(l []member) []member { return append(l, l[3]) }},
	"part after it":  {want: "bytes that belong to nothing, in the end", forge: func(l []member) []member { return append(l, l[0]) }},
	"blanks":         {want: "it is not written as an envelope is", forge: edit(3, ",", ", ")},
	"a field":        {want: "it is not written as an envelope is", forge: edit(3, "{", `{"a":1,`)},
	"case":           {want: "it is not written as an envelope is", forge: edit(3, "payloadType", "payloadtype")},
	"no JSON":        {want: "manifest.dsse.json: unexpected end of JSON input", forge: edit(3, "}\n", "")},
	"payload type":   {want: "no in-toto statement", forge: envelope(func(e *dsse.Envelope) { e.PayloadType = "text/plain" })},
	"unsigned":       {want: "no in-toto statement with one signature", forge: envelope(func(e *dsse.Envelope) { e.Signatures = nil })},
	"signed twice": {want: "no in-toto statement with one signature", forge: envelope(func(e *dsse.Envelope) {
		e.Signatures = append(e.Signatures, e.Signatures[0])
	})},
	"no key named": {want: "with one signature, of a host's key", forge: envelope(func(e *dsse.Envelope) { e.Signatures[0].KeyID = "" })},
	"other key named": {whole: true, want: "it is signed by key " + KeyID(public(hosts)) + ", and names key " + KeyID(public(others)), forge: envelope(func(e *dsse.Envelope) {
		e.Signatures[0].KeyID = KeyID(public(others))
	})},
	"signature": {whole: true, want: "its signature does not fit what is signed", forge: envelope(func(e *dsse.Envelope) {
		e.Signatures[0].Sig = base64.StdEncoding.EncodeToString(make([]byte, ed25519.SignatureSize))
	})},
	"no signature": {whole: true, want: "its signature does not fit what is signed", forge: envelope(func(e *dsse.Envelope) { e.Signatures[0].Sig = "" })},
	"other base64": {want: "it is not written as an envelope is", forge: envelope(func(e *dsse.Envelope) {
		sig, _ := base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
		e.Signatures[0].Sig = base64.URLEncoding.EncodeToString(sig)
	})},
	"spare bits of base64": {want: "it is not written as an envelope is", forge: envelope(func(e *dsse.Envelope) {
		s := []byte(e.Signatures[0].Sig)
		s[len(s)-3]++ // before ==: four bits of it are spare
		e.Signatures[0].Sig = string(s)
	})},
	"payload": {want: "manifest.dsse.json: ", forge: envelope(func(e *dsse.Envelope) { e.Payload = "e30=" })},
	"signed by another": {whole: true, want: "it is signed by key " + KeyID(public(others)) + ", not by key " + KeyID(public(hosts)), forge: sealed(others, func(m *Manifest) {
		m.Workload = "innocent"
	})},
	// What follows is signed by the host itself: no bundle is made like that.
	"signed otherwise": {want: "processes.json: its SHA-256 is not that of the manifest", forge: sealed(hosts, func(m *Manifest) {
		m.Parts[0].SHA256 = digest(nil)
	})},
	"later version": {want: "manifest.json: version 2 of the format, this program knows 1", forge: sealed(hosts, func(m *Manifest) { m.Version = 2 })},
	"signed names":  {want: `manifest.json: part "../a": no name for one`, forge: sealed(hosts, func(m *Manifest) { m.Missing[0].Name = "../a" })},
	"signed twins":  {want: "manifest.json: part net/tcp.txt: there is one", forge: sealed(hosts, func(m *Manifest) { m.Missing[0].Name = "net/tcp.txt" })},
	"another's statement": {want: "what is signed is not what the manifest says", forge: func(l []member) []member {
		var m Manifest
		_ = json.Unmarshal([]byte(l[2].text), &m)
		m.Workload = "innocent"
		text, _ := sign(hosts, m, []byte(l[2].text))
		l[3].text = string(text)
		return l
	}},
	"signed blanks": {want: "it is not written as a manifest is", forge: func(l []member) []member {
		var m Manifest
		_ = json.Unmarshal([]byte(l[2].text), &m)
		l[2].text = " " + l[2].text
		text, _ := sign(hosts, m, []byte(l[2].text))
		l[3].text = string(text)
		return l
	}},
}

func TestForgeryIsFoundAndNamed(t *testing.T) {
	good := small(t)
	if !bytes.Equal(pack(t, unpack(t, good)), good) {
		t.Fatal("a bundle that is packed again is another: the forgeries prove nothing")
	}
	for name, f := range forgeries {
		t.Run(name, func(t *testing.T) {
			bad := pack(t, f.forge(unpack(t, good)))
			says(t, verify(bad), f.want)
			r, err := Verify(bytes.NewReader(bad), nil)
			if (err == nil) != f.whole || r.Checked {
				t.Errorf("without a key: %v, checked: %t", err, r.Checked)
			}
		})
	}
}

// Who knows in-toto finds what it knows, in the same bytes from every build.
func TestStatementIsInToto(t *testing.T) {
	var e dsse.Envelope
	if err := json.Unmarshal([]byte(unpack(t, small(t))[3].text), &e); err != nil {
		t.Fatal(err)
	}
	payload, err := e.DecodeB64Payload()
	if err != nil {
		t.Fatal(err)
	}
	const begins = `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"manifest.json","digest":{"sha256":"`
	const ends = `"predicateType":"https://stockade.dev/evidence/v1","predicate":{"began":"2026-03-01T10:00:01.237654321Z","ended":"2026-03-01T10:00:01.987654321Z",` +
		`"host":{"boot_id":"0b9e4c1e-6f0a-4a39-9a9f-2f6f0f3f7a11","kernel":"6.12.0","name":"node-1","stockade":"v0.9.0"},"workload":"agent-7"}}`
	if s := string(payload); !strings.HasPrefix(s, begins) || !strings.HasSuffix(s, ends) {
		t.Errorf("got %s", s)
	}
	pae := dsse.PAE(e.PayloadType, payload)
	if sig, err := base64.StdEncoding.DecodeString(e.Signatures[0].Sig); err != nil || !ed25519.Verify(public(hosts), pae, sig) {
		t.Errorf("the signature is not that of DSSE: %v", err)
	}
}

func TestFileThatIsTooLongIsNotReadToItsEnd(t *testing.T) {
	m := &meter{sum: sha256.New(), rest: 3}
	r := io.TeeReader(strings.NewReader("abcdef"), m)
	if n, err := io.CopyN(io.Discard, r, 3); n != 3 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_, err := io.CopyN(io.Discard, r, 1)
	says(t, err, "the file has more than")
}

func TestBundleWithoutAKeyIsNotChecked(t *testing.T) {
	r, err := Verify(bytes.NewReader(small(t)), nil)
	if err != nil || r.Checked || r.KeyID != KeyID(public(hosts)) || r.Workload != "agent-7" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWhatIsNoBundleIsSaidToBeNone(t *testing.T) {
	for what, text := range map[string]string{
		"nothing":     "",
		"text":        "PK\x03\x04",
		"zeros":       string(make([]byte, 4096)),
		"other tar":   string(make([]byte, 156)) + "0" + string(make([]byte, 355)),
		"a half head": string(small(t)[:100]),
	} {
		err := verify([]byte(text))
		if err == nil || !strings.Contains(err.Error(), "this is no bundle, or it was changed") {
			t.Errorf("%s: %v", what, err)
		}
	}
	says(t, verify(small(t)[:3000]), "byte 3000: the file ends here: it was cut off")
}

func TestWhatCannotBeReadIsNotSaidToBeChanged(t *testing.T) {
	good := small(t)
	for _, at := range []int64{0, 100, 600, 4000, int64(len(good))} {
		_, err := Verify(io.MultiReader(io.LimitReader(bytes.NewReader(good), at), iotest.ErrReader(unix.EIO)), public(hosts))
		if !errors.Is(err, unix.EIO) || !strings.Contains(err.Error(), "it was not checked") || strings.Contains(err.Error(), "was changed") {
			t.Errorf("at %d: %v", at, err)
		}
	}
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "no regular file", dir: "no regular file", dir + "/none": "no such file"} {
		_, err := VerifyFile(path, nil)
		says(t, err, want)
		says(t, err, "it was not checked")
	}
	_, err := Verify(bytes.NewReader(good), make([]byte, 31))
	says(t, err, "the key has 31 bytes")
}

// A file that was made to be checked costs little, whatever it says of itself.
func TestHostileFileTakesLittleMemory(t *testing.T) {
	at := time.Unix(0, 0)
	head, err := header("a", 1<<33-1, at)
	if err != nil {
		t.Fatal(err)
	}
	list := unpack(t, small(t))
	var m Manifest
	if err := json.Unmarshal([]byte(list[2].text), &m); err != nil {
		t.Fatal(err)
	}
	manifest := func(more string) io.Reader {
		list[2].text = `{"version":1,"parts":[{}` + strings.Repeat(",{}", (maxManifest-100)/3) + more
		signed, err := sign(hosts, m, []byte(list[2].text))
		if err != nil {
			t.Fatal(err)
		}
		list[3].text = string(signed)
		return bytes.NewReader(pack(t, list))
	}
	for what, c := range map[string]struct {
		r    io.Reader
		want string
	}{
		"a part that it claims": {bytes.NewReader(head), "the file ends here"},
		"a manifest of parts":   {manifest("]}"), "parts: it may have 256"},
		"parts that come twice": {manifest(`],"PARTS":[]}`), "parts: it may have 256"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Verify(c.r, nil)
		runtime.ReadMemStats(&after)
		says(t, err, c.want)
		if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
			t.Errorf("%s: %d MiB were allocated", what, used>>20)
		}
	}
}

// Whatever a file says, only what the host signed is good, and nothing panics.
func FuzzVerify(f *testing.F) {
	good, err := os.ReadFile("testdata/version1.tar")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:block])
	f.Add(small(f))
	f.Add(pack(f, sealed(others, func(m *Manifest) { m.Workload = "innocent" })(unpack(f, good))))
	f.Add(pack(f, forgeries["payload"].forge(unpack(f, good))))
	ours := [][]byte{good, small(f)}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = Verify(bytes.NewReader(text), nil)
		known := slices.ContainsFunc(ours, func(b []byte) bool { return bytes.Equal(b, text) })
		if err := verify(text); (err == nil) != known {
			t.Errorf("ours: %t, %v", known, err)
		}
	})
}

// What a writer that was killed leaves, wherever it was, is said to be unfinished; what is
// whole under such a name is good, and what was changed is changed.
func TestWhatNobodyFinishedIsSaidToBeUnfinished(t *testing.T) {
	b := begin(t, options())
	add(t, b, "processes.json", "[]")
	left := filepath.Join(filepath.Dir(b.path), b.partial)
	_, err := VerifyFile(left, public(hosts))
	says(t, err, "evidence: "+left+": it is unfinished, since who took it was killed, or is still at it: nobody signed it, and it proves nothing; read in it")
	good, dir := small(t), t.TempDir()
	check := func(name string, text []byte) error {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := VerifyFile(path, public(hosts))
		return err
	}
	const partial = "a.tar.partial-ABCDEFG2"
	for _, n := range []int{0, 1, block - 1, block, block + 7, 3 * block, len(good) - 1} {
		if err := check(partial, good[:n]); !errors.Is(err, ErrUnfinished) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err := check("a.tar", good[:n]); err == nil || errors.Is(err, ErrUnfinished) {
			t.Errorf("%d bytes under another name: %v", n, err)
		}
	}
	if err := check(partial, good); err != nil {
		t.Errorf("whole: %v", err)
	}
	bad := bytes.Clone(good)
	bad[0] ^= 1
	if err := check(partial, bad); err == nil || errors.Is(err, ErrUnfinished) {
		t.Errorf("changed: %v", err)
	}
}
