package signer

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/tokenctl/tokenctl/pkg/token"
)

var errJSON = errors.New("its payload is no JSON object")

// A scanner takes JSON (RFC 8259) apart, value by value. It reads payloads
// that a good signature of ours covers, so it need not be strict inside values
// that nobody asks for. The general decoders take a quarter of the time of a
// signature check for the same.
type scanner struct{ rest []byte }

// take passes over a character and the space before it, if it comes next.
func (s *scanner) take(c byte) bool {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	if len(s.rest) == 0 || s.rest[0] != c {
		return false
	}
	s.rest = s.rest[1:]
	return true
}

// end says whether nothing but space is left.
func (s *scanner) end() bool {
	s.rest = bytes.TrimLeft(s.rest, " \t\r\n")
	return len(s.rest) == 0
}

// value cuts off one value, raw; none is empty.
func (s *scanner) value() []byte {
	if s.end() {
		return nil
	}
	end := 0
	switch s.rest[0] {
	case '"':
		end = afterString(s.rest)
	case '{', '[':
		end = afterNested(s.rest)
	default:
		if end = bytes.IndexAny(s.rest, ",:]} \t\r\n"); end < 0 {
			end = len(s.rest)
		}
	}
	v := s.rest[:end]
	s.rest = s.rest[end:]
	return v
}

// afterString is where the string that b begins with ends; 0: it does not.
func afterString(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// afterNested is where the object or array that b begins with ends; 0: it does
// not.
func afterNested(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			n := afterString(b[i:])
			if n == 0 {
				return 0
			}
			i += n - 1
		}
	}
	return 0
}

// members calls fn with the members of an object, in their order.
func members(object []byte, fn func(name string, value []byte) error) error {
	s := scanner{object}
	if !s.take('{') {
		return errJSON
	}
	for more := !s.take('}'); more; {
		name, ok := text(s.value())
		if !ok || !s.take(':') {
			return errJSON
		}
		value := s.value()
		if len(value) == 0 {
			return errJSON
		}
		if err := fn(name, value); err != nil {
			return err
		}
		if more = s.take(','); !more && !s.take('}') {
			return errJSON
		}
	}
	if !s.end() {
		return errJSON
	}
	return nil
}

// text reads a raw string.
func text(raw []byte) (string, bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	plain := raw[1 : len(raw)-1]
	for _, c := range plain {
		if c < ' ' || c > '~' || c == '\\' {
			var s string
			err := json.Unmarshal(raw, &s)
			return s, err == nil
		}
	}
	return string(plain), true
}

// texts reads a raw array of strings.
func texts(raw []byte) ([]token.Role, bool) {
	s := scanner{raw}
	if !s.take('[') {
		return nil, false
	}
	list := []token.Role{}
	for more := !s.take(']'); more; {
		t, ok := text(s.value())
		if !ok {
			return nil, false
		}
		list = append(list, token.Role(t))
		if more = s.take(','); !more && !s.take(']') {
			return nil, false
		}
	}
	return list, s.end()
}
