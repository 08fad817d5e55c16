package render

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Fields takes the properties of one value, in order, and writes them as a JSON
// object or as a line of CSV. In JSON what is not there (an empty text, a zero
// time) is null, in CSV an empty cell. Times are RFC 3339 in UTC, in whole
// seconds.
//
// It appends to a buffer that is used again and allocates nothing. For a token,
// encoding/json takes seven times as long and 17 allocations.
type Fields struct {
	buf   []byte // each field ends in a comma
	cells bool   // CSV
	clean bool   // the cells go to a terminal
	all   bool   // for the names: OmitEmpty does nothing
	omit  bool
	days  calendar
}

// appendObject appends a value as a JSON object. The f is only there to be used
// again.
func appendObject[T any](f *Fields, b []byte, k *Kind[T], v *T) []byte {
	f.reset(append(b, '{'), false, false)
	k.Fields(f, v)
	return f.endObject()
}

// reset keeps nothing but the calendar.
func (f *Fields) reset(b []byte, cells, clean bool) {
	f.buf, f.cells, f.clean, f.all, f.omit = b, cells, clean, false, false
}

func (f *Fields) endObject() []byte {
	if last := len(f.buf) - 1; f.buf[last] == ',' {
		f.buf[last] = '}'
		return f.buf
	}
	return append(f.buf, '}')
}

// appendCells appends a value as a line of CSV.
func appendCells[T any](f *Fields, b []byte, k *Kind[T], v *T, clean bool) []byte {
	f.reset(b, true, clean)
	k.Fields(f, v)
	if last := len(f.buf) - 1; last >= len(b) {
		f.buf[last] = '\n'
		return f.buf
	}
	return append(f.buf, '\n')
}

// names are the names of all fields.
func names[T any](k *Kind[T]) (names []string, err error) {
	f := Fields{buf: []byte{'{'}, all: true}
	k.Fields(&f, new(T))
	members, err := objectMembers(f.endObject())
	for _, m := range members {
		names = append(names, m.name)
	}
	return names, err
}

// OmitEmpty leaves the fields that follow out of a JSON object where they are
// empty, instead of writing null.
func (f *Fields) OmitEmpty() { f.omit = !f.all }

// begin is the buffer with all that comes before the value.
func (f *Fields) begin(name string) []byte {
	if f.cells {
		return f.buf
	}
	b := append(f.buf, '"')
	b = append(b, name...)
	return append(b, '"', ':')
}

// Null is a field that is not there.
func (f *Fields) Null(name string) {
	if f.cells {
		f.buf = append(f.buf, ',')
	} else if !f.omit {
		f.buf = append(f.begin(name), "null,"...)
	}
}

// Text is a text; "" is not there. Bytes that are not UTF-8 become U+FFFD.
func (f *Fields) Text(name, s string) {
	if s == "" {
		f.Null(name)
		return
	}
	if f.cells {
		f.buf = append(appendCell(f.buf, s, f.clean), ',')
	} else {
		f.buf = append(appendString(f.begin(name), s), ',')
	}
}

// ID is the id of a token; the zero one is not there.
func (f *Fields) ID(name string, id token.ID) {
	if id.IsZero() {
		f.Null(name)
		return
	}
	b := f.begin(name)
	if f.cells {
		f.buf = append(id.AppendTo(b), ',')
		return
	}
	f.buf = append(id.AppendTo(append(b, '"')), '"', ',')
}

// Kind is a kind of token; 0 is not there.
func (f *Fields) Kind(name string, k token.Kind) {
	if int(k) < len(kindNames) {
		f.Text(name, kindNames[k])
	} else {
		f.Text(name, kindText(k))
	}
}

// kindNames spares the map of names that token.Kind has: a tenth of a line of
// CSV.
var kindNames = [...]string{token.User: token.User.String(), token.Service: token.Service.String(), token.Refresh: token.Refresh.String(), token.Access: token.Access.String(), token.Federated: token.Federated.String()}

// Owner is written realm/name; the zero one is not there.
func (f *Fields) Owner(name string, o token.Owner) {
	if o.IsZero() {
		f.Null(name)
		return
	}
	b := f.begin(name)
	switch {
	case !f.cells:
		b = append(appendEscaped(append(b, '"'), o.Realm), '/')
		b = append(appendEscaped(b, o.Name), '"')
	case isPlainCell(o.Realm) && isPlainCell(o.Name):
		b = append(append(append(b, o.Realm...), '/'), o.Name...)
	default:
		b = appendCell(b, o.String(), f.clean)
	}
	f.buf = append(b, ',')
}

// Roles is a JSON array, [] if there are none; CSV has them with spaces between.
func (f *Fields) Roles(name string, roles []token.Role) {
	if len(roles) == 0 && (f.omit || f.cells) {
		f.Null(name)
		return
	}
	b := f.begin(name)
	switch {
	case !f.cells:
		b = append(b, '[')
		for i, r := range roles {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, string(r))
		}
		b = append(b, ']')
	case len(roles) == 1:
		b = appendCell(b, string(roles[0]), f.clean)
	default:
		b = appendCell(b, joinRoles(roles), f.clean)
	}
	f.buf = append(b, ',')
}

// Texts is like [Fields.Roles].
func (f *Fields) Texts(name string, list []string) {
	roles := make([]token.Role, len(list))
	for i, text := range list {
		roles[i] = token.Role(text)
	}
	f.Roles(name, roles)
}

// Time is a moment; the zero time is not there.
func (f *Fields) Time(name string, t time.Time) {
	if t.IsZero() {
		f.Null(name)
		return
	}
	b := f.begin(name)
	if f.cells {
		f.buf = append(f.days.appendTime(b, t), ',')
		return
	}
	f.buf = append(f.days.appendTime(append(b, '"'), t), '"', ',')
}

// Bool is always there.
func (f *Fields) Bool(name string, v bool) {
	f.buf = append(strconv.AppendBool(f.begin(name), v), ',')
}

// Int is always there.
func (f *Fields) Int(name string, n int64) {
	f.buf = append(strconv.AppendInt(f.begin(name), n, 10), ',')
}

// Object is a field that is itself an object, with fields of its own. A cell
// of CSV has it as JSON.
func (f *Fields) Object(name string, fields func(*Fields)) {
	inner := Fields{buf: []byte{'{'}}
	fields(&inner)
	f.json(name, inner.endObject())
}

// Objects is an array of n objects, [] if there are none. A cell of CSV has it
// as JSON, and is empty if there are none.
func (f *Fields) Objects(name string, n int, fields func(f *Fields, i int)) {
	if n == 0 && (f.omit || f.cells) {
		f.Null(name)
		return
	}
	b := []byte{'['}
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		inner := Fields{buf: append(b, '{')}
		fields(&inner, i)
		b = inner.endObject()
	}
	f.json(name, append(b, ']'))
}

// json is a field of which the JSON text is known.
func (f *Fields) json(name string, raw json.RawMessage) {
	switch {
	case string(raw) == "null":
		f.Null(name)
	case f.cells:
		f.Text(name, plainText(raw))
	default:
		f.buf = append(appendVisible(f.begin(name), raw, appendJSONRune), ',')
	}
}
