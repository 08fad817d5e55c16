package render

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"
)

// Object shows any small struct or map, by the names that encoding/json gives
// its fields; it panics on what encoding/json cannot write. For lists it is too
// slow, and CSV needs a struct whose fields are always the same.
func Object[T any]() Kind[T] {
	return Kind[T]{Fields: func(f *Fields, v *T) {
		var raw bytes.Buffer
		enc := json.NewEncoder(&raw)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			panic(err)
		}
		if raw.String() == "null\n" { // a nil map
			return
		}
		members, err := objectMembers(raw.Bytes())
		if err != nil {
			panic(err)
		}
		for _, m := range members {
			f.json(string(appendEscaped(nil, m.name)), m.value) // a map has any names
		}
	}}
}

// Of makes lines for what is a part of another value, or not there: nil.
func Of[T, Part any](columns []Column[Part], part func(v *T) *Part) []Column[T] {
	var lines []Column[T]
	for _, c := range columns {
		none := c.None
		if none == "" && !c.Wide {
			none = "-"
		}
		l := Column[T]{Header: c.Header, Wide: true}
		l.Text = func(v *T) string {
			switch p := part(v); {
			case p == nil:
				return ""
			case c.Text == nil:
				return none
			default:
				return cmp.Or(c.Text(p), none)
			}
		}
		if c.Time != nil {
			l.Time = func(v *T) (t time.Time) {
				if p := part(v); p != nil {
					t = c.Time(p)
				}
				return t
			}
		}
		if c.Tone != nil {
			l.Tone = func(v *T) (t Tone) {
				if p := part(v); p != nil {
					t = c.Tone(p)
				}
				return t
			}
		}
		lines = append(lines, l)
	}
	return lines
}

// member is a property of a JSON object.
type member struct {
	name  string
	value json.RawMessage
}

// objectMembers are the properties of a JSON object, in their order.
func objectMembers(raw json.RawMessage) (members []member, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, fmt.Errorf("%.20q is not a JSON object", raw)
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: name.(string)}
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	return members, nil
}

func arrayElements(raw json.RawMessage) (elements []json.RawMessage, err error) {
	err = json.Unmarshal(raw, &elements)
	return elements, err
}

// plainText is what a JSON value holds: of a string the text, of null nothing,
// of anything else the JSON.
func plainText(raw json.RawMessage) string {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil {
		return string(raw)
	}
	if s == nil {
		return ""
	}
	return *s
}
