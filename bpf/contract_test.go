package bpf

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// kernelStruct tells the layout of a structure of the programs.
func kernelStruct(t *testing.T, spec *ebpf.CollectionSpec, name string) string {
	t.Helper()
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatalf("struct %s: %v", name, err)
	}
	text := fmt.Sprintf("struct %s, %d bytes\n", name, s.Size)
	for _, m := range s.Members {
		size, err := btf.Sizeof(m.Type)
		if err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("  %d %s %d\n", m.Offset.Bytes(), m.Name, size)
	}
	return text
}

// ourStruct tells the layout of one of ours.
func ourStruct(of reflect.Type) string {
	text := fmt.Sprintf("%s, %d bytes\n", of.Name(), of.Size())
	for i := range of.NumField() {
		f := of.Field(i)
		text += fmt.Sprintf("  %d %s %d\n", f.Offset, f.Name, f.Type.Size())
	}
	return text
}

// wantFile demands that a text is that of a file, which belongs to a version.
func wantFile(t *testing.T, name, text string) {
	t.Helper()
	file := "testdata/" + name
	want, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && os.Getenv("STOCKADE_UPDATE") != "" {
		err = os.WriteFile(file, []byte(text), 0o644)
		want = []byte(text)
	}
	if err != nil {
		t.Fatalf("%v: a new version has a new file: make it with STOCKADE_UPDATE=1", err)
	}
	if string(want) != text {
		t.Errorf("%s: what other builds read has changed: give it a new version (contract.go), a new file, and a line of docs/table-format.md; it is now\n%s", file, text)
	}
}

// What is read of another build's set changes with its version only.
func TestContractIsThatOfItsVersion(t *testing.T) {
	spec, err := loadKern()
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("pins %s %s %s; folders NAME NAME%s\n", mapPin, linkPin, holdPin, besideSuffix)
	text += fmt.Sprintf("registry %s: array, 4 bytes to %d, %d entries\n", registryName, recordSize, abi.MaxWorkloads)
	for _, name := range contractMaps {
		if m := spec.Maps[name]; name == "events" {
			text += fmt.Sprintf("map %s: %s\n", name, m.Type)
		} else if name != registryName {
			text += fmt.Sprintf("map %s: %s, %d bytes to %d, %d entries, flags %#x\n", name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags)
		}
	}
	text += fmt.Sprintf("flags: strict %d, ending %d, container %d; modes: enforce %d, audit %d, lockdown %d; ended %s\n",
		workloadStrict, workloadEnding, workloadContainer, abi.Enforce, abi.Audit, abi.Lockdown, endedName)
	for _, name := range []string{"workload", "member", "counters"} {
		text += kernelStruct(t, spec, name)
	}
	for _, of := range []reflect.Type{reflect.TypeFor[header](), reflect.TypeFor[entry](), reflect.TypeFor[record](), reflect.TypeFor[totals](), reflect.TypeFor[rollEntry]()} {
		text += ourStruct(of)
	}
	wantFile(t, fmt.Sprintf("contract-%d.txt", contract), text)
	wantFile(t, fmt.Sprintf("events-%d.txt", eventsContract), kernelStruct(t, spec, "event"))
}

// What takes marks over reads them as they are where they come from.
func TestHeirsReadWhatIsInTheContract(t *testing.T) {
	spec, err := loadKern()
	if err != nil {
		t.Fatal(err)
	}
	for ours, theirs := range map[string]string{oldTasks: "tasks", oldMembers: "members"} {
		a, b := spec.Maps[ours], spec.Maps[theirs]
		if a == nil || a.Type != b.Type || a.KeySize != b.KeySize || a.ValueSize != b.ValueSize || a.MaxEntries != b.MaxEntries || a.Flags != b.Flags {
			t.Errorf("map %s is %v, and %s is %v", ours, a, theirs, b)
		}
		if !slices.Contains(contractMaps, theirs) {
			t.Errorf("map %s is not in the contract", theirs)
		}
	}
	if strings.Contains(Beside("/sys/fs/bpf/stockade/@agent"), ".") {
		t.Error("bpffs refuses names with a dot")
	}
}

func TestForeignSetsSayWhetherTheyCanBeSucceeded(t *testing.T) {
	for _, c := range []struct {
		h    header
		says string
	}{
		{header{Contract: contract}, ""},
		{header{Contract: 0}, "from before one could take the place of another"},
		{header{Contract: contract + 1}, fmt.Sprintf("contract %d, where this one understands %d", contract+1, contract)},
	} {
		var f *ForeignError
		err := foreign("/pins", &c.h, "")
		if !errors.As(err, &f) || c.says == "" && f.Why != "" || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "nothing is changed") {
			t.Errorf("contract %d: %v", c.h.Contract, err)
		}
	}
}
