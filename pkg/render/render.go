// Package render writes values as a table, JSON, YAML, CSV and more to any
// io.Writer. It knows what is shown of a token, but not where it comes from or
// who looks.
package render

import (
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Format is the value of --output. The zero value is [Table]. Every other
// format starts "template=", with the text of a template after it.
type Format string

// The formats.
const (
	Table Format = "table" // for people: columns, or a line for each property of one value
	Wide  Format = "wide"  // Table with more columns, and nothing cut to fit
	JSON  Format = "json"  // one object, or one array
	JSONL Format = "jsonl" // an object a line
	YAML  Format = "yaml"  // the same objects
	CSV   Format = "csv"   // RFC 4180 with a header, lines ending in LF alone
	Name  Format = "name"  // what other commands take as an argument, one a line
	Raw   Format = "raw"   // the one value that matters
)

const templatePrefix = "template="

// Formats are the names of all formats, as in the help text.
func Formats() []string {
	return []string{"table", "wide", "json", "jsonl", "yaml", "csv", "name", "raw", templatePrefix}
}

// ParseFormat reads the name of a format; the error is a token.ErrUsage.
func ParseFormat(s string) (Format, error) {
	if s != templatePrefix && (strings.HasPrefix(s, templatePrefix) || slices.Contains(Formats(), s)) {
		return Format(s), nil
	}
	return "", token.Errorf(token.ErrUsage, "unknown output format %q", s).
		WithHint("formats are table, wide, json, jsonl, yaml, csv, name, raw and template=TEXT")
}

// template is the text of a template, if the format is one.
func (f Format) template() (text string, is bool) {
	return strings.CutPrefix(string(f), templatePrefix)
}

// Options say how to write.
type Options struct {
	Format Format
	// JQ is an expression of jq that is applied to the JSON value: with
	// [JSONL] to each record, with [JSON] or [Table] to the whole (a list is
	// one array, which must fit into memory). Strings that come out are
	// written as they are, everything else as JSON, one a line.
	JQ string
	// Width is that of the terminal, in columns. 0 means that the writer is no
	// terminal: nothing is cut to fit, and the formats that are not for people
	// pass on control characters that the data may hold (those with an escape
	// for them, JSON and YAML, never do).
	Width int
	// Colour adds the 16 basic colours to tables. It never replaces text.
	Colour bool
	// Now is what times are relative to. Zero: the time of the call.
	Now time.Time
}

// wantsJSON says whether the reader is a program that expects JSON.
func (o Options) wantsJSON() bool { return o.Format == JSON || o.Format == JSONL || o.JQ != "" }

// Kind says how to show the values of a type. Only Fields is needed. Its
// functions get a pointer, since a token has 500 bytes, and must not keep it.
type Kind[T any] struct {
	// Fields names the properties of a value, in order: its JSON object, its
	// line of CSV and everything made from these. It must add the same fields
	// for every value, the zero value too, which gives CSV its header.
	Fields func(f *Fields, v *T)
	// Columns are the columns of a list, and the lines of one value.
	Columns []Column[T]
	// Lines are the lines of one value, if they differ from Columns.
	// Without any, they are made from Fields.
	Lines []Column[T]
	// Name is how other commands call the value; nil: not at all.
	Name func(v *T) string
	// Raw is the one value that a script wants; nil: Name.
	Raw func(v *T) string
	// Secret values are never quoted by errors.
	Secret bool
}

// Column is a column of a table, or a line of one value.
type Column[T any] struct {
	// Header is in upper case. A line has it as its label in lower case, or no
	// label if it is empty.
	Header string
	// Time or Text is the content, Text where Time is zero. Times are shown
	// relative to now, on a line with the time itself after it.
	Text func(v *T) string
	Time func(v *T) time.Time
	// None stands for an empty text or a zero time; "" means "-".
	None string
	// Wide columns are of second rank: in a list for [Wide] only, of one value
	// only if there is something in them.
	Wide bool
	// Cut allows the text to be cut so that the table fits the terminal.
	Cut bool
	// Tone is the colour; nil: none.
	Tone func(v *T) Tone
}

// With is the kind with the columns of these headers in the first rank.
func (k Kind[T]) With(headers ...string) Kind[T] {
	k.Columns = slices.Clone(k.Columns)
	for i := range k.Columns {
		if slices.Contains(headers, k.Columns[i].Header) {
			k.Columns[i].Wide = false
		}
	}
	return k
}

// Without is the kind without the columns of these headers.
func (k Kind[T]) Without(headers ...string) Kind[T] {
	k.Columns = slices.DeleteFunc(slices.Clone(k.Columns), func(c Column[T]) bool {
		return slices.Contains(headers, c.Header)
	})
	return k
}

// Check says whether values of the kind can be written so, a token.ErrUsage if
// not: the expression of jq or the template is wrong, or the format is not
// there for the kind. Whoever is about to make a secret asks first.
func Check[T any](o Options, k Kind[T]) error {
	_, err := newEncoder(context.Background(), o, k, true)
	return err
}

// One writes one value, in one piece unless it is large. The context ends an
// expression of jq that does not end by itself.
func One[T any](ctx context.Context, w io.Writer, o Options, k Kind[T], v T) error {
	enc, err := newEncoder(ctx, o, k, true)
	if err != nil {
		return err
	}
	out := &output{w: w}
	if err := enc.add(out, &v); err != nil {
		return err
	}
	if err := enc.end(out, true); err != nil {
		return err
	}
	return out.flush()
}

// Stream writes a list while it reads it, and says how many values it wrote.
// What it holds in memory does not grow with the list, but for --jq on the
// whole; a table has the widths that its first 1,000 rows need. Of an empty
// list, a table shows nothing at all.
//
// If the list ends with an error, what came before is written (an array stays
// without its closing bracket) and the error is returned as it is.
func Stream[T any](ctx context.Context, w io.Writer, o Options, k Kind[T], list iter.Seq2[T, error]) (n int, err error) {
	enc, err := newEncoder(ctx, o, k, false)
	if err != nil {
		return 0, err
	}
	out := &output{w: w}
	current := new(T) // one for all: a variable of the loop would be allocated for each value
	for v, err := range list {
		if err != nil {
			if n > 0 {
				if wrong := enc.end(out, false); wrong != nil {
					return n, wrong
				}
				if wrong := out.flush(); wrong != nil {
					return n, wrong
				}
			}
			return n, err
		}
		*current = v
		if err := enc.add(out, current); err != nil {
			return n, err
		}
		n++
		// The first at once: whoever waits sees that there is something.
		if n == 1 {
			err = out.flush()
		} else {
			err = out.spill()
		}
		if err != nil {
			return n, err
		}
	}
	if err := enc.end(out, true); err != nil {
		return n, err
	}
	return n, out.flush()
}

// bufferSize is how much is collected before it is written.
const bufferSize = 64 << 10

// output collects text for a writer.
type output struct {
	w   io.Writer
	buf []byte
}

// spill writes what was collected once it is a lot.
func (o *output) spill() error {
	if len(o.buf) < bufferSize {
		return nil
	}
	return o.flush()
}

func (o *output) flush() error {
	if len(o.buf) == 0 {
		return nil
	}
	n, err := o.w.Write(o.buf)
	if err == nil && n < len(o.buf) {
		err = io.ErrShortWrite
	}
	o.buf = o.buf[:0]
	if err != nil {
		return fmt.Errorf("the answer could not be written: %w", err)
	}
	return nil
}

// encoder turns values into text, in one format.
type encoder[T any] interface {
	// add appends what is ready once v is known.
	add(out *output, v *T) error
	// end appends the rest. The values are not whole if there are more that
	// could not be read.
	end(out *output, whole bool) error
}

func newEncoder[T any](ctx context.Context, o Options, k Kind[T], single bool) (encoder[T], error) {
	if o.Format == "" {
		o.Format = Table
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if _, err := ParseFormat(string(o.Format)); err != nil {
		return nil, err
	}
	if o.JQ != "" {
		return newJQ(ctx, o, k, single)
	}
	if text, is := o.Format.template(); is {
		return newTemplate(o, k, text)
	}
	switch o.Format {
	case JSON:
		return &jsonEncoder[T]{kind: k, single: single}, nil
	case JSONL:
		return &jsonlEncoder[T]{kind: k}, nil
	case YAML:
		return &yamlEncoder[T]{kind: k, single: single}, nil
	case CSV:
		return &csvEncoder[T]{kind: k, terminal: o.Width > 0}, nil
	case Name, Raw:
		return newNames(o, k)
	}
	if single || len(k.Columns) == 0 {
		return newLines(o, k), nil
	}
	return newTable(o, k), nil
}
