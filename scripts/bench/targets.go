//go:build linux

package main

import (
	"strings"
)

// The native table: every result beside the same one with 10 rules.
var nativeTable = table{
	title:   "One verdict on this host (the match of a path of 6 components, 60 bytes; Authorize is cedar-go's whole decision)",
	unit:    "ns",
	against: "against 10 rules",
	base: func(name string) string {
		kind, rest, _ := strings.Cut(name, "/rules=")
		_, what, found := strings.Cut(rest, "/")
		if found {
			what = "/" + what
		}
		return kind + "/rules=10" + what
	},
}

var nativeTargets = []target{
	{what: "hot match at 100,000 rules against 10", this: "Verdict/rules=100000/hit", that: "Verdict/rules=10/hit", max: 1.3},
	{what: "plan of 10,000 rules in the kernel", this: "Verdict/rules=10000/hit", unit: "KiB", max: 2048},
}

// What the VM's table must show, at 1,000 rules unless it says otherwise.
var machineTargets = []target{
	{what: "unconfined against empty programs, depth 8", this: "depth 8, unconfined", that: "depth 8, empty programs", max: 1.10},
	{what: "confined against unconfined, depth 8", this: "depth 8, confined, 1000 rules", that: "depth 8, unconfined", max: 1.5},
	{what: "confined against Landlock, depth 3", this: "depth 3, confined, 1000 rules", that: "depth 3, Landlock, 1000 rules", max: 1, goal: true},
	{what: "confined against Landlock, depth 8", this: "depth 8, confined, 1000 rules", that: "depth 8, Landlock, 1000 rules", max: 1, goal: true},
	{what: "confined against Landlock, depth 20", this: "depth 20, confined, 1000 rules", that: "depth 20, Landlock, 1000 rules", max: 1, goal: true},
}
