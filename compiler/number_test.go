package compiler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stockade-dev/stockade/bpf/abi"
	"github.com/stockade-dev/stockade/compiler/rule"
)

// numeric writes a comparison of a number of the request that went through
// several steps.
func (g author) numeric() string {
	longs := []string{"0", "1", "-1", "3", "-3", "7", "1000", "4294967295", "-86400", "9223372036854775807", "(-9223372036854775807 - 1)", "2305843009213693952", "20254", "55"}
	spans := []string{`duration("1h")`, `duration("-2h")`, `duration("-1ms")`, `duration("1d")`, `duration("-23h59m")`, `duration("-25h")`, `duration("49h")`, `duration("0ms")`, `duration("9223372036854775807ms")`, `duration("-9223372036854775807ms")`}
	dates := []string{`datetime("1970-01-01")`, `datetime("1969-12-31T12:00:00Z")`, `datetime("1970-01-02T00:00:00.001Z")`, `datetime("2025-06-15T15:06:40.123Z")`}
	text, kind := g.of("context.user.uid", "context.group.gid"), "long"
	if g.IntN(3) > 0 {
		text, kind = "context.now", "datetime"
	}
	for range g.IntN(5) {
		switch kind {
		case "long":
			c := g.of(longs...)
			text = g.of("("+text+" + "+c+")", "("+c+" + "+text+")", "("+text+" - "+c+")", "("+c+" - "+text+")", "("+text+" * "+c+")", "-("+text+")")
		case "datetime":
			switch g.IntN(4) {
			case 0, 1:
				text += ".offset(" + g.of(spans...) + ")"
			case 2:
				text += ".toDate()"
			case 3:
				text, kind = g.of(text+".durationSince("+g.of(dates...)+")", g.of(dates...)+".durationSince("+text+")", text+".toTime()"), "duration"
			}
		case "duration":
			if g.IntN(3) == 0 {
				text, kind = g.of(dates...)+".offset("+text+")", "datetime"
				break
			}
			text, kind = text+g.of(".toDays()", ".toHours()", ".toMinutes()", ".toSeconds()", ".toMilliseconds()"), "long"
		}
	}
	other := map[string][]string{"long": longs, "datetime": dates, "duration": spans}[kind]
	if g.IntN(6) == 0 {
		return "[" + g.of(other...) + ", " + g.of(other...) + "].contains(" + text + ")"
	}
	a, b := text, g.of(other...)
	if g.IntN(3) == 0 {
		a, b = b, a
	}
	return a + g.of(" < ", " <= ", " > ", " >= ", " == ", " != ") + b
}

// edges lists requests on both sides of every bound of the rules, and some more.
func edges(g author, set rule.Set) []abi.Request {
	ids, times := []int64{0, 1, 4294967295}, []int64{0, 1, rule.Day - 1, rule.Day, 1_750_000_000_123, maxNow}
	for _, r := range set.Rules {
		atoms(r.Cond, func(c rule.Cond) {
			less, ok := c.(rule.Less)
			for delta := int64(-1); ok && delta < 2; delta++ {
				switch less.Field {
				case rule.UID, rule.GID:
					ids = append(ids, less.Bound+delta)
				case rule.Now:
					times = append(times, less.Bound+delta)
				case rule.DayTime:
					times = append(times, less.Bound+delta, less.Bound+delta+20254*rule.Day)
				}
			}
		})
	}
	var list []abi.Request
	for range 60 {
		r := abi.Request{Action: abi.Read, Path: "/a"}
		r.UID, r.GID = uint32(ids[g.IntN(len(ids))]), uint32(ids[g.IntN(len(ids))])
		if now := times[g.IntN(len(times))]; now >= 0 && now <= maxNow {
			r.Now = now
		}
		list = append(list, r)
	}
	return list
}

func TestNumbersCompareAsCedarDoes(t *testing.T) {
	var count [3]int
	errored, asking := 0, 0
	const cases = 6000
	for seed := range cases {
		g := author{rand.New(rand.NewPCG(uint64(seed), 13))}
		text := fmt.Sprintf("permit(principal, action, resource) %s { %s };", g.of("when", "unless"), g.numeric())
		f, err := unvalidated(Input{Sources: []Source{{"p", []byte(text)}}, Principal: `Agent::"a"`})
		if err != nil {
			t.Fatal(err)
		}
		set, err := f.rules(abi.EnforcedActions)
		if err != nil {
			t.Fatal(err)
		}
		if len(set.Residuals) > 0 {
			asking++
		}
		oracle := newOracle(f)
		for _, r := range edges(g, set) {
			got := satisfaction(set.Rules, r)
			count[got]++
			decision, d := oracle.diagnose(r, Told{})
			if len(d.Errors) > 0 {
				errored++
			}
			if got != rule.Unclear && bool(decision) != (got == rule.True) {
				t.Fatalf("seed %d: %+v\n%s\nrules: %v, cedar-go: %v %v\n%v", seed, r, text, got, decision, d.Errors, set.Rules)
			}
		}
	}
	t.Logf("false %d, true %d, asked %d, errors %d; %d of %d cases ask", count[0], count[1], count[2], errored, asking, cases)
	if asking*10 > cases || count[0] < 10_000 || count[1] < 10_000 || errored < 1000 {
		t.Error("the comparison proves little")
	}
}
