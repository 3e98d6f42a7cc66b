package gen

import "math/rand/v2"

// Told is what the agent finds out about a request and the kernel does not
// know. Its fields are those of compiler.Told.
type Told struct {
	Username, Groupname string
	Options             map[string]string
	Flags, Positional   []string
	Tokens              []string
	Environment         map[string]string
	TargetProcess       *int64
}

// NewTold draws one, near what policies say of it.
func NewTold(r *rand.Rand, path string) Told {
	pickOne := func(list ...string) string { return list[r.IntN(len(list))] }
	t := Told{Username: pickOne("ann", "a", "bob", "", path), Groupname: pickOne("dev", "ops", "x", "")}
	if r.IntN(2) == 0 {
		t.Options = map[string]string{"mode": pickOne("push", "pull"), "out": "x"}
	}
	for _, flag := range []string{"-f", "--force", "-x"} {
		if r.IntN(2) == 0 {
			t.Flags = append(t.Flags, flag)
		}
	}
	for _, word := range []string{"push", "rm", "status"} {
		if r.IntN(2) == 0 {
			t.Positional = append(t.Positional, word)
		}
	}
	for range r.IntN(3) {
		t.Tokens = append(t.Tokens, pickOne("push", "-f", "pull"))
	}
	if r.IntN(2) == 0 {
		t.Environment = map[string]string{"LD_PRELOAD": "/x.so"}
	}
	if r.IntN(2) == 0 {
		pid := int64(1 + r.IntN(2))
		t.TargetProcess = &pid
	}
	return t
}
