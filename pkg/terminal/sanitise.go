package terminal

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sanitise makes text from outside fit for a terminal and for one line of it:
// control characters (C0, C1, ESC, DEL) and everything invisible that Unicode
// has (bidi controls, zero-width characters, variation selectors, tags, fillers)
// are left out, tabs and every kind of line break become a space, and a byte
// that is not UTF-8 becomes U+FFFD.
//
// The price: scripts and emoji that need joiners show unjoined. Text that is
// clean already is returned as it is, without an allocation.
func Sanitise(s string) string {
	clean := cleanPrefix(s)
	if clean == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	b.WriteString(s[:clean])
	for _, r := range s[clean:] { // range gives U+FFFD for a wrong byte
		switch {
		case isBreak(r):
			b.WriteByte(' ')
		case isInvisible(r):
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cleanPrefix is the number of bytes of s before the first that Sanitise has to
// change.
func cleanPrefix(s string) int {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if c < ' ' || c == 0x7f {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 || isInvisible(r) {
			return i
		}
		i += size
	}
	return len(s)
}

func isBreak(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', '\u0085', '\u2028', '\u2029':
		return true
	}
	return false
}

// isInvisible holds of what a terminal obeys or does not show. The categories
// alone are not enough: the Hangul fillers are letters, and the variation
// selectors are marks.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp,
		unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
