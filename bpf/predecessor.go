//go:build predecessor && amd64

package bpf

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"io"
)

// predecessor are the programs of an earlier build, for tests of an upgrade.
//
//go:embed testdata/predecessor_x86.o.gz
var predecessor []byte

// A build with the tag "predecessor" is as an earlier one to the kernel, and to others.
func init() {
	packed, err := gzip.NewReader(bytes.NewReader(predecessor))
	if err == nil {
		_KernBytes, err = io.ReadAll(packed)
	}
	if err != nil {
		panic(err)
	}
	heirs = false
	object = fmt.Sprintf("%x", sha256.Sum256(_KernBytes))
}
