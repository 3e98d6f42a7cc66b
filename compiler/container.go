package compiler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/stockade-dev/stockade/compiler/schema"
)

// Container is what of a policy set reads otherwise in a container.
type Container struct {
	// IDs are the places of policies about numbers of users and groups: the kernel knows
	// those of the host, which in a user namespace are others than the container's.
	IDs []string
	// Warnings are positioned remarks on paths that usually are no container's.
	Warnings []string
}

// inContainers looks for both.
func (f *front) inContainers() (c Container) {
	for _, p := range f.policies {
		if p.mentionsAttribute("user") || p.mentionsAttribute("group") {
			c.IDs = append(c.IDs, p.meta.Position())
		}
		for _, uid := range p.pathsNamed() {
			if why := elsewhere(uid); why != "" {
				c.Warnings = append(c.Warnings, fmt.Sprintf("%s: %s: %s", p.meta.Position(), printable(uid.String()), why))
			}
		}
	}
	slices.Sort(c.Warnings)
	c.Warnings = slices.Compact(c.Warnings)
	return c
}

// elsewhere says why a path is none at which the kernel ends in a usual container; "" if it
// may be one.
func elsewhere(uid types.EntityUID) string {
	path := string(uid.ID)
	under := func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
	const volumes = "/run/secrets/kubernetes.io"
	for link, to := range map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"} {
		if under(link) {
			return "in most images this is a link to " + to + strings.TrimPrefix(path, link) + ": where it is, no request has this path; name the other"
		}
	}
	switch {
	case uid.Type == schema.File && under(volumes), strings.Contains(path+"/", "/..data/"):
		return "in volumes of Kubernetes a name is a link to a file in a folder named by a date: no request has this path; name the Dir of the volume, or use like"
	}
	return ""
}

// pathsNamed lists the files and directories that a policy writes out.
func (p *policy) pathsNamed() (named []types.EntityUID) {
	add := func(uid types.EntityUID) {
		if uid.Type == schema.File || uid.Type == schema.Dir {
			named = append(named, uid)
		}
	}
	if uid, ok := scopeEntity(p.resource); ok {
		add(uid)
	}
	p.eachLiteral(add)
	return named
}
