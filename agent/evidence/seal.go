package evidence

import (
	"fmt"
	"io"
)

// Close signs the bundle, reads it back, and gives it its name. After an error with an
// empty summary there is no file. With another, such as that the name was taken meanwhile,
// the bundle is whole, and lies where the summary and the error say.
func (b *Bundle) Close() (Summary, error) {
	if b.partial == "" {
		return Summary{}, fmt.Errorf("evidence: %s: %w: nothing is done", b.path, errClosed)
	}
	report, err := b.seal()
	if err != nil {
		b.Abandon()
		return Summary{}, fmt.Errorf("evidence: %s: %w: nothing is kept; make room, and take it again", b.path, err)
	}
	s := Summary{Path: b.path, SHA256: report.SHA256, Size: report.Size, KeyID: report.KeyID, Parts: []string{}, Missing: []string{}}
	for _, p := range report.Parts {
		s.Parts = append(s.Parts, p.Name)
	}
	for _, m := range report.Missing {
		s.Missing = append(s.Missing, m.Name)
	}
	defer b.shut()
	if err := b.folder.Link(b.partial, b.name); err != nil { // a link replaces nothing
		s.Path = b.file.Name()
		return s, fmt.Errorf("evidence: %s: %w: the bundle is whole, and lies in %s; move it", b.path, err, s.Path)
	}
	_ = b.folder.Remove(b.partial) // two names are no harm
	if err := b.syncFolder(); err != nil {
		return s, fmt.Errorf("evidence: %s: its folder: %w: the bundle is whole, but its name may be lost when the power is; copy it", b.path, err)
	}
	return s, nil
}

// seal completes the file, has it on the disk, and checks it as a reader would.
func (b *Bundle) seal() (Report, error) {
	b.manifest.Ended = wall(b.o.Now())
	for {
		err := b.finish()
		if err == nil {
			break
		}
		// The disk is full to the last byte, say: what is left of the evidence is worth
		// more than its last part.
		if len(b.manifest.Parts) == 0 {
			return Report{}, err
		}
		b.drop(err)
	}
	if err := b.file.Sync(); err != nil {
		return Report{}, err
	}
	return Verify(io.NewSectionReader(b.file, 0, b.size), b.public)
}

// finish writes what comes after the parts.
func (b *Bundle) finish() error {
	if err := b.file.Truncate(b.size); err != nil { // a part that was dropped may be there
		return err
	}
	manifest, err := b.manifest.encode()
	if err != nil {
		return err
	}
	envelope, err := sign(b.o.Key, b.manifest, manifest)
	if err != nil {
		return err
	}
	for _, e := range []struct {
		name string
		text []byte
	}{{manifestName, manifest}, {envelopeName, envelope}} {
		if err := b.append(e.name, b.manifest.Ended, e.text); err != nil {
			return err
		}
		b.size += block + padded(int64(len(e.text)))
	}
	if _, err := b.file.WriteAt(make([]byte, trailer), b.size); err != nil {
		return err
	}
	b.size += trailer
	return nil
}

// drop gives up the last part, and what finish wrote after it.
func (b *Bundle) drop(why error) {
	last := len(b.manifest.Parts) - 1
	r := b.manifest.Parts[last]
	b.miss(r.Name, r.Method, fmt.Sprintf("it was taken, and dropped to have room for the manifest: %v", why))
	b.size, b.begins = b.begins[last], b.begins[:last]
	b.manifest.Parts = b.manifest.Parts[:last]
}

func (b *Bundle) syncFolder() error {
	dir, err := b.folder.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}
