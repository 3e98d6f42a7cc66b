package evidence

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

const (
	block   = 512       // of a tar, in bytes
	trailer = 2 * block // of zeros, ends it
	maxName = 100       // what a header has room for, in bytes
)

var zeros [trailer]byte

func padded(size int64) int64 { return (size + block - 1) / block * block }

// header is the one way to write a header.
func header(name string, size int64, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: time.Unix(at.Unix(), 0), Format: tar.FormatUSTAR,
	})
	return b.Bytes(), err
}

// writeEntry writes a header, the text, and zeros up to the end of the block.
func writeEntry(w io.Writer, name string, at time.Time, text []byte) error {
	size := int64(len(text))
	head, err := header(name, size, at)
	if err != nil {
		return err
	}
	for _, piece := range [][]byte{head, text, zeros[:padded(size)-size]} {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return nil
}

// entry is a file of a bundle that is read.
type entry struct {
	name   string
	size   int64
	at     int64 // seconds since 1970
	sha256 string
	text   []byte // of the manifest and of the envelope
}

// scanner reads a bundle that nobody has checked.
type scanner struct {
	r  io.Reader
	at int64 // how many bytes were read
}

func (s *scanner) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.at += int64(n)
	return n, err
}

// scan reads a bundle to its end: each entry is written in the one way, and there is
// nothing else. The last two are the manifest and the envelope.
func scan(r io.Reader) ([]entry, error) {
	s := &scanner{r: r}
	var list []entry
	for {
		e, err := s.next()
		if err != nil {
			return nil, err
		}
		list = append(list, e)
		switch {
		case e.name == envelopeName && (len(list) < 2 || list[len(list)-2].name != manifestName):
			return nil, refuse(manifestName, "it does not lie before %s", envelopeName)
		case e.name == envelopeName:
			return list, s.end()
		case len(list) > MaxParts+1:
			return nil, refuse(e.name, "there are more than %d parts before it", MaxParts)
		}
	}
}

// next reads an entry.
func (s *scanner) next() (e entry, err error) {
	began := s.at
	head := make([]byte, block)
	_, err = io.ReadFull(s, head)
	ended := isEnd(err)
	if err != nil && !ended {
		return e, s.failed(err)
	}
	e, err = parseHeader(head)
	switch {
	case err != nil && began == 0:
		err = errors.New("evidence: it does not begin with a header of a bundle: this is no bundle, or it was changed; name a file that stockade made")
		if ended {
			err = &short{err}
		}
		return e, err
	case ended:
		return e, s.short()
	case err != nil:
		return e, refuse(fmt.Sprintf("byte %d", began), "%v", err)
	}
	sum := sha256.New()
	var w io.Writer = sum
	var text bytes.Buffer
	if limit, ok := map[string]int64{manifestName: maxManifest, envelopeName: maxEnvelope}[e.name]; ok {
		if e.size > limit {
			return e, refuse(e.name, "%d bytes: it may have %d", e.size, limit)
		}
		w = io.MultiWriter(sum, &text)
	}
	if _, err := io.CopyN(w, s, e.size); err != nil {
		return e, s.failed(err)
	}
	e.sha256, e.text = hex.EncodeToString(sum.Sum(nil)), text.Bytes()
	return e, s.zeros(padded(e.size)-e.size, "the padding after "+e.name)
}

// parseHeader reads a header, which is written in the one way.
func parseHeader(head []byte) (e entry, err error) {
	name, _, _ := bytes.Cut(head[:maxName], []byte{0})
	size, err := strconv.ParseInt(string(head[124:135]), 8, 64)
	at, failed := strconv.ParseInt(string(head[136:147]), 8, 64)
	if errors.Join(err, failed) != nil || size < 0 || !validName(string(name)) {
		return e, errors.New("bytes that belong to nothing, where a header should be")
	}
	e = entry{name: string(name), size: size, at: at}
	again, err := header(e.name, e.size, time.Unix(e.at, 0))
	if err != nil || !bytes.Equal(again, head) {
		return e, fmt.Errorf("the header of %s is not written as it is in a bundle", e.name)
	}
	return e, nil
}

// zeros reads n bytes, at most trailer, which are zero.
func (s *scanner) zeros(n int64, where string) error {
	began, rest := s.at, make([]byte, n)
	if _, err := io.ReadFull(s, rest); err != nil {
		return s.failed(err)
	}
	if !bytes.Equal(rest, zeros[:n]) {
		return refuse(fmt.Sprintf("byte %d", began), "bytes that belong to nothing, in %s", where)
	}
	return nil
}

// end reads the end of the file.
func (s *scanner) end() error {
	if err := s.zeros(trailer, "the end"); err != nil {
		return err
	}
	switch n, err := io.ReadFull(s, make([]byte, 1)); {
	case n > 0:
		return refuse(fmt.Sprintf("byte %d", s.at-1), "bytes that belong to nothing, after the end")
	case !errors.Is(err, io.EOF):
		return s.failed(err)
	}
	return nil
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

func (s *scanner) failed(err error) error {
	if isEnd(err) {
		return s.short()
	}
	return fmt.Errorf("evidence: byte %d: %w: it was not checked; read it again", s.at, err)
}

func (s *scanner) short() error {
	return &short{refuse(fmt.Sprintf("byte %d", s.at), "the file ends here: it was cut off")}
}

// short is the error of a file that ends where a bundle goes on.
type short struct{ error }
