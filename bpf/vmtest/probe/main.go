//go:build linux

// Command probe is the probes as a program of its own: the enforcement tests start it
// some thousands of times on each kernel, and what is small starts soon.
package main

import (
	"os"

	"github.com/stockade-dev/stockade/bpf/vmtest/probes"
)

func main() { os.Exit(probes.Main(os.Args)) }
