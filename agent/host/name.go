package host

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

var validName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// CheckName says what is wrong with the name of a workload.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("name %q: not a workload's name: nothing was started; use 1 to 63 of a-z 0-9 _ . -, and begin with a letter or digit", name)
	}
	return nil
}

var unfitForName = regexp.MustCompile(`[^a-z0-9_-]+`)

// DefaultName makes a name from the program's: its base name and six random
// digits.
func DefaultName(program string) string {
	base := unfitForName.ReplaceAllString(strings.ToLower(filepath.Base(program)), "-")
	base = strings.TrimLeft(base[:min(len(base), 40)], "_-")
	if base == "" {
		base = "run"
	}
	var random [3]byte
	rand.Read(random[:])
	return base + "-" + hex.EncodeToString(random[:])
}

// PinDir returns where the pins of a workload lie. bpffs refuses names with a
// dot, and a workload's name has no comma.
func PinDir(name string) string {
	return filepath.Join(PinRoot, strings.ReplaceAll(name, ".", ","))
}
