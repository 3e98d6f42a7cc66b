package report

import (
	"io"
	"slices"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler"
)

// changeJSON is a change as programs read it.
type changeJSON struct {
	Old     string              `json:"old"`
	New     string              `json:"new"`
	Was     bool                `json:"old_reported,omitempty"`
	Is      bool                `json:"new_reported,omitempty"`
	Tripped bool                `json:"old_responded,omitempty"`
	Trips   bool                `json:"new_responded,omitempty"`
	Actions map[string][]string `json:"actions"`
	Places  []placeJSON         `json:"places"`
	Globs   []map[string]string `json:"globs,omitempty"`
	Facts   []string            `json:"facts,omitempty"`
	Witness map[string]any      `json:"witness"`
}

type placeJSON struct {
	Path    string      `json:"path"`
	File    bool        `json:"file,omitempty"`
	Dir     bool        `json:"dir,omitempty"`
	Beneath bool        `json:"beneath,omitempty"`
	Some    bool        `json:"some,omitempty"`
	Except  []placeJSON `json:"except,omitempty"`
}

// ChangesJSON writes all changes as one JSON object. open says that answers of the
// agent were not compared.
func ChangesJSON(w io.Writer, changes []compiler.Change, open bool) error {
	return writeJSON(w, struct {
		Equal       bool         `json:"equal"`
		Changes     []changeJSON `json:"changes"`
		NotCompared bool         `json:"asks_not_compared,omitempty"`
	}{len(changes) == 0, changesJSON(changes), open})
}

func changesJSON(changes []compiler.Change) []changeJSON {
	list := make([]changeJSON, len(changes))
	for i, c := range changes {
		x := changeJSON{Old: c.Old.Verdict.String(), New: c.New.Verdict.String(), Was: c.Old.Reported, Is: c.New.Reported, Tripped: c.Old.Tripped, Trips: c.New.Tripped, Actions: map[string][]string{}}
		for _, g := range c.Globs {
			x.Globs = append(x.Globs, map[string]string{"pattern": g.Pattern, "path": g.Path})
		}
		for k, mask := range c.Actions {
			for _, a := range mask.Actions() {
				x.Actions[abi.Kind(k).String()] = append(x.Actions[abi.Kind(k).String()], a.String())
			}
		}
		x.Witness = map[string]any{"action": c.Witness.Action.String(), "type": c.Witness.Kind.Type(), "path": c.Witness.Path}
		for _, d := range c.Needs {
			x.Facts = append(x.Facts, factName(d))
			x.Witness[factName(d)] = factValue(d, c.Witness.Facts)
		}
		for _, p := range c.Places {
			place := placeJSON{Path: p.Path, File: p.Self[abi.File], Dir: p.Self[abi.Dir], Beneath: p.Beneath, Some: p.Some}
			for _, e := range p.Except {
				place.Except = append(place.Except, placeJSON{Path: e.Path, File: e.Self[abi.File], Dir: e.Self[abi.Dir], Beneath: e.Beneath})
			}
			x.Places = append(x.Places, place)
		}
		list[i] = x
	}
	return slices.Clip(list)
}
