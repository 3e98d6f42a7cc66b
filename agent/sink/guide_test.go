package sink

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/docs"
)

// The user guide lists the values of "reason" in JSON, each, and no other.
func TestTheGuideListsAllReasons(t *testing.T) {
	_, table, found := strings.Cut(docs.Guide, "\n| `reason` | |\n|---|---|\n")
	if !found {
		t.Fatal("no table of reasons")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var listed, real []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]*)` \\|").FindAllStringSubmatch(table, -1) {
		listed = append(listed, m[1])
	}
	for r := abi.Reason(0); r.String() != fmt.Sprintf("reason %d", r); r++ {
		for _, change := range []func(*Event){
			func(*Event) {},
			func(d *Event) { d.Policies = nil },
			func(d *Event) { d.Policies, d.PathStatus = nil, abi.PathNone },
			func(d *Event) { d.Policies, d.Boundary = nil, abi.BoundaryCapability },
		} {
			d := sample()
			d.Reason = r
			change(d)
			if d.Boundary != abi.BoundaryNone && r != abi.ReasonBoundary || r == abi.ReasonHeld { // no denial is so
				continue
			}
			var got struct{ Reason string }
			if err := json.Unmarshal([]byte(d.JSON()), &got); err != nil {
				t.Fatal(err)
			}
			real = append(real, got.Reason)
		}
	}
	slices.Sort(listed)
	slices.Sort(real)
	if real = slices.Compact(real); !slices.Equal(listed, real) {
		t.Errorf("the guide has\n%s\nprinted are\n%s", strings.Join(listed, "\n"), strings.Join(real, "\n"))
	}
}

// What else a tripwire puts into a denial is explained there.
func TestTheGuideExplainsTripwires(t *testing.T) {
	d := sample()
	d.Trips, d.Unsure = true, true
	for _, field := range []string{"locked_down", "unsure", "severity"} {
		if !strings.Contains(d.JSON(), `"`+field+`":`) || !strings.Contains(docs.Guide, "`"+field+"`") {
			t.Errorf("%s is not printed or not explained", field)
		}
	}
	if !strings.HasSuffix(d.Line(), ": LOCKED DOWN by it") || !strings.Contains(docs.Guide, "`: LOCKED DOWN by it`") {
		t.Errorf("what a line ends with is not explained: %s", d.Line())
	}
}
