package bpf

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/cilium/ebpf/btf"

	"github.com/stockade-dev/stockade/bpf/abi"
)

// structure finds a type in the BTF of the compiled programs.
func structure(t *testing.T, name string) *btf.Struct {
	t.Helper()
	spec, err := loadKern()
	if err != nil {
		t.Fatal(err)
	}
	var s *btf.Struct
	if err := spec.Types.TypeByName(name, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// snake turns DestLen into dest_len, as the C side writes it.
func snake(s string) string {
	var b strings.Builder
	for i, r := range s {
		if unicode.IsUpper(r) && i > 0 && unicode.IsLower(rune(s[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func TestStructuresAreTwins(t *testing.T) {
	for name, twin := range map[string]reflect.Type{
		"event": abi.WireEvent, "workload": reflect.TypeFor[workload](), "counters": reflect.TypeFor[counters](), "member": reflect.TypeFor[member](),
		"answer": reflect.TypeFor[answer](), "retirement": reflect.TypeFor[retirement](), "image": reflect.TypeFor[image](),
		"component": reflect.TypeFor[component](), "input": reflect.TypeFor[walkInput](), "input_path": reflect.TypeFor[inputPath](),
	} {
		s := structure(t, name)
		if s.Size != uint32(twin.Size()) {
			t.Errorf("struct %s has %d bytes in C, %d in Go", name, s.Size, twin.Size())
		}
		members := map[string]btf.Member{}
		for _, m := range s.Members {
			members[m.Name] = m
		}
		for i := range twin.NumField() {
			f := twin.Field(i)
			if f.Name == "_" {
				continue
			}
			m, ok := members[snake(f.Name)]
			if !ok || m.Offset.Bytes() != uint32(f.Offset) {
				t.Errorf("struct %s: %s is at %d in Go, in C it is %+v", name, f.Name, f.Offset, m)
				continue
			}
			if size, err := btf.Sizeof(m.Type); err != nil || size != int(f.Type.Size()) {
				t.Errorf("struct %s: %s has %d bytes in Go, %d in C", name, f.Name, f.Type.Size(), size)
			}
		}
	}
}

// Codes are compared by name: enum values in the C sources against the Go
// constants' texts.
func TestCodesAreTwins(t *testing.T) {
	src, err := os.ReadFile("kern/abi.h")
	if err != nil {
		t.Fatal(err)
	}
	for a := abi.Action(0); a < abi.NumActions; a++ {
		if got := enumerator(t, src, "action", int(a)); got != "ACT_"+strings.ToUpper(a.String()) {
			t.Errorf("action %d is %s in C, %s in Go", a, got, a)
		}
	}
	for k := range abi.NumKinds {
		if got := enumerator(t, src, "kind", int(k)); got != "KIND_"+strings.ToUpper(k.String()) {
			t.Errorf("kind %d is %s in C, %s in Go", k, got, k)
		}
	}
	for enum, count := range map[string]int{"action": int(abi.NumActions), "kind": int(abi.NumKinds) + 1, "reason": int(abi.ReasonHolds) + 1,
		"path_status": int(abi.PathFolded) + 1, "mode": int(abi.Lockdown) + 1, "boundary": int(abi.BoundaryNetwork) + 1} {
		if n := len(enumerators(t, src, enum)); n != count {
			t.Errorf("enum %s has %d values in C, %d in Go", enum, n, count)
		}
	}
	for enum, values := range map[string][]string{
		"reason": {"REASON_POLICY", "REASON_GAIN", "REASON_OUTSIDE", "REASON_TOO_DEEP", "REASON_TORN", "REASON_BUSY",
			"REASON_NO_PLAN", "REASON_LOCKDOWN", "REASON_BOUNDARY", "REASON_ASK",
			"REASON_FOLDED", "REASON_HELD", "REASON_ANSWERED", "REASON_CHANGED", "REASON_LOSS", "REASON_HOLDS"},
		"path_status": {"PATH_NONE", "PATH_OK", "PATH_OUTSIDE", "PATH_TOO_DEEP", "PATH_TORN", "PATH_CUT", "PATH_FOLDED"},
		"mode":        {"MODE_ENFORCE", "MODE_AUDIT", "MODE_LOCKDOWN"},
		"boundary": {"BOUNDARY_NONE", "BOUNDARY_BPF", "BOUNDARY_PERF", "BOUNDARY_MODULE", "BOUNDARY_CONTROL",
			"BOUNDARY_DEVICE", "BOUNDARY_PROCESS", "BOUNDARY_SIGNAL", "BOUNDARY_URING", "BOUNDARY_SOCKET", "BOUNDARY_TERMINAL", "BOUNDARY_WATCH",
			"BOUNDARY_CLOCK", "BOUNDARY_IDENTITY", "BOUNDARY_SYSTEM", "BOUNDARY_MEMORY", "BOUNDARY_CAPABILITY",
			"BOUNDARY_COMMAND", "BOUNDARY_LEASE", "BOUNDARY_NETWORK"},
	} {
		if n := len(enumerators(t, src, enum)); n != len(values) {
			t.Errorf("enum %s has %d values in C, %d here", enum, n, len(values))
		}
		for i, want := range values {
			if got := enumerator(t, src, enum, i); got != want {
				t.Errorf("enum %s: value %d is %s in C, Go has %s's place there", enum, i, got, want)
			}
		}
	}
}

// The dimensions are compared by name, and which of them are numbers.
func TestDimensionsAreTwins(t *testing.T) {
	src, err := os.ReadFile("kern/abi.h")
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for d := range abi.NumDims {
		name := "DIM_" + strings.ToUpper(d.String())
		if got := enumerator(t, src, "dim", int(d)); got != name {
			t.Errorf("dimension %d is %s in C, %s in Go", d, got, name)
		}
		if d.Numeric() {
			numbers = append(numbers, name)
		}
	}
	if n := len(enumerators(t, src, "dim")); n != int(abi.NumDims)+1 { // and NUM_DIMS
		t.Errorf("enum dim has %d values in C, %d in Go", n-1, abi.NumDims)
	}
	line := regexp.MustCompile(`#define NUMBERS (.*) /\*`).FindSubmatch(src)
	if line == nil {
		t.Fatal("no NUMBERS in kern/abi.h")
	}
	if got := regexp.MustCompile(`DIM_[A-Z0-9_]+`).FindAllString(string(line[1]), -1); !slices.Equal(got, numbers) {
		t.Errorf("numbers are %q in C, %q in Go", got, numbers)
	}
}

func enumerators(t *testing.T, src []byte, enum string) []string {
	t.Helper()
	m := regexp.MustCompile(`(?s)enum ` + enum + ` \{(.*?)\}`).FindSubmatch(src)
	if m == nil {
		t.Fatalf("no enum %s in kern/abi.h", enum)
	}
	body := regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(string(m[1]), "")
	return regexp.MustCompile(`[A-Z_][A-Z0-9_]*`).FindAllString(body, -1)
}

func enumerator(t *testing.T, src []byte, enum string, i int) string {
	list := enumerators(t, src, enum)
	if i >= len(list) {
		return "nothing"
	}
	return list[i]
}

// constants finds what the C side defines, but for macros with arguments.
func constants(t *testing.T, file string) map[string]string {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^#define ([A-Z0-9_]+) +([^/\n]*)`).FindAllStringSubmatch(string(src), -1) {
		found[m[1]] = strings.TrimSpace(m[2])
	}
	return found
}

// TestTablesAreTwins compares the words of tables by name: every word of the header
// that the C side knows, and where rows and sums have what.
func TestTablesAreTwins(t *testing.T) {
	n := 0
	for name, value := range constants(t, "kern/match.h") {
		word, header := strings.CutPrefix(name, "HDR_")
		if !header {
			continue
		}
		n++
		if want, ok := abi.HdrNames[word]; !ok || value != strconv.Itoa(want) {
			t.Errorf("%s is %s in C, %d in Go (known: %v)", name, value, want, ok)
		}
	}
	if n < 10 {
		t.Errorf("%d names of header words in C: too few to be all", n)
	}
	kinds := func(s string) string {
		switch s {
		case "NUM_KINDS":
			return strconv.Itoa(int(abi.NumKinds))
		case "(2 * NUM_KINDS)":
			return strconv.Itoa(2 * int(abi.NumKinds))
		case "(3 * NUM_KINDS)":
			return strconv.Itoa(3 * int(abi.NumKinds))
		case "(4 * NUM_KINDS)":
			return strconv.Itoa(4 * int(abi.NumKinds))
		}
		return s
	}
	words := map[string]int{"ROW_GRANTED": abi.RowGranted, "ROW_ASKED": abi.RowAsked, "ROW_REPORTED": abi.RowReported, "ROW_TRIPS": abi.RowTrips, "ROW_WORDS": abi.RowWords,
		"SUM_ALL": abi.SumAll, "SUM_ANY": abi.SumAny, "SUM_WORDS": abi.SumWords}
	for name, value := range constants(t, "kern/decide.h") {
		if !strings.HasPrefix(name, "ROW_") && !strings.HasPrefix(name, "SUM_") {
			continue
		}
		if want, ok := words[name]; !ok || kinds(value) != strconv.Itoa(want) {
			t.Errorf("%s is %s in C, %d in Go (known: %v)", name, value, want, ok)
		}
		delete(words, name)
	}
	for name := range words {
		t.Errorf("no %s in kern/decide.h", name)
	}
	own := constants(t, "kern/abi.h")
	if own["MAX_DIMS"] != strconv.Itoa(abi.MaxDims) || own["NUM_PATHS"] != "(KIND_"+strings.ToUpper((abi.NumPaths-1).String())+" + 1)" {
		t.Errorf("MAX_DIMS is %s in C, %d in Go; NUM_PATHS is %s, %d", own["MAX_DIMS"], abi.MaxDims, own["NUM_PATHS"], abi.NumPaths)
	}
}

func TestLimitsAreTwins(t *testing.T) {
	src, err := os.ReadFile("kern/limits.h")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"MAX_COMPONENTS": abi.MaxComponents, "MAX_NAME": abi.MaxName, "MAX_PATH": abi.MaxPath,
		"INLINE_NAME": abi.InlineName, "MAX_IMAGE": abi.MaxImage, "IMAGES": maxImages, "MAX_WORKLOADS": abi.MaxWorkloads, "ARENA_WORDS": defaultTableWords} {
		m := regexp.MustCompile(`#define ` + name + ` (\d+)`).FindSubmatch(src)
		if m == nil {
			t.Errorf("no %s in kern/limits.h", name)
		} else if got, _ := strconv.Atoi(string(m[1])); got != want {
			t.Errorf("%s is %d in C, %d in Go", name, got, want)
		}
	}
}
