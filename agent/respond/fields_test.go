package respond

import (
	"archive/tar"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"github.com/stockade-dev/stockade/agent/api"
	"github.com/stockade-dev/stockade/agent/evidence"
	"github.com/stockade-dev/stockade/agent/inspect"
	"github.com/stockade-dev/stockade/agent/lock"
	"github.com/stockade-dev/stockade/agent/sink"
	"github.com/stockade-dev/stockade/agent/socket"
	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/docs"
)

// sections of the page about evidence, with what is written into each part. What has a
// section of its own is told there alone.
var sections = map[string]any{
	"manifest.json":      evidence.Manifest{},
	"manifest.dsse.json": dsse.Envelope{},
	"response.json":      api.Response{},
	"workload.json":      api.Workload{},
	"policies.json":      policyPaper{},
	"sockets.json":       socketPaper{},
	"processes.json":     inspect.ProcessRecord{},
	"descriptors.json":   inspect.DescriptorsRecord{},
	"executables.json":   inspect.ExecutablesRecord{},
	"namespaces.json":    inspect.NamespacesRecord{},
	"credentials.json":   inspect.CredentialsRecord{},
	"environment.json":   inspect.EnvironmentRecord{},
	"cgroups.json":       inspect.GroupRecord{},
	"A document":         inspect.ProcessDocument{},
	"Of each process":    inspect.Head{},
	"A cut":              inspect.Total{},
	"A socket":           socket.Socket{},
	"A thread":           api.Process{},
	"Who did it":         lock.Actor{},
	"What was done":      api.Past{},
}

// statement is what is signed, as it is written: its type has no names of its fields.
const statement = "The statement"

// apart are the types that have a section of their own.
func apart() map[reflect.Type]bool {
	all := map[reflect.Type]bool{}
	for name, of := range sections {
		if !strings.HasSuffix(name, ".json") {
			all[reflect.TypeOf(of)] = true
		}
	}
	all[reflect.TypeFor[inspect.ProcessRecord]()] = true
	return all
}

// fields are the paths of those that JSON has of a type: a.b of an object in a field, a[].b
// in a list, a.*.b in an object with names of its own.
func fields(of reflect.Type, path string, stop map[reflect.Type]bool, into map[string]bool) {
	switch of.Kind() {
	case reflect.Pointer:
		fields(of.Elem(), path, stop, into)
	case reflect.Slice:
		fields(of.Elem(), path+"[]", stop, into)
	case reflect.Map:
		fields(of.Elem(), path+".*", stop, into)
	case reflect.Struct:
		if of == reflect.TypeFor[time.Time]() || path != "" && stop[of] {
			return
		}
		for i := range of.NumField() {
			f := of.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Anonymous && name == "" && stop[f.Type]: // its section tells
			case f.Type == reflect.TypeFor[api.Standing](): // not in evidence
			case f.Anonymous && name == "":
				fields(f.Type, path, stop, into)
			case name != "-" && f.IsExported():
				at := strings.TrimPrefix(path+"."+name, ".")
				into[at] = true
				fields(f.Type, at, stop, into)
			}
		}
	}
}

// keys are the paths of what JSON has.
func keys(of any, path string, into map[string]bool) {
	switch of := of.(type) {
	case []any:
		for _, one := range of {
			keys(one, path+"[]", into)
		}
	case map[string]any:
		for name, one := range of {
			at := strings.TrimPrefix(path+"."+name, ".")
			into[at] = true
			keys(one, at, into)
		}
	}
}

var (
	headings = regexp.MustCompile("(?m)^### `?([^`\n]+)`?$")
	rows     = regexp.MustCompile("(?m)^\\| (`[^|]*) \\|")
	quoted   = regexp.MustCompile("`([^`]+)`")
)

// onPage are the fields that each section of a page names.
func onPage(page string) map[string]map[string]bool {
	all := map[string]map[string]bool{}
	at := headings.FindAllStringSubmatchIndex(page, -1)
	for i, h := range at {
		end := len(page)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		names := map[string]bool{}
		for _, row := range rows.FindAllStringSubmatch(page[h[1]:end], -1) {
			for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
				names[name[1]] = true
			}
		}
		all[page[h[2]:h[3]]] = names
	}
	return all
}

