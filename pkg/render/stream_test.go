package render_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestParseFormat(t *testing.T) {
	for _, s := range []string{"table", "wide", "json", "jsonl", "yaml", "csv", "name", "raw", "template={{.id}}"} {
		if f, err := render.ParseFormat(s); err != nil || string(f) != s {
			t.Errorf("ParseFormat(%q) = %q, %v", s, f, err)
		}
	}
	for _, s := range []string{"", "xml", "JSON", "template", "template=", "tables"} {
		_, err := render.ParseFormat(s)
		wantUsage(t, err, `"`+s+`"`)
		if e, ok := errors.AsType[*token.Error](err); !ok || !strings.Contains(e.Hint, "jsonl") {
			t.Errorf("no hint with the formats for %q", s)
		}
	}
	_, err := render.Stream(t.Context(), io.Discard, render.Options{Format: "xml"}, render.Tokens(), list[token.Token](nil))
	wantUsage(t, err, "xml")
}

func TestEmptyLists(t *testing.T) {
	for _, test := range []struct {
		o    render.Options
		want string
	}{
		{render.Options{}, ""},
		{render.Options{Format: render.Wide}, ""},
		{render.Options{Format: render.JSON}, "[]\n"},
		{render.Options{Format: render.JSONL}, ""},
		{render.Options{Format: render.YAML}, "[]\n"},
		{render.Options{Format: render.CSV}, "id,kind,name,owner,service,connection,roles,status,created_at,created_by,expires_at,last_used_at,last_used_from,suspended_until,revoked_at,revoked_reason\n"},
		{render.Options{Format: render.Name}, ""},
		{render.Options{Format: render.Raw}, ""},
		{render.Options{Format: "template={{.id}}"}, ""},
		{render.Options{JQ: "length"}, "0\n"},
		{render.Options{JQ: ".[]"}, ""},
		{render.Options{Format: render.JSONL, JQ: ".id"}, ""},
	} {
		if diff := cmp.Diff(test.want, stream(t, test.o, render.Tokens())); diff != "" {
			t.Errorf("%+v: %s", test.o, diff)
		}
	}
}

// What streams must be there before the second record was asked for.
func TestTheFirstRecordIsWrittenAtOnce(t *testing.T) {
	for _, o := range []render.Options{
		{Format: render.JSON}, {Format: render.JSONL}, {Format: render.YAML}, {Format: render.CSV}, {Format: render.Name}, {Format: render.Raw},
		{Format: "template={{.id}}"}, {Format: render.JSONL, JQ: ".id"},
	} {
		var b bytes.Buffer
		seen := false
		_, err := render.Stream(t.Context(), &b, o, render.Tokens(), func(yield func(token.Token, error) bool) {
			_ = yield(userToken(), nil)
			seen = strings.Contains(b.String(), id1.String())
			yield(refreshToken(), nil)
		})
		if err != nil || !seen {
			t.Errorf("%+v: written before the second record was read: %v, %v", o, seen, err)
		}
	}
}

// countingWriter counts writes and remembers the largest.
type countingWriter struct{ writes, largest int }

func (w *countingWriter) Write(p []byte) (int, error) {
	w.writes++
	w.largest = max(w.largest, len(p))
	return len(p), nil
}

func TestMemoryDoesNotGrowWithTheList(t *testing.T) {
	v := refreshToken()
	for _, o := range []render.Options{
		{Format: render.Table}, {Format: render.JSON}, {Format: render.JSONL}, {Format: render.CSV}, {Format: render.Name},
		{Format: render.JSONL, JQ: ".id"},
	} {
		const n = 1500
		w := &countingWriter{}
		got, err := render.Stream(t.Context(), w, o, render.Tokens(), func(yield func(token.Token, error) bool) {
			for i := range n {
				if i == 1010 && w.writes == 0 {
					t.Errorf("%s: nothing written after 1,010 rows", o.Format)
				}
				if !yield(v, nil) {
					return
				}
			}
		})
		if err != nil || got != n {
			t.Errorf("%s: %d rows, %v", o.Format, got, err)
		}
		// The sample of a table goes in one piece.
		if w.writes < 2 || w.largest > 200_000 {
			t.Errorf("%s: %d writes, the largest of %d bytes", o.Format, w.writes, w.largest)
		}
	}
}

