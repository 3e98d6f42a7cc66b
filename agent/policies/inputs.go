// Package policies reads what plans are made of: files, and the baselines that are shipped.
package policies

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/stockade-dev/stockade/agent/config"
	"github.com/stockade-dev/stockade/compiler"
)

// Read reads a file, or the *.cedar files of a folder.
func Read(path string) ([]compiler.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("policies: %w: nothing is compiled; check the path", err)
	}
	files := []string{path}
	if info.IsDir() {
		files, err = filepath.Glob(filepath.Join(escapeGlob(path), "*.cedar"))
		if err != nil {
			return nil, fmt.Errorf("policies: %s: %w: nothing is compiled; name the files", path, err)
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("policies: %s: no *.cedar file in this folder: nothing is compiled; name another", path)
		}
	}
	var sources []compiler.Source
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("policies: %w: nothing is compiled; check the path", err)
		}
		sources = append(sources, compiler.Source{Name: file, Text: text})
	}
	return sources, nil
}

// escapeGlob makes a path match itself.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// InputOf reads all that the plan of a declared workload depends on.
func InputOf(w *config.Workload) (compiler.Input, error) {
	in := compiler.Input{Principal: w.Principal, EntitiesName: w.Entities, Handled: w.Handled}
	for _, path := range w.Policies {
		sources, err := Read(path)
		if err != nil {
			return in, w.Errorf("policies", "%w", err)
		}
		in.Sources = append(in.Sources, sources...)
	}
	if err := AddBaseline(&in, w.Baseline); err != nil {
		return in, w.Errorf("baseline", "%w", err)
	}
	var err error
	if w.Entities != "" {
		if in.Entities, err = os.ReadFile(w.Entities); err != nil {
			return in, w.Errorf("entities", "entities: %w: nothing is changed; check the path", err)
		}
	}
	return in, nil
}

// DigestOf tells inputs apart.
func DigestOf(in compiler.Input) string {
	text, err := json.Marshal(in)
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
