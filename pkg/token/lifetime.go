package token

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours: lifetimes do not follow a calendar.
const Day = 24 * time.Hour

// MaxLifetime bounds every lifetime, so that no sum of times overflows and
// becomes "never".
const MaxLifetime = 36500 * Day

// CheckLifetime refuses a lifetime that is not between one second and
// [MaxLifetime].
func CheckLifetime(d time.Duration) error {
	if d < time.Second || d > MaxLifetime {
		return Errorf(ErrUsage, "lifetime %s is not between 1s and %s", FormatDuration(d), FormatDuration(MaxLifetime))
	}
	return nil
}

var units = []struct {
	name string
	d    time.Duration
}{{"w", 7 * Day}, {"d", Day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}

// ParseDuration reads a duration such as 90d, 2w, 12h, 30m, 45s or 1d12h.
// Numbers are whole, and there is no sign.
func ParseDuration(s string) (time.Duration, error) {
	var sum time.Duration
	rest := s
	for rest != "" || s == "" {
		i := 0
		for i < len(rest) && '0' <= rest[i] && rest[i] <= '9' {
			i++
		}
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		if err != nil || i == len(rest) {
			return 0, durationError(s)
		}
		unit := time.Duration(0)
		for _, u := range units {
			if rest[i:i+1] == u.name {
				unit = u.d
			}
		}
		if unit == 0 || n > int64(math.MaxInt64/unit) || sum > math.MaxInt64-time.Duration(n)*unit {
			return 0, durationError(s)
		}
		sum += time.Duration(n) * unit
		rest = rest[i+1:]
	}
	return sum, nil
}

func durationError(s string) error {
	return Errorf(ErrUsage, "%q is not a duration", s).WithHint("write a number and a unit: 7d, 2w, 12h, 30m, 45s")
}

// ParseLifetime reads a duration and refuses what [CheckLifetime] refuses.
func ParseLifetime(s string) (time.Duration, error) {
	d, err := ParseDuration(s)
	if err != nil {
		return 0, Errorf(ErrUsage, "lifetime %q: not a duration", s).WithHint("write a number and a unit: 7d, 2w, 12h, 30m, 45s")
	}
	if d < time.Second || d > MaxLifetime {
		return 0, Errorf(ErrUsage, "lifetime %q is not between 1s and %s", s, FormatDuration(MaxLifetime))
	}
	return d, nil
}

// FormatDuration writes a duration the way [ParseDuration] reads it: in days,
// hours, minutes and seconds, the largest units first, none that is zero.
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-max(d, -math.MaxInt64)) // the least one has no opposite
	}
	var b strings.Builder
	for _, u := range units[1:] {
		if n := d / u.d; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.d
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}
