package table

import (
	"fmt"
	"testing"

	"github.com/stockade-dev/stockade/compiler/rule"
)

// Folders named by numbers, each with a file or two: once no place was found
// for these names, whatever the seed.
func TestNumberedFoldersFindAPlace(t *testing.T) {
	s := &rule.Set{}
	for i := range 10000 {
		s.Rules = append(s.Rules, rule.Rule{Policy: i, Actions: 1,
			Cond: rule.PathEq{Path: fmt.Sprintf("/srv/%d/%d/file%d", i%97, i%1009, i)}})
	}
	tab, err := Build(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if load := float64(tab.Nodes) / float64(tab.Buckets*bucketSlots); load < 0.7 {
		t.Errorf("table is %.0f %% full: it grew", load*100)
	}
}
