// Package docs holds the documents that tests compare with what they see.
package docs

import _ "embed"

// Limits is limits.md.
//
//go:embed limits.md
var Limits string

// Guide is user-guide.md.
//
//go:embed user-guide.md
var Guide string

// Evidence is evidence.md.
//
//go:embed evidence.md
var Evidence string
