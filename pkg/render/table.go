package render

import (
	"cmp"
	"time"
	"unicode/utf8"

	"charm.land/lipgloss/v2"

	"github.com/tokenctl/tokenctl/pkg/terminal"
)

// Tone is what a colour says besides the text.
type Tone uint8

// The tones.
const (
	Neutral Tone = iota
	Good         // green
	Warning      // yellow
	Bad          // red
	Faint
	strong // headers
)

// paint colours text, if colours are wanted.
func (o Options) paint(s string, t Tone) string {
	if !o.Colour || t == Neutral {
		return s
	}
	style := lipgloss.NewStyle()
	switch t {
	case Good:
		style = style.Foreground(lipgloss.Green)
	case Warning:
		style = style.Foreground(lipgloss.Yellow)
	case Bad:
		style = style.Foreground(lipgloss.Red)
	case Faint:
		style = style.Faint(true)
	case strong:
		style = style.Bold(true)
	}
	return style.Render(s)
}

// width is the number of columns that sanitised text takes.
func width(s string) int {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return lipgloss.Width(s)
		}
	}
	return len(s)
}

// cut shortens text to a width, with an ellipsis.
func cut(s string, to int) string {
	if width(s) <= to {
		return s
	}
	return lipgloss.NewStyle().MaxWidth(to-1).Render(s) + "…"
}

// cell is the text of a column, fit for a terminal; there says whether there
// was any.
func (c *Column[T]) cell(v *T, now time.Time) (text string, there bool) {
	if c.Time != nil {
		if t := c.Time(v); !t.IsZero() {
			return RelativeTime(t, now), true
		}
	}
	if c.Text != nil {
		if text := terminal.Sanitise(c.Text(v)); text != "" {
			return text, true
		}
	}
	return cmp.Or(c.None, "-"), false
}

func (c *Column[T]) tone(v *T) Tone {
	if c.Tone == nil {
		return Neutral
	}
	return c.Tone(v)
}

const (
	// sampleRows decide the widths. The price of not holding all rows is that
	// a later, wider cell pushes the rest of its row to the right.
	sampleRows = 1000
	gap        = "  "
	narrowest  = 8 // what a column is cut to at most
)

type tableCell struct {
	text string
	tone Tone
}

// tableEncoder aligns columns, without borders, as kubectl does. The table of
// lipgloss wants all rows at once and wraps cells.
type tableEncoder[T any] struct {
	options Options
	columns []Column[T]
	widths  []int
	narrow  []bool // cut to their width
	sample  [][]tableCell
	begun   bool // the widths are settled and the header is written
}

func newTable[T any](o Options, k Kind[T]) *tableEncoder[T] {
	e := &tableEncoder[T]{options: o}
	for _, c := range k.Columns {
		if !c.Wide || o.Format == Wide {
			e.columns = append(e.columns, c)
			e.widths = append(e.widths, width(c.Header))
		}
	}
	e.narrow = make([]bool, len(e.columns))
	return e
}

func (e *tableEncoder[T]) add(out *output, v *T) error {
	row := make([]tableCell, len(e.columns))
	for i := range e.columns {
		text, _ := e.columns[i].cell(v, e.options.Now)
		row[i] = tableCell{text, e.columns[i].tone(v)}
	}
	if e.begun {
		e.write(out, row)
		return nil
	}
	for i := range row {
		e.widths[i] = max(e.widths[i], width(row[i].text))
	}
	if e.sample = append(e.sample, row); len(e.sample) == sampleRows {
		e.begin(out)
	}
	return nil
}

func (e *tableEncoder[T]) end(out *output, whole bool) error {
	if len(e.sample) > 0 {
		e.begin(out)
	}
	return nil
}

// begin writes the header and the rows of the sample.
func (e *tableEncoder[T]) begin(out *output) {
	e.begun = true
	e.fit()
	header := make([]tableCell, len(e.columns))
	for i := range e.columns {
		header[i] = tableCell{e.columns[i].Header, strong}
	}
	e.write(out, header)
	for _, row := range e.sample {
		e.write(out, row)
	}
	e.sample = nil
}

// fit makes the widest columns that may be cut narrower until the table fits
// the terminal.
func (e *tableEncoder[T]) fit() {
	if e.options.Width == 0 || e.options.Format == Wide {
		return
	}
	total := len(gap) * (len(e.widths) - 1)
	for _, w := range e.widths {
		total += w
	}
	for ; total > e.options.Width; total-- {
		widest := -1
		for i, w := range e.widths {
			if e.columns[i].Cut && w > max(narrowest, width(e.columns[i].Header)) && (widest < 0 || w > e.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		e.widths[widest]--
		e.narrow[widest] = true
	}
}

func (e *tableEncoder[T]) write(out *output, row []tableCell) {
	for i, c := range row {
		if e.narrow[i] {
			c.text = cut(c.text, e.widths[i])
		}
		out.buf = append(out.buf, e.options.paint(c.text, c.tone)...)
		if i == len(row)-1 {
			break
		}
		for range e.widths[i] - width(c.text) {
			out.buf = append(out.buf, ' ')
		}
		out.buf = append(out.buf, gap...)
	}
	out.buf = append(out.buf, '\n')
}
