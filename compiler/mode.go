package compiler

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// annotationValues lists the values that an annotation may have; other
// annotations are free.
var annotationValues = map[string][]string{
	"mode":    {"enforce", "audit"},
	"respond": {"lockdown", "freeze", "kill"},
}

// checkAnnotations reports values that mean nothing.
func (p *policy) checkAnnotations(errs *collector) {
	for _, key := range []string{"mode", "respond"} {
		value, there := p.meta.Annotations[key]
		allowed := annotationValues[key]
		if !there || slices.Contains(allowed, value) {
			continue
		}
		last := len(allowed) - 1
		errs.addf(p.annotation(key), "policy %s: @%s(%s): no such value: the policy set is refused; write %s or %s",
			p.meta.ID, key, strconv.Quote(value), strings.Join(allowed[:last], ", "), allowed[last])
	}
}

// knownAnnotations are those that mean something; others are free.
var knownAnnotations = []string{"id", "mode", "reason", "respond", "severity"}

// annotationWarnings are about annotations without the effect that they seem to have.
func (p *policy) annotationWarnings() []string {
	var list []string
	warn := func(key, format string, args ...any) {
		list = append(list, printable(fmt.Sprintf("%s: policy %s: @%s: %s", p.annotation(key), p.meta.ID, key, fmt.Sprintf(format, args...))))
	}
	for _, key := range slices.Sorted(maps.Keys(p.meta.Annotations)) {
		if right := meantAnnotation(key); right != "" {
			warn(key, "no such annotation: it has no effect; did you mean @%s?", right)
		}
	}
	if _, there := p.meta.Annotations["respond"]; there {
		switch {
		case p.meta.Effect == rule.Permit:
			warn("respond", "of a permit: it has no effect, for a permit denies nothing; put it on a forbid, or remove it")
		case p.meta.Audited():
			warn("respond", `of a forbid in audit: it has no effect, for what it would deny goes on; remove @mode("audit") to have it respond`)
		}
	}
	return list
}

// meantAnnotation returns the annotation that a name is a misspelling of, or "". Of the
// short ones only one letter may be wrong: @note is not meant to be @mode.
func meantAnnotation(key string) string {
	best, least := "", 3
	for _, name := range knownAnnotations {
		if key == name {
			return ""
		}
		d := distance(strings.ToLower(key), name)
		if d < least && d <= max(1, (len(name)-1)/2) {
			best, least = name, d
		}
	}
	return best
}

// annotation returns the place of an annotation.
func (p *policy) annotation(key string) Position {
	s := scanner{text: p.source.text, pos: p.offset}
	at := 0
	for t := s.next(); t.kind != tokenEOF; t = s.next() {
		switch word := string(s.text[t.start:t.end]); {
		case word == "@":
			at = t.start
			if next := s.next(); string(s.text[next.start:next.end]) == key {
				return p.source.position(at)
			}
		case word == "permit", word == "forbid":
			return p.position()
		}
	}
	return p.position()
}

// cedarVerdict is Cedar's answer from what permits and forbids came to: whether any
// is false, true or unclear.
func cedarVerdict(permit, forbid [3]bool) abi.Verdict {
	switch {
	case forbid[rule.True] || !permit[rule.True] && !permit[rule.Unclear]:
		return abi.Deny
	case forbid[rule.Unclear] || !permit[rule.True]:
		return abi.Ask
	}
	return abi.Allow
}

// Audited returns what the verdict on a request would be if the policies in
// audit were enforced. Where that is another one, it names those of them that
// make it so.
func (p *Plan) Audited(request abi.Request) (would abi.Verdict, by []*rule.Policy) {
	facts := &request
	var enforced, all [2][3]bool
	var found [2][3][]*rule.Policy
	for r := range p.applicable(request) {
		truth := rule.Eval(r.Cond, facts)
		all[r.Effect][truth] = true
		if !r.Audited {
			enforced[r.Effect][truth] = true
		} else if policy := &p.Rules.Policies[r.Policy]; !slices.Contains(found[r.Effect][truth], policy) {
			found[r.Effect][truth] = append(found[r.Effect][truth], policy)
		}
	}
	verdict := p.Decide(request)
	if verdict == abi.Allow && !p.Table.Reports(request) {
		return verdict, nil
	}
	would = cedarVerdict(all[rule.Permit], all[rule.Forbid])
	if verdict != abi.Allow && would == cedarVerdict(enforced[rule.Permit], enforced[rule.Forbid]) {
		return verdict, nil
	}
	side := found[rule.Permit]
	if verdict == abi.Allow || len(found[rule.Forbid][rule.True]) > 0 {
		side = found[rule.Forbid]
	}
	if by = side[rule.True]; len(by) == 0 {
		by = side[rule.Unclear]
	}
	return would, by
}
