// Package bpf loads the kernel side: it compiles nothing at run time, attaches
// all hooks or none, installs plans in the maps and reads denials off the ring.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types kern kern/stockade.bpf.c
//go:generate go run ./sum
