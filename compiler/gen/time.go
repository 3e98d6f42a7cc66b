package gen

import (
	"fmt"
	"time"
)

// moments are instants that policies name: round ones, ends of days and months,
// one before 1970 and one with milliseconds.
var moments = []string{
	"1970-01-01", "2026-03-01", "2026-03-01T08:30:00Z", "2026-02-28T23:59:59Z", "2026-12-31T23:59:59.999Z",
	"2027-01-01T00:00:00.000Z", "2026-03-01T08:30:00+0130", "1969-12-31T23:59:59.500Z", "2024-02-29", "0001-01-01",
}

var layouts = []string{"2006-01-02", "2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000Z", "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.000-0700"}

// millis returns a moment in milliseconds.
func millis(s string) int64 {
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UnixMilli()
		}
	}
	panic(s)
}

// moment writes a datetime, offset by shift in milliseconds where it matters.
func (g *generator) moment(shift int64) string {
	s := pick(g, moments...)
	g.bounds["now"] = append(g.bounds["now"], millis(s)-shift)
	return fmt.Sprintf("datetime(%q)", s)
}

// span is a duration and its milliseconds.
type span struct {
	text string
	ms   int64
}

const (
	minute = 60_000
	hour   = 60 * minute
	day    = 24 * hour
)

var spans = []span{{"9h", 9 * hour}, {"17h30m", 17*hour + 30*minute}, {"0ms", 0}, {"23h59m59s999ms", day - 1}, {"1d", day},
	{"90m", 90 * minute}, {"-1h", -hour}, {"2d12h", 2*day + 12*hour}, {"1ms", 1}}

// clock writes a duration that a time of day is compared with.
func (g *generator) clock(shift int64) string {
	s := pick(g, spans...)
	g.bounds["daytime"] = append(g.bounds["daytime"], s.ms-shift)
	return fmt.Sprintf("duration(%q)", s.text)
}

var timeLeaves = []production{
	{"now", func(g *generator) string { return "context.now" + comparison(g) + g.moment(0) }},
	{"now", func(g *generator) string { return "context.now" + comparison(g) + g.moment(0) }},
	{"moment now", func(g *generator) string { return g.moment(0) + comparison(g) + "context.now" }},
	{"now window", func(g *generator) string {
		return "context.now >= " + g.moment(0) + " && context.now < " + g.moment(0)
	}},
	{"toTime", func(g *generator) string { return "context.now.toTime()" + comparison(g) + g.clock(0) }},
	{"toTime", func(g *generator) string { return "context.now.toTime()" + comparison(g) + g.clock(0) }},
	{"daily window", func(g *generator) string {
		return "context.now.toTime() >= " + g.clock(0) + " && context.now.toTime() < " + g.clock(0)
	}},
	{"nightly window", func(g *generator) string {
		return "context.now.toTime() >= " + g.clock(0) + " || context.now.toTime() < " + g.clock(0)
	}},
	{"toDate", func(g *generator) string { return "context.now.toDate()" + comparison(g) + g.moment(0) }},
	{"offset", func(g *generator) string {
		s := pick(g, spans...)
		return fmt.Sprintf("context.now.offset(duration(%q))", s.text) + comparison(g) + g.moment(s.ms)
	}},
	{"offset toTime", func(g *generator) string {
		s := pick(g, spans...)
		return fmt.Sprintf("context.now.offset(duration(%q)).toTime()", s.text) + comparison(g) + g.clock(s.ms)
	}},
	{"offset toDate", func(g *generator) string {
		s := pick(g, spans...)
		return fmt.Sprintf("context.now.offset(duration(%q)).toDate()", s.text) + comparison(g) + g.moment(s.ms)
	}},
	{"durationSince", func(g *generator) string {
		s := pick(g, spans...)
		return "context.now.durationSince(" + g.moment(-s.ms) + ")" + comparison(g) + fmt.Sprintf("duration(%q)", s.text)
	}},
	{"toHours", func(g *generator) string {
		n := g.IntN(25)
		g.bounds["daytime"] = append(g.bounds["daytime"], int64(n)*hour)
		return fmt.Sprintf("context.now.toTime().toHours()%s%d", comparison(g), n)
	}},
	{"now attribute", func(*generator) string { return "principal.since <= context.now" }},
	{"now overflow", func(*generator) string {
		return `context.now.offset(duration("9223372036854775807ms")) > datetime("2026-01-01")`
	}},
	{"has now", func(*generator) string { return "context has now" }},
}
