package inspect

import "strings"

// EnvironmentRecord is what Environment tells of a process: what its memory has where the
// environment was when it began.
type EnvironmentRecord struct {
	Head
	// Variables are in their order. If "cut" has "environment", it is as with "args" of a
	// ProcessRecord.
	Variables []Variable `json:"variables"`
}

// Variable is one; text without an equals sign is a name without a value.
type Variable struct {
	Name     string  `json:"name"`
	NameB64  []byte  `json:"name_b64,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueB64 []byte  `json:"value_b64,omitempty"`
}

func readEnvironment(l *look, p *process) any {
	r := EnvironmentRecord{Variables: []Variable{}}
	if p.Unread == "" && p.there() {
		s, err := p.stat()
		p.fail("stat", err)
		list := p.memory("environ", "environment", MaxEnvironment, s.envTo-s.envFrom)
		if len(list) > MaxVariables {
			_, more := p.Cut["environment"]
			p.Cut.note("variables", int64(len(list)), more)
			list = list[:MaxVariables]
		}
		for _, entry := range list {
			r.Variables = append(r.Variables, variable(entry, l.values))
		}
	}
	r.Head = p.Head
	return r
}

func variable(entry string, values bool) Variable {
	name, value, ok := strings.Cut(entry, "=")
	v := Variable{Name: name, NameB64: raw(name)}
	if ok && values {
		v.Value, v.ValueB64 = &value, raw(value)
	}
	return v
}
