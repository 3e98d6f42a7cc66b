package main

import (
	"os"
	"testing"
)

// TestSumsAreThoseOfTheObjects: a stale sum would let a build adopt what other code made.
func TestSumsAreThoseOfTheObjects(t *testing.T) {
	for architecture, constraint := range architectures {
		want, err := source("..", architecture, constraint)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile("../" + name(architecture))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s: it has\n%s\nthe object has\n%s\nrun make generate", name(architecture), got, want)
		}
	}
}
