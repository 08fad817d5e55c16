package signer

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// On every object whose names come once, the scanner and encoding/json agree.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		`{}`, ` { "a" : 1 , "b":[ "x" , "y\n" ] } `, `{"a":{"b":[{"c":"}"}]},"d":"\"\\","e":-1.5e3,"f":null,"g":[]}`,
		`{"a":"é\u00e9\ud800","":""}`, `{"a"`, `{"a":`, `{"a":"`, `{"a":"\`, `{"a":[`, `{"a":[[]`, `{"a":1`, `{"a":1,`, `{,}`, `{"a":}`, `{"a" 1}`, `{1:1}`, `[`, `]`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, twice := map[string]any{}, false
		err := members(b, func(name string, value []byte) error {
			_, there := got[name]
			twice = twice || there
			var v any
			if json.Unmarshal(value, &v) != nil {
				v = "garbled"
			}
			got[name] = v
			list, isList := texts(value)
			if items, ok := v.([]any); isList && ok {
				want := []token.Role{}
				for _, item := range items {
					s, ok := item.(string)
					if !ok {
						t.Errorf("%s is no array of strings", value)
					}
					want = append(want, token.Role(s))
				}
				if diff := cmp.Diff(want, list); diff != "" {
					t.Error(diff)
				}
			}
			if s, isText := text(value); isText && v != "garbled" && v != s {
				t.Errorf("%s became %q", value, s)
			}
			return nil
		})
		var want map[string]any
		if json.Unmarshal(b, &want) != nil || want == nil || twice {
			return // garbled: whatever, but no panic
		}
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}