func TestAListThatEndsWithAnError(t *testing.T) {
	gone := token.Errorf(token.ErrCannotTell, "store is gone")
	id := id1.String()
	for _, test := range []struct {
		o      render.Options
		before []token.Token
		want   string
	}{
		{render.Options{Format: render.Table}, nil, ""},
		{render.Options{Format: render.JSON}, nil, ""},
		{render.Options{Format: render.CSV}, nil, ""},
		{render.Options{Format: render.YAML}, nil, ""},
		{render.Options{Format: "template={{.id}}"}, []token.Token{userToken()}, id + "\n"},
		{render.Options{Format: render.JSONL, JQ: ".id"}, []token.Token{userToken()}, id + "\n"},
		{render.Options{JQ: ".[].id"}, []token.Token{userToken()}, ""}, // never of half a list
		{render.Options{Format: render.Name}, []token.Token{userToken()}, id + "\n"},
	} {
		var b strings.Builder
		n, err := render.Stream(t.Context(), &b, test.o, render.Tokens(), list(error(gone), test.before...))
		if err != error(gone) || n != len(test.before) {
			t.Errorf("%+v: %d records, error %v", test.o, n, err)
		}
		if diff := cmp.Diff(test.want, b.String()); diff != "" {
			t.Errorf("%+v: %s", test.o, diff)
		}
	}
	var b strings.Builder
	render.Stream(t.Context(), &b, render.Options{Format: render.JSON}, render.Tokens(), list(error(gone), userToken()))
	if !strings.HasPrefix(b.String(), `[{"id"`) || strings.Contains(b.String(), "}]") {
		t.Errorf("half an array looks whole: %s", b.String())
	}
	b.Reset()
	render.Stream(t.Context(), &b, render.Options{}, render.Tokens(), list(error(gone), userToken()))
	if !strings.Contains(b.String(), id) {
		t.Errorf("the rows before the error are missing: %q", b.String())
	}
}

type shortWriter struct{}

func (shortWriter) Write(p []byte) (int, error) { return len(p) - 1, nil }

type fullWriter struct{ room int }

var errFull = errors.New("no space left")

func (w *fullWriter) Write(p []byte) (int, error) {
	if w.room -= len(p); w.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestWriteErrorsAreReturned(t *testing.T) {
	for _, f := range []render.Format{"table", "json", "jsonl", "yaml", "csv", "name", "raw", "template={{.id}}"} {
		o := render.Options{Format: f}
		if err := render.One(t.Context(), shortWriter{}, o, render.Tokens(), userToken()); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: short write gave %v", f, err)
		}
		if err := render.One(t.Context(), &fullWriter{}, o, render.Tokens(), userToken()); !errors.Is(err, errFull) {
			t.Errorf("%s: full disk gave %v", f, err)
		}
		read := 0
		n, err := render.Stream(t.Context(), &fullWriter{room: 70_000}, o, render.Tokens(), func(yield func(token.Token, error) bool) {
			for read < 100_000 && yield(userToken(), nil) {
				read++
			}
		})
		if !errors.Is(err, errFull) || n >= 100_000 || read >= 100_000 {
			t.Errorf("%s: a full disk ended the list after %d of %d records with %v", f, n, read, err)
		}
	}
}

// A secret must not be in two pieces, of which one was lost.
func TestOneValueIsOneWrite(t *testing.T) {
	for _, f := range []render.Format{"table", "json", "jsonl", "yaml", "csv", "raw"} {
		w := &countingWriter{}
		if err := render.One(t.Context(), w, render.Options{Format: f}, render.Issued(), issued(token.User)); err != nil || w.writes != 1 {
			t.Errorf("%s: %d writes, %v", f, w.writes, err)
		}
	}
}
