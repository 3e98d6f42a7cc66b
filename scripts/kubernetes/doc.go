// Package kubernetes is what the tests build Kubernetes of: see its go.mod, and vm fetch
// kubernetes, which builds it.
package kubernetes
