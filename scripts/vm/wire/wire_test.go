package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestFramesComeBackAsSent(t *testing.T) {
	var stream bytes.Buffer
	binary := []byte("a\r\n\x00\xffb")
	for _, payload := range [][]byte{nil, binary, bytes.Repeat([]byte{7}, maxPayload)} {
		if err := Write(&stream, Output, payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range [][]byte{nil, binary, bytes.Repeat([]byte{7}, maxPayload)} {
		kind, got, err := Read(&stream)
		if err != nil || kind != Output || !bytes.Equal(got, want) {
			t.Fatalf("kind %c, %d bytes, %v; want O, %d bytes", kind, len(got), err, len(want))
		}
	}
	if _, _, err := Read(&stream); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v, want EOF", err)
	}
}

func TestBrokenFramesAreRefused(t *testing.T) {
	for name, stream := range map[string]string{
		"unknown kind":   "Z\x00\x00\x00\x00",
		"head cut":       "O\x00",
		"payload cut":    "O\x00\x00\x00\x05abc",
		"payload absurd": "O\xff\xff\xff\xff",
	} {
		if _, _, err := Read(strings.NewReader(stream)); err == nil || err == io.EOF {
			t.Errorf("%s: error is %v", name, err)
		}
	}
	if err := Write(io.Discard, Output, make([]byte, maxPayload+1)); err == nil {
		t.Error("an oversized payload was sent")
	}
}
