package render

import (
	"strings"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/terminal"
)

// linesEncoder writes a line for each property of a value, and an empty line
// between values.
type linesEncoder[T any] struct {
	options Options
	kind    Kind[T]
	begun   bool
	fields  Fields
}

func newLines[T any](o Options, k Kind[T]) *linesEncoder[T] {
	if k.Lines == nil {
		k.Lines = k.Columns
	}
	return &linesEncoder[T]{options: o, kind: k}
}

// line has a label, or none, and an indentation.
type line struct {
	indent      int
	label, text string
	tone        Tone
}

func (e *linesEncoder[T]) add(out *output, v *T) error {
	if e.begun {
		out.buf = append(out.buf, '\n')
	}
	e.begun = true
	var lines []line
	for _, c := range e.kind.Lines {
		text, there := c.cell(v, e.options.Now)
		if c.Wide && !there {
			continue
		}
		if c.Time != nil {
			if t := c.Time(v); !t.IsZero() {
				text += " (" + string(e.fields.days.appendTime(nil, t)) + ")"
			}
		}
		lines = append(lines, line{0, label(c.Header), text, c.tone(v)})
	}
	if e.kind.Lines == nil {
		var err error
		if lines, err = jsonLines(nil, 0, appendObject(&e.fields, nil, &e.kind, v)); err != nil {
			return err
		}
	}
	widest := 0
	for _, l := range lines {
		widest = max(widest, l.indent+width(l.label))
	}
	for _, l := range lines {
		out.buf = append(out.buf, strings.Repeat(" ", l.indent)...)
		if l.label != "" {
			out.buf = append(append(out.buf, l.label...), ':')
			if l.text != "" {
				out.buf = append(out.buf, strings.Repeat(" ", widest-l.indent-width(l.label)+1)...)
			}
		}
		out.buf = append(out.buf, e.options.paint(l.text, l.tone)...)
		out.buf = append(out.buf, '\n')
	}
	return nil
}

func (*linesEncoder[T]) end(*output, bool) error { return nil }

// label makes "Last used" from LAST USED and from last_used.
func label(name string) string {
	words := strings.Fields(strings.ToLower(strings.ReplaceAll(name, "_", " ")))
	for i, w := range words {
		if w == "id" {
			words[i] = "ID"
		} else if i == 0 {
			r, size := utf8.DecodeRuneInString(w)
			words[i] = strings.ToUpper(string(r)) + w[size:]
		}
	}
	return strings.Join(words, " ")
}

// jsonLines appends the lines of a JSON object. Properties of inner objects
// keep their names: those are data.
func jsonLines(lines []line, indent int, object []byte) ([]line, error) {
	members, err := objectMembers(object)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		l := line{indent: indent, label: terminal.Sanitise(m.name)}
		if indent == 0 {
			l.label = label(l.label)
		}
		switch m.value[0] {
		case '{':
			if lines, err = jsonLines(append(lines, l), indent+2, m.value); err != nil {
				return nil, err
			}
			continue
		case '[':
			elements, err := arrayElements(m.value)
			if err != nil {
				return nil, err
			}
			if len(elements) > 0 {
				lines = append(lines, l)
				for _, element := range elements {
					lines = append(lines, line{indent: indent + 2, text: terminal.Sanitise(plainText(element))})
				}
				continue
			}
		default:
			l.text = terminal.Sanitise(plainText(m.value))
		}
		if l.text == "" {
			l.text = "-"
		}
		lines = append(lines, l)
	}
	return lines, nil
}
