package render

import (
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// RelativeTime says how far t is from now in the one unit that fits, rounded:
// "in 3 days", "2 hours ago", "now". The zero time is "never".
func RelativeTime(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	d := t.Sub(now)
	amount := roundedAmount(d.Abs())
	switch {
	case amount == "":
		return "now"
	case d > 0:
		return "in " + amount
	}
	return amount + " ago"
}

// relativeUnits are the units with the number from which the next one fits
// better. One of hours and days may be off by a quarter at most.
var relativeUnits = []struct {
	name  string
	d     time.Duration
	limit int64
}{
	{"second", time.Second, 60},
	{"minute", time.Minute, 60},
	{"hour", time.Hour, 48},
	{"day", token.Day, 2 * 365},
	{"year", 365 * token.Day, 0},
}

func roundedAmount(d time.Duration) string {
	for _, u := range relativeUnits {
		n := int64(d / u.d)
		if d%u.d >= u.d/2 { // not d.Round: it overflows near the end of Duration
			n++
		}
		switch {
		case n == 0:
			return ""
		case n == 1:
			return "1 " + u.name
		case n < u.limit || u.limit == 0:
			return strconv.FormatInt(n, 10) + " " + u.name + "s"
		}
	}
	return ""
}

// calendar remembers the texts of days: a list of a million tokens has three
// million times on a few thousand days, and time.AppendFormat would take a third
// of the time of a line of CSV. It costs 1 KiB.
type calendar [64]struct {
	day  uint32 // from 1
	text [len("2006-01-02T")]byte
}

// appendTime appends t as RFC 3339 in UTC and whole seconds.
func (c *calendar) appendTime(b []byte, t time.Time) []byte {
	const firstSecond, lastSecond = -62135596800, 253402300799 // of the years 1 to 9999
	unix := t.Unix()
	if unix < firstSecond || unix > lastSecond {
		return t.UTC().AppendFormat(b, time.RFC3339)
	}
	seconds := uint64(unix - firstSecond)
	second, day := uint32(seconds%86400), uint32(seconds/86400)+1
	page := &c[day%uint32(len(c))]
	if page.day != day {
		page.day = day
		t.UTC().AppendFormat(page.text[:0], "2006-01-02T")
	}
	b = append(b, page.text[:]...)
	return append(b,
		'0'+byte(second/36000), '0'+byte(second/3600%10), ':',
		'0'+byte(second/600%6), '0'+byte(second/60%10), ':',
		'0'+byte(second/10%6), '0'+byte(second%10), 'Z')
}
