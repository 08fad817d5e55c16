package render

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/terminal"
)

// appendString appends s as a JSON string: what encoding/json writes with
// SetEscapeHTML(false), except that everything a terminal would obey or hide
// (DEL, C1, bidi controls, zero-width characters …) is escaped too. So JSON can
// be shown on a terminal, and still decodes to the same text.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	b = appendEscaped(b, s)
	return append(b, '"')
}

// appendEscaped is [appendString] without the quotes.
func appendEscaped(b []byte, s string) []byte {
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if plainInJSON[c] {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			if r, size = utf8.DecodeRuneInString(s[i:]); isVisible(r, size) {
				i += size
				continue
			}
		}
		b = append(b, s[done:i]...)
		b = appendJSONRune(b, r)
		i += size
		done = i
	}
	return append(b, s[done:]...)
}

// plainInJSON are the bytes that stand for themselves.
var plainInJSON = func() (plain [256]bool) {
	for c := ' '; c <= '~'; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

// appendJSONRune appends the escape of a character, RFC 8259 §7.
func appendJSONRune(b []byte, r rune) []byte {
	const short = "\"\\\b\f\n\r\t"
	if i := strings.IndexRune(short, r); i >= 0 && r < utf8.RuneSelf {
		return append(b, '\\', `"\bfnrt`[i])
	}
	if r > 0xffff {
		high, low := utf16.EncodeRune(r)
		return appendJSONRune(appendJSONRune(b, high), low)
	}
	return appendHex(append(b, `\u`...), r)
}

// appendYAMLRune appends the escape of a character, YAML 1.2.2 §5.7. The library
// has escaped those above U+FFFF itself.
func appendYAMLRune(b []byte, r rune) []byte { return appendHex(append(b, `\u`...), r) }

func appendHex(b []byte, r rune) []byte {
	for shift := 12; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[r>>shift&15])
	}
	return b
}

// isVisible says whether a character that was decoded from size bytes may be
// shown. What may not, package terminal says.
func isVisible(r rune, size int) bool {
	if r == utf8.RuneError && size == 1 {
		return false
	}
	var b [utf8.UTFMax]byte
	s := string(b[:utf8.EncodeRune(b[:], r)])
	return terminal.Sanitise(s) == s
}

// appendVisible appends text in which whatever is not visible stands in quotes
// that know escapes, and escapes it. ASCII passes, but for DEL: who wrote the
// text has escaped the rest of that.
func appendVisible(b, text []byte, escape func([]byte, rune) []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if r < utf8.RuneSelf && r != 0x7f || r >= utf8.RuneSelf && isVisible(r, size) {
			b = append(b, text[:size]...)
		} else {
			b = escape(b, r)
		}
		text = text[size:]
	}
	return b
}

// sanitiseLines is [terminal.Sanitise] for text that may have lines and tabs.
func sanitiseLines(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "\n\t")
		if i < 0 {
			i = len(s)
		}
		b.WriteString(terminal.Sanitise(s[:i]))
		if i < len(s) {
			b.WriteByte(s[i])
			i++
		}
		s = s[i:]
	}
	return b.String()
}

// appendCell appends s as a field of CSV, quoted as by encoding/csv. A
// spreadsheet takes a cell that starts with one of = + - @ or a control
// character for a formula; such a cell gets an apostrophe in front.
func appendCell(b []byte, s string, clean bool) []byte {
	if isPlainCell(s) {
		return append(b, s...)
	}
	if clean {
		s = terminal.Sanitise(s)
	}
	if startsFormula(s) {
		s = "'" + s
	}
	if !needsQuotes(s) {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// isPlainCell says whether s certainly stands for itself, as nearly all that
// tokens hold does.
func isPlainCell(s string) bool {
	for i := range len(s) {
		if !plainInCSV[s[i]] {
			return false
		}
	}
	return s == "" || s[0] != '-'
}

var plainInCSV = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = strings.IndexByte("._:/-", byte(c)) >= 0 || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
	}
	return plain
}()

// startsFormula also knows the full-width forms, which some spreadsheets take
// for the same.
func startsFormula(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return strings.ContainsRune("=+-@\t\r\n＝＋－＠", r)
}

// needsQuotes is the rule of encoding/csv, with its two favours: to readers
// that cut leading space, and to PostgreSQL, for which \. ends the data.
func needsQuotes(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s == `\.` || strings.ContainsAny(s, "\",\r\n") || unicode.IsSpace(r)
}
