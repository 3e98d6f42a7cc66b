package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// Set by the linker; what the build recorded stands in for them.
var version, commit string

func versionVerb() *cli.Command {
	return &cli.Command{
		Name:        "version",
		Usage:       "print version, commit and formats",
		Description: examples(`stockade version`),
		Action: func(c *cli.Context) error {
			if err := noArgs(c); err != nil {
				return err
			}
			plan, err := compiler.Compile(compiler.Input{Principal: `User::""`})
			if err != nil {
				return err
			}
			version, commit := build()
			_, err = fmt.Fprintf(c.App.Writer, "stockade  %s\ncommit    %s\ngo        %s %s/%s\ntable     format %d\nevent     %d bytes and its paths\nactions   %d, enforced: %s\n",
				version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH,
				plan.Table.Words()[0]>>56, abi.EventHeader, abi.NumActions, abi.EnforcedActions)
			return err
		},
	}
}

// build returns version and commit of this binary.
func build() (string, string) {
	v, rev := version, commit
	info, ok := debug.ReadBuildInfo()
	if ok && v == "" {
		v = info.Main.Version
	}
	for _, s := range info.Settings {
		if rev == "" && s.Key == "vcs.revision" {
			rev = s.Value
		}
	}
	return or(v, "(devel)"), or(rev, "unknown")
}

func or(text, instead string) string {
	if text == "" {
		return instead
	}
	return text
}
