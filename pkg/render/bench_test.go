package render_test

import (
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// plainToken is a token of a million: a name, one role, a lifetime, used once.
func plainToken() token.Token {
	t := refreshToken()
	t.Status, t.Roles, t.RevokedReason = token.Active, t.Roles[:1], ""
	t.SuspendedUntil, t.RevokedAt = time.Time{}, time.Time{}
	return t
}

func repeated(n int, v token.Token) func(func(token.Token, error) bool) {
	return func(yield func(token.Token, error) bool) {
		for range n {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func benchmarkStream(b *testing.B, f render.Format) {
	b.ReportAllocs()
	if _, err := render.Stream(b.Context(), io.Discard, render.Options{Format: f}, render.Tokens(), repeated(b.N, plainToken())); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkJSONL(b *testing.B) { benchmarkStream(b, render.JSONL) }
func BenchmarkJSON(b *testing.B)  { benchmarkStream(b, render.JSON) }
func BenchmarkCSV(b *testing.B)   { benchmarkStream(b, render.CSV) }
func BenchmarkName(b *testing.B)  { benchmarkStream(b, render.Name) }
func BenchmarkTable(b *testing.B) { benchmarkStream(b, render.Table) }
func BenchmarkYAML(b *testing.B)  { benchmarkStream(b, render.YAML) }

// BenchmarkNothing is the price of the loop and of handing tokens on by value.
func BenchmarkNothing(b *testing.B) {
	b.ReportAllocs()
	k := render.Kind[token.Token]{Fields: func(*render.Fields, *token.Token) {}}
	if _, err := render.Stream(b.Context(), io.Discard, render.Options{Format: render.CSV}, k, repeated(b.N, plainToken())); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkEncodingJSON is what JSONL is measured against.
func BenchmarkEncodingJSON(b *testing.B) {
	b.ReportAllocs()
	enc := json.NewEncoder(io.Discard)
	for v := range repeated(b.N, plainToken()) {
		if err := enc.Encode(objectOf(v)); err != nil {
			b.Fatal(err)
		}
	}
}

// A list of a million costs no garbage.
func TestListsDoNotAllocatePerRecord(t *testing.T) {
	for _, f := range []render.Format{render.JSON, render.JSONL, render.CSV} {
		allocations := func(n int) float64 {
			return testing.AllocsPerRun(5, func() {
				render.Stream(t.Context(), io.Discard, render.Options{Format: f}, render.Tokens(), repeated(n, plainToken()))
			})
		}
		if few, many := allocations(1000), allocations(5000); many-few > 10 {
			t.Errorf("%s: %v allocations for 1,000 tokens, %v for 5,000", f, few, many)
		}
	}
}
