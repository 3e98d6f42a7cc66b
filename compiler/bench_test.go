package compiler

import (
	"bytes"
	"fmt"
	"testing"
)

// manyPolicies writes n policies, each about one path.
func manyPolicies(n int, form string) Input {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, form+"\n", fmt.Sprintf("/srv/%d/%d/file%d", i%97, i%1009, i))
	}
	return Input{Sources: []Source{{"many.cedar", b.Bytes()}}, Principal: `User::"ann"`}
}

// oneSet writes one policy with a set of n paths.
func oneSet(n int) Input {
	var b bytes.Buffer
	b.WriteString("permit(principal, action, resource is file_system::File) when { [")
	for i := range n {
		fmt.Fprintf(&b, "file_system::File::\"/srv/%d/%d/file%d\", ", i%97, i%1009, i)
	}
	b.WriteString("].contains(resource) };")
	return Input{Sources: []Source{{"set.cedar", b.Bytes()}}, Principal: `User::"ann"`}
}

// BenchmarkFront measures what comes before the table: package table has a
// benchmark of its own.
func BenchmarkFront(b *testing.B) {
	const scope = `permit(principal, action == file_system::Action::"read", resource == file_system::File::"%s");`
	const when = `permit(principal, action, resource) when { resource in file_system::Dir::"%s" };`
	for _, n := range []int{1000, 100_000} {
		for _, c := range []struct {
			name string
			in   Input
		}{
			{"scope", manyPolicies(n, scope)}, {"when", manyPolicies(n, when)}, {"set", oneSet(n)},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				for b.Loop() {
					f, err := read(c.in)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := f.rules(c.in.handled()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
