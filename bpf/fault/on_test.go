//go:build faults

package fault

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOrdersAreCarriedOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "orders")
	t.Setenv("STOCKADE_FAULT", "@"+file)
	if At("bpf.attach") != nil {
		t.Error("an error without an order")
	}
	for range 2 { // equal but for what follows the #
		if err := os.WriteFile(file, []byte("bpf.attach:2=error,bpf.unpin=delay:1ms#"+t.Name()+string(rune('a'+len(orders)))), 0o600); err != nil {
			t.Fatal(err)
		}
		for i, want := range []bool{false, true, false} {
			if err := At("bpf.attach"); (err != nil) != want {
				t.Errorf("time %d: %v", i+1, err)
			}
		}
		if At("bpf.unpin") != nil || At("bpf.describe") != nil {
			t.Error("a delay is no error")
		}
	}
	t.Setenv("STOCKADE_FAULT", "bpf.claim=error,bpf.claim:3=error")
	for i, want := range []bool{true, false, true, false} { // each order counts for itself
		if err := At("bpf.claim"); (err != nil) != want {
			t.Errorf("two orders, time %d: %v", i+1, err)
		}
	}
	t.Setenv("STOCKADE_FAULT", "bpf.describe=error")
	if At("bpf.describe") == nil || At("bpf.attach") != nil {
		t.Error("orders in the environment are not carried out")
	}
}

func TestProgramsAreLeftOut(t *testing.T) {
	t.Setenv("STOCKADE_FAULT_PROGRAMS", "task_alloc,file_open")
	if Leaves("file_open") || !Leaves("mmap_file") {
		t.Error("wrong programs are left out")
	}
	t.Setenv("STOCKADE_FAULT_PROGRAMS", "")
	if Leaves("mmap_file") {
		t.Error("a program is left out without an order")
	}
}
