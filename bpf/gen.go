// Package bpf loads the kernel side: it compiles nothing at run time, attaches
// all hooks or none, installs plans in the maps and reads denials off the ring.
package bpf

//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types file kern/file.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types exec kern/exec.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types identity kern/identity.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types meta kern/meta.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types escape kern/escape.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types guard kern/guard.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types command kern/command.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types socket kern/socket.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types walk kern/walk.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types hold kern/hold.bpf.c
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target amd64,arm64 -cflags "-O2 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function -mcpu=v3" -no-global-types strict kern/strict.bpf.c
//go:generate go run ./sum
