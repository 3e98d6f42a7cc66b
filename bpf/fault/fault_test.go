package fault

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// called returns where each point is reached: "file:line" by name.
func called(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go"), strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "At" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "fault" {
				return true
			}
			at := files.Position(call.Pos()).String()
			name := "?"
			if lit, ok := call.Args[0].(*ast.BasicLit); ok {
				if name, err = strconv.Unquote(lit.Value); err != nil {
					t.Errorf("%s: %v", at, err)
				}
			} else {
				t.Errorf("%s: the name of a point is no literal", at)
			}
			found[name] = append(found[name], at)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestPointsAreThoseOfTheCode(t *testing.T) {
	found := called(t)
	names := map[string]bool{}
	for _, p := range Points {
		if names[p.Name] {
			t.Errorf("%s is listed twice", p.Name)
		}
		names[p.Name] = true
		if n := len(found[p.Name]); n != 1 {
			t.Errorf("%s is reached in %d places, want 1: %v", p.Name, n, found[p.Name])
		}
	}
	for name, at := range found {
		if !names[name] {
			t.Errorf("%v: %s is not listed", at, name)
		}
	}
	if len(found) < 50 {
		t.Errorf("only %d points were found", len(found))
	}
}

// TestShippedBuildHasNoFaults compares the program without and with the tag.
func TestShippedBuildHasNoFaults(t *testing.T) {
	dir := t.TempDir()
	build := func(name string, args ...string) []byte {
		t.Helper()
		out := filepath.Join(dir, name)
		cmd := exec.Command("go", slices.Concat([]string{"build", "-o", out}, args, []string{"./cmd/stockade"})...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, text)
		}
		program, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return program
	}
	shipped, tagged := build("shipped"), build("tagged", "-tags", "faults")
	marks := []string{"STOCKADE_FAULT", "fault: %s: %s\n", "stockade/bpf/fault.due"}
	for _, p := range Points {
		if strings.Contains(p.Name, "-") { // others could be names of functions
			marks = append(marks, p.Name)
		}
	}
	for _, mark := range marks {
		if bytes.Contains(shipped, []byte(mark)) {
			t.Errorf("the shipped program holds %q", mark)
		}
		if !bytes.Contains(tagged, []byte(mark)) {
			t.Errorf("the program with faults lacks %q: this test sees nothing", mark)
		}
	}
}

// TestWithFaults runs the tests of the other build.
func TestWithFaults(t *testing.T) {
	out, err := exec.Command("go", "test", "-count=1", "-tags=faults", "-run=^(TestOrders|TestPrograms)", "-v", ".").CombinedOutput()
	if err != nil || bytes.Count(out, []byte("--- PASS")) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAtIsInlined(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", "{{.GoFiles}}", ".").Output()
	if err != nil || string(out) != "[off.go points.go]\n" {
		t.Fatalf("files of the shipped build: %s, %v", out, err)
	}
	text, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput() // also what is in the build cache
	if err != nil || !bytes.Contains(text, []byte("can inline At")) {
		t.Errorf("go build: %v\n%s", err, text)
	}
	if err := At("bpf.attach"); err != nil {
		t.Error(err)
	}
}
