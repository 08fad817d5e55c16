package idp

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// claims are the members of a JWT's payload, each as it was written.
type claims map[string]strict.RawMessage

// has reports whether a claim says something: null says nothing.
func (c claims) has(name string) bool {
	raw, ok := c[name]
	return ok && string(raw) != "null"
}

// text is a claim that is a string. The decoder puts U+FFFD where half a
// character stood, so that two different texts would come out the same: one
// with it is no text.
func (c claims) text(name string) (string, bool) {
	var s *string
	if strict.Unmarshal(c[name], &s) != nil || s == nil || strings.ContainsRune(*s, utf8.RuneError) {
		return "", false
	}
	return *s, true
}

func (c claims) issuer() string {
	s, _ := c.text("iss")
	return s
}

// texts is a claim that is a string or an array of strings.
func (c claims) texts(name string) ([]string, bool) {
	if s, ok := c.text(name); ok {
		return []string{s}, true
	}
	var raw []strict.RawMessage
	if strict.Unmarshal(c[name], &raw) != nil || raw == nil {
		return nil, false
	}
	list := make([]string, len(raw))
	for i := range raw {
		var ok bool
		if list[i], ok = (claims{"": raw[i]}).text(""); !ok {
			return nil, false
		}
	}
	return list, true
}

// lastSecond is the end of the year 9999.
const lastSecond = 253402300799

// time is a claim that is a NumericDate (RFC 7519 §2), which may have a
// fraction: of that nothing is kept.
func (c claims) time(name string) (time.Time, error) {
	raw := string(c[name])
	n, err := strconv.ParseFloat(raw, 64)
	if err != nil || raw[0] == '"' || math.IsNaN(n) || n < 1 || n > lastSecond {
		return time.Time{}, token.Errorf(token.ErrRefused, "its %s is missing or no time", name)
	}
	return time.Unix(int64(n), 0).UTC(), nil
}
