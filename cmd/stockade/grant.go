package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// socketKindFlag grants kinds of sockets: --socket is the agent's.
func socketKindFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "socket-kind", Usage: "also allow sockets of this `KIND`, for example packet, raw or netlink-netfilter; may be repeated, see docs/limits.md"}
}

// socketKinds returns what the flag grants.
func socketKinds(c *cli.Context) (mask uint64, err error) {
	for _, name := range c.StringSlice("socket-kind") {
		kind, ok := abi.ParseSocket(name)
		if !ok {
			return 0, usage(c, "socket-kind %q: no kind of sockets that can be granted: nothing was started; use one of %s", name, strings.Join(abi.SocketNames(), ", "))
		}
		mask |= kind.Mask()
	}
	return mask, nil
}
