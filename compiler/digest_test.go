package compiler

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/compiler/schema"
)

// Where the bytes of this example change, so does the version.
func TestTheDigestHashesTheEncodingThatIsSpecified(t *testing.T) {
	in := Input{
		Sources:  []Source{{"b", []byte("")}, {"a", []byte("B;")}, {"a", []byte("A;")}},
		Entities: []byte("[]"),
		Answers: []Answer{{Policy: "p", Actions: 2, Path: "/x", Beneath: true, Until: 258},
			{Policy: "q", Until: -1, Allow: true}},
		Principal: "not part of it", EntitiesName: "nor this",
	}
	const zeros = "\x00\x00\x00\x00\x00\x00\x00"
	want := "\x01" +
		zeros + "\x03" + // sources
		zeros + "\x01a" + zeros + "\x02A;" +
		zeros + "\x01a" + zeros + "\x02B;" +
		zeros + "\x01b" + zeros + "\x00" +
		zeros + "\x02[]" + // entities
		zeros + "\x01S" + // schema
		zeros + "\x02" + // answers
		zeros + "\x01p" + zeros + "\x02" + zeros + "\x02/x" + "\x01" + zeros[1:] + "\x01\x02" + "\x00" +
		zeros + "\x01q" + zeros + "\x00" + zeros + "\x00" + "\x00" + "\xff\xff\xff\xff\xff\xff\xff\xff" + "\x01"
	var got bytes.Buffer
	encoder{&got}.input(in, []byte("S"))
	if got.String() != want {
		t.Errorf("got  %q\nwant %q", got.String(), want)
	}
	sum := sha256.Sum256([]byte(want))
	if hex := hex.EncodeToString(sum[:]); hex != "7798dbf0784e0f77c0591ee4b125e8e797a29b71a2fcb345fd752d70d0f1f8da" {
		t.Errorf("the example's digest is %s", hex)
	}
	got.Reset()
	encoder{&got}.input(in, schema.Text)
	if sum = sha256.Sum256(got.Bytes()); digest(in) != hex.EncodeToString(sum[:]) {
		t.Error("the digest is not that of the encoding with the schema")
	}
}

// apart are the fields of an Input that are no part of its digest.
var apart = []string{"Principal", "EntitiesName", "Handled", "Workload.Name", "Workload.Image", "Workload.Namespace", "Workload.Labels[0]"}

// A field that somebody adds to an Input, or to what it holds, is part of the
// digest, or is named above.
func TestEveryFieldIsPartOfTheDigestOrSaidNotToBe(t *testing.T) {
	var in Input
	fields := 0
	fill(t, "", reflect.ValueOf(&in).Elem(), func(string, reflect.Value) {})
	before := digest(in)
	fill(t, "", reflect.ValueOf(&in).Elem(), func(path string, v reflect.Value) {
		fields++
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		change(t, path, v)
		if same := digest(in) == before; same != slices.Contains(apart, path) {
			t.Errorf("%s is changed: the digest stays: %v", path, same)
		}
		v.Set(was)
	})
	if fields < 9+len(apart) {
		t.Errorf("only %d fields", fields)
	}
}

// fill gives slices an element and pointers a value, and visits every field that
// holds neither structures nor lists.
func fill(t *testing.T, path string, v reflect.Value, visit func(string, reflect.Value)) {
	switch {
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(t, strings.TrimPrefix(path+"."+v.Type().Field(i).Name, "."), v.Field(i), visit)
		}
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(t, path, v.Elem(), visit)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		fill(t, path+"[0]", v.Index(0), visit)
	default:
		visit(path, v)
	}
}

// change gives a field another value.
func change(t *testing.T, path string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "x")
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.Kind() == reflect.Slice:
		v.SetBytes(append(bytes.Clone(v.Bytes()), 'x'))
	default:
		t.Fatalf("%s: a %s: teach this test to change it", path, v.Type())
	}
}
