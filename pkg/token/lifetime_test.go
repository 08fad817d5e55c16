package token_test

import (
	"errors"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"45s": 45 * time.Second, "30m": 30 * time.Minute, "12h": 12 * time.Hour, "7d": 7 * token.Day, "2w": 14 * token.Day,
		"1d12h": 36 * time.Hour, "1w1d1h1m1s": 8*token.Day + time.Hour + time.Minute + time.Second, "0s": 0, "007d": 7 * token.Day,
		"9223372036s": 9223372036 * time.Second, "106751d": 106751 * token.Day,
	} {
		if d, err := token.ParseDuration(text); d != want || err != nil {
			t.Errorf("ParseDuration(%q) = %s, %v", text, d, err)
		}
	}
	for _, text := range []string{
		"", " ", "7", "d", "7 d", " 7d", "7d ", "-7d", "+7d", "1.5h", "1,5h", "7D", "7y", "7ms", "7µs", "7d3", "7d-1h", "d7", "７d", "1e9s", "0x1s", "1_0s",
		"9223372037s", "106752d", "15251w", "9223372036854775807s", "9223372036854775808s", "18446744073709551617s",
		"18446744074s", "213504d", "30501w", // over 64 bits by little
		"106751d24h", "9223372036s1s", strings.Repeat("9", 1000) + "d", "7d\n", "7\x00d", "never", "unlimited",
	} {
		if d, err := token.ParseDuration(text); !errors.Is(err, token.ErrUsage) || d != 0 {
			t.Errorf("ParseDuration(%q) = %s, %v", text, d, err)
		}
	}
}

func TestParseLifetime(t *testing.T) {
	for text, want := range map[string]time.Duration{"1s": time.Second, "36500d": token.MaxLifetime, "7d": 7 * token.Day} {
		if d, err := token.ParseLifetime(text); d != want || err != nil {
			t.Errorf("ParseLifetime(%q) = %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "0d0h", "-1", "-1d", "36500d1s", "36501d", "1000000000d", "unlimited"} {
		d, err := token.ParseLifetime(text)
		if !errors.Is(err, token.ErrUsage) || d != 0 || !strings.Contains(err.Error(), `"`+text+`"`) {
			t.Errorf("ParseLifetime(%q) = %s, %v", text, d, err)
		}
	}
}

func TestCheckLifetime(t *testing.T) {
	for d, ok := range map[time.Duration]bool{
		time.Second: true, token.MaxLifetime: true, token.Day: true,
		0: false, -time.Second: false, time.Second - 1: false, token.MaxLifetime + 1: false,
		math.MaxInt64: false, math.MinInt64: false,
	} {
		if err := token.CheckLifetime(d); (err == nil) != ok || err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("CheckLifetime(%d) = %v", d, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Minute: "1h30m", 7 * token.Day: "7d", 400 * token.Day: "400d",
		token.Day + time.Second: "1d1s", 1500 * time.Millisecond: "1s", -time.Hour: "-1h",
		math.MaxInt64: "106751d23h47m16s", math.MinInt64: "-106751d23h47m16s",
	} {
		if got := token.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

var durationText = regexp.MustCompile(`^([0-9]+[wdhms])+$`)

// sum is the value of a duration's text, by arithmetic that cannot overflow.
func sum(text string) *big.Int {
	total, unit := new(big.Int), map[byte]int64{'w': 7 * 86400, 'd': 86400, 'h': 3600, 'm': 60, 's': 1}
	for _, part := range regexp.MustCompile(`[0-9]+[wdhms]`).FindAllString(text, -1) {
		n, _ := new(big.Int).SetString(part[:len(part)-1], 10)
		total.Add(total, n.Mul(n, big.NewInt(unit[part[len(part)-1]]*int64(time.Second))))
	}
	return total
}

// A text is a duration if and only if it looks like one and fits; what is
// written is read as the same.
func FuzzDuration(f *testing.F) {
	for _, seed := range []string{"7d", "1d12h", "", "9223372036s", "106751d23h47m16s", "106751d23h47m17s", "99999999999999999999w", "1s1s", "-1d"} {
		f.Add(seed, int64(1))
	}
	f.Add("", int64(math.MinInt64))
	f.Add("", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, text string, n int64) {
		d, err := token.ParseDuration(text)
		good := durationText.MatchString(text) && sum(text).IsInt64()
		if (err == nil) != good || err == nil && big.NewInt(int64(d)).Cmp(sum(text)) != 0 {
			t.Errorf("ParseDuration(%q) = %d, %v", text, d, err)
		}
		if err != nil && !errors.Is(err, token.ErrUsage) {
			t.Errorf("ParseDuration(%q): %v", text, err)
		}
		life, lifeErr := token.ParseLifetime(text)
		if (lifeErr == nil) != (err == nil && d >= time.Second && d <= token.MaxLifetime) || lifeErr == nil && life != d {
			t.Errorf("ParseLifetime(%q) = %d, %v", text, life, lifeErr)
		}
		for _, d := range []time.Duration{d, time.Duration(n)} {
			sign, digits := 1, token.FormatDuration(d)
			if rest, negative := strings.CutPrefix(digits, "-"); negative {
				sign, digits = -1, rest
			}
			again, err := token.ParseDuration(digits)
			if err != nil || time.Duration(sign)*again != d.Truncate(time.Second) {
				t.Errorf("%d is written %q and read as %d, %v", d, token.FormatDuration(d), again, err)
			}
		}
	})
}
