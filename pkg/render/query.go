package render

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"text/template"

	"github.com/itchyny/gojq"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// jqEncoder applies an expression of jq. It sees no file and no environment.
type jqEncoder[T any] struct {
	ctx      context.Context
	options  Options
	kind     Kind[T]
	code     *gojq.Code
	whole    bool  // apply it to all values at once
	values   []any // those
	fields   Fields
	document []byte
}

func newJQ[T any](ctx context.Context, o Options, k Kind[T], single bool) (encoder[T], error) {
	if !slices.Contains([]Format{Table, JSON, JSONL}, o.Format) {
		return nil, token.Errorf(token.ErrUsage, "--jq does not go with output format %q", o.Format).WithHint("use -o json or -o jsonl")
	}
	query, err := gojq.Parse(o.JQ)
	if err != nil {
		return nil, badJQ(o.JQ, err.Error())
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, badJQ(o.JQ, err.Error())
	}
	return &jqEncoder[T]{ctx: ctx, options: o, kind: k, code: code, whole: !single && o.Format != JSONL}, nil
}

func badJQ(expression, why string) error {
	return token.Errorf(token.ErrUsage, "jq expression %q: %s", expression, why)
}

func (e *jqEncoder[T]) add(out *output, v *T) error {
	e.document = appendObject(&e.fields, e.document[:0], &e.kind, v)
	var value any
	if err := json.Unmarshal(e.document, &value); err != nil {
		return err
	}
	if e.whole {
		e.values = append(e.values, value)
		return nil
	}
	return e.run(out, value)
}

func (e *jqEncoder[T]) end(out *output, whole bool) error {
	if !e.whole || !whole {
		return nil
	}
	return e.run(out, e.values)
}

func (e *jqEncoder[T]) run(out *output, value any) error {
	for results := e.code.RunWithContext(e.ctx, value); ; {
		result, ok := results.Next()
		if !ok {
			return nil
		}
		switch result := result.(type) {
		case error:
			return e.failed(result)
		case string:
			if e.options.Width > 0 {
				result = sanitiseLines(result)
			}
			out.buf = append(out.buf, result...)
		default:
			text, err := gojq.Marshal(result)
			if err != nil {
				return err
			}
			out.buf = appendVisible(out.buf, text, appendJSONRune)
		}
		out.buf = append(out.buf, '\n')
		if err := out.spill(); err != nil {
			return err
		}
	}
}

// failed explains an error at run time. Those of jq quote the value.
func (e *jqEncoder[T]) failed(err error) error {
	if e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if halt, is := errors.AsType[*gojq.HaltError](err); is && halt.Value() == nil {
		return nil
	}
	if e.kind.Secret {
		return badJQ(e.options.JQ, "does not fit the value")
	}
	return badJQ(e.options.JQ, err.Error())
}

// templateEncoder fills a template of text/template for each value. Fields have
// their JSON names; what is null there is empty text. Besides what the package
// offers there is {{join .roles ","}}, and {{json .}}.
type templateEncoder[T any] struct {
	options  Options
	kind     Kind[T]
	text     string
	template *template.Template
	fields   Fields
	document []byte
}

func newTemplate[T any](o Options, k Kind[T], text string) (encoder[T], error) {
	t, err := template.New("").Option("missingkey=error").Funcs(template.FuncMap{"join": joinValues, "json": toJSON}).Parse(text)
	if err != nil {
		return nil, badTemplate(text, err)
	}
	return &templateEncoder[T]{options: o, kind: k, text: text, template: t}, nil
}

func badTemplate(text string, err error) error {
	why := strings.TrimPrefix(err.Error(), "template: ")
	return token.Errorf(token.ErrUsage, "output template %q: %s", text, why)
}

func (e *templateEncoder[T]) add(out *output, v *T) error {
	e.document = appendObject(&e.fields, e.document[:0], &e.kind, v)
	var value any
	if err := json.Unmarshal(e.document, &value); err != nil {
		return err
	}
	var text strings.Builder
	if err := e.template.Execute(&text, withoutNull(value)); err != nil {
		return badTemplate(e.text, err) // which names types, never values
	}
	s := text.String()
	if e.options.Width > 0 {
		s = sanitiseLines(s)
	}
	out.buf = append(out.buf, s...)
	if !strings.HasSuffix(s, "\n") {
		out.buf = append(out.buf, '\n')
	}
	return nil
}

func (*templateEncoder[T]) end(*output, bool) error { return nil }

// withoutNull replaces null by "", which a template prints as nothing and not
// as <no value>, and whole numbers by integers, which it can compare.
func withoutNull(value any) any {
	switch value := value.(type) {
	case nil:
		return ""
	case float64:
		if n := int64(value); float64(n) == value {
			return n
		}
	case map[string]any:
		for name := range value {
			value[name] = withoutNull(value[name])
		}
	case []any:
		for i := range value {
			value[i] = withoutNull(value[i])
		}
	}
	return value
}

func joinValues(values []any, separator string) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	return strings.Join(texts, separator)
}

func toJSON(value any) (string, error) {
	text, err := gojq.Marshal(value)
	return string(appendVisible(nil, text, appendJSONRune)), err
}
