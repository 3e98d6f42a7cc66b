package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// grantFlags are what the boundary can be told to let a workload do. --socket-kind
// is so long because --socket is the agent's.
func grantFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "cap", Usage: "grant the capability `NAME`, for example SYS_NICE ; may be repeated, see docs/limits.md"},
		&cli.StringSliceFlag{Name: "socket-kind", Usage: "also allow sockets of this `KIND`, for example packet, raw or netlink-netfilter; may be repeated, see docs/limits.md"},
	}
}

// grants returns what the flags grant.
func grants(c *cli.Context) (g abi.Grants, err error) {
	for _, name := range c.StringSlice("cap") {
		bit, err := abi.ParseCapability(name)
		if err != nil {
			return g, usage(c, "cap %q: %w: %s; use some of %s", name, err, undone(c), strings.Join(abi.CapabilityNames(), ", "))
		}
		g.Caps |= bit
	}
	for _, name := range c.StringSlice("socket-kind") {
		kind, ok := abi.ParseSocket(name)
		if !ok {
			return g, usage(c, "socket-kind %q: no kind of sockets that can be granted: %s; use some of %s", name, undone(c), strings.Join(abi.SocketNames(), ", "))
		}
		g.Sockets |= kind.Mask()
	}
	return g, nil
}

// checkSocket refuses an agent's address that cannot be meant as one: a word, often
// a kind of sockets.
func checkSocket(c *cli.Context, address string) error {
	if strings.Contains(address, "/") {
		return nil
	}
	mend := "write the path of the agent's socket, with a slash"
	if c.Command.Name == "run" {
		mend += "; kinds of sockets are granted by --socket-kind"
		if _, ok := abi.ParseSocket(address); ok {
			mend = "use --socket-kind " + address + " to grant that kind of sockets: --socket is the path of the agent's"
		}
	}
	return usage(c, "socket %q: not a path: %s; %s", address, undone(c), mend)
}
