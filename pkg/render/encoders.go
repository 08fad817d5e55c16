package render

import (
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// jsonEncoder writes one object, or an array with an object a line.
type jsonEncoder[T any] struct {
	kind   Kind[T]
	single bool
	begun  bool
	fields Fields
}

func (e *jsonEncoder[T]) add(out *output, v *T) error {
	switch {
	case e.begun:
		out.buf = append(out.buf, ",\n"...)
	case !e.single:
		out.buf = append(out.buf, '[')
	}
	e.begun = true
	out.buf = appendObject(&e.fields, out.buf, &e.kind, v)
	return nil
}

func (e *jsonEncoder[T]) end(out *output, whole bool) error {
	if !e.single && whole {
		if !e.begun {
			out.buf = append(out.buf, '[')
		}
		out.buf = append(out.buf, ']')
	}
	out.buf = append(out.buf, '\n')
	return nil
}

type jsonlEncoder[T any] struct {
	kind   Kind[T]
	fields Fields
}

func (e *jsonlEncoder[T]) add(out *output, v *T) error {
	out.buf = append(appendObject(&e.fields, out.buf, &e.kind, v), '\n')
	return nil
}

func (*jsonlEncoder[T]) end(*output, bool) error { return nil }

// csvEncoder writes a header and a line for each value, in the quoting of
// RFC 4180. Lines end in LF alone, as everywhere else on the command line; the
// CR LF of the RFC would stick to the last field in a shell.
type csvEncoder[T any] struct {
	kind     Kind[T]
	terminal bool
	begun    bool
	fields   Fields
}

func (e *csvEncoder[T]) add(out *output, v *T) error {
	if err := e.header(out); err != nil {
		return err
	}
	out.buf = appendCells(&e.fields, out.buf, &e.kind, v, e.terminal)
	return nil
}

func (e *csvEncoder[T]) header(out *output) error {
	if e.begun {
		return nil
	}
	e.begun = true
	names, err := names(&e.kind)
	for i, name := range names {
		if i > 0 {
			out.buf = append(out.buf, ',')
		}
		out.buf = appendCell(out.buf, name, e.terminal)
	}
	out.buf = append(out.buf, '\n')
	return err
}

func (e *csvEncoder[T]) end(out *output, whole bool) error { return e.header(out) }

// nameEncoder writes a text a line.
type nameEncoder[T any] struct {
	text func(*T) string
	// Names are one a line whatever they hold, raw values go as they are,
	// unless to a terminal.
	clean bool
}

func newNames[T any](o Options, k Kind[T]) (encoder[T], error) {
	text := k.Name
	if o.Format == Raw && k.Raw != nil {
		text = k.Raw
	}
	if text == nil {
		return nil, token.Errorf(token.ErrUsage, "output format %q is not possible here", o.Format).WithHint("try -o json")
	}
	return &nameEncoder[T]{text, o.Format == Name || o.Width > 0}, nil
}

func (e *nameEncoder[T]) add(out *output, v *T) error {
	s := e.text(v)
	if e.clean {
		s = terminal.Sanitise(s)
	}
	out.buf = append(append(out.buf, s...), '\n')
	return nil
}

func (*nameEncoder[T]) end(*output, bool) error { return nil }