// differ tells what one of two lists lacks.
func differ(t *testing.T, section string, page, written map[string]bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(written)) {
		if !page[name] {
			t.Errorf("%s: %s is written, and docs/evidence.md does not name it", section, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(page)) {
		if !written[name] {
			t.Errorf("%s: docs/evidence.md names %s, which is not written", section, name)
		}
	}
}

// The page for auditors names each field of each part, and no other.
func TestThePageNamesAllFieldsOfEvidence(t *testing.T) {
	page, stop := onPage(docs.Evidence), apart()
	for name, of := range sections {
		written := map[string]bool{}
		fields(reflect.TypeOf(of), "", stop, written)
		if len(written) == 0 || page[name] == nil {
			t.Errorf("%s: %d fields, on the page %v", name, len(written), page[name] != nil)
		}
		differ(t, name, page[name], written)
	}
	for name := range page {
		if sections[name] == nil && name != statement && name != "denials.jsonl" {
			t.Errorf("%s: a section about nothing that is written", name)
		}
	}
}

// A page that lacks a field, or has one too many, is found.
func TestAFieldThatIsMissingOnThePageIsFound(t *testing.T) {
	page := onPage("### `a.json`\n\n| field | |\n|---|---|\n| `one`, `one_b64` | text with `code` | |\n### B c\n| `two[].x` | |\n")
	if len(page) != 2 || len(page["a.json"]) != 2 || !page["a.json"]["one_b64"] || !page["B c"]["two[].x"] {
		t.Errorf("%v", page)
	}
	written := map[string]bool{}
	fields(reflect.TypeFor[struct {
		Head inspect.Head `json:"head"`
		List []struct {
			A int `json:"a"`
		} `json:"list"`
		Map map[string]*api.Step `json:"map"`
		not int
	}](), "", apart(), written)
	want := []string{"head", "list", "list[].a", "map", "map.*.at", "map.*.error", "map.*.name", "map.*.seconds"}
	if got := slices.Sorted(maps.Keys(written)); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// What is written is no more than what those types say: each part of a bundle, and each
// document of a helper.
func TestAllThatIsWrittenIsOnThePage(t *testing.T) {
	page := onPage(docs.Evidence)
	o := newOffice(t)
	file := filepath.Join(o.dir, "one.tar")
	o.must(alice, api.Respond{Verb: api.VerbFreeze})
	o.must(alice, api.Respond{Verb: api.VerbKill, Evidence: file})
	for name, text := range jsonParts(t, file) {
		if len(page[name]) == 0 {
			t.Errorf("%s: a part without a section", name)
		}
		if name == "manifest.dsse.json" {
			differ(t, statement, page[statement], signed(t, text))
		}
	}
	start, err := inspect.Start(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range inspect.Collectors() {
		request := inspect.Request{Collector: name, Processes: []inspect.Process{{PID: os.Getpid(), Start: start}}}
		if name == inspect.ControlGroup {
			request.Processes = nil
		}
		var text strings.Builder
		if err := inspect.Run(t.Context(), o.Custody.Look, request, &text); err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(text.String()), &doc); err != nil {
			t.Fatal(err)
		}
		for key := range doc {
			if key != inspect.ControlGroup && !page["A document"][key] { // as it names its list
				t.Errorf("%s: %s is not on the page", name, key)
			}
		}
	}
}

// Denials have their fields from one place, which is not seen here: what it writes is.
func TestDenialsAreOnThePage(t *testing.T) {
	const odd = "\xff"
	e := sink.Event{Event: abi.Event{Path: odd, Dest: odd, Exe: odd, Comm: odd, DestStatus: abi.PathOK, Trips: true, Unsure: true},
		Policies: []sink.Policy{{ID: "a", Reason: "b", Severity: "c", Effect: "forbid", Audit: true, Respond: "kill"}}}
	written := map[string]bool{}
	for _, boundary := range []abi.Boundary{abi.BoundaryNone, abi.BoundaryCapability, abi.BoundaryNetwork} {
		var one any
		e.Boundary = boundary
		if err := json.Unmarshal([]byte(e.JSON()), &one); err != nil {
			t.Fatal(err)
		}
		keys(one, "", written)
	}
	differ(t, "denials.jsonl", onPage(docs.Evidence)["denials.jsonl"], written)
}

// jsonParts are those of a bundle that are JSON.
func jsonParts(t *testing.T, bundle string) map[string][]byte {
	file, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all := map[string][]byte{}
	for r := tar.NewReader(file); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(h.Name, ".json") {
			all[h.Name] = part(t, bundle, h.Name)
		}
	}
}

// signed are the fields of what an envelope is about.
func signed(t *testing.T, envelope []byte) map[string]bool {
	var e dsse.Envelope
	var s any
	text, err := []byte(nil), json.Unmarshal(envelope, &e)
	if err == nil {
		text, err = base64.StdEncoding.DecodeString(e.Payload)
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	keys(s, "", all)
	return all
}
