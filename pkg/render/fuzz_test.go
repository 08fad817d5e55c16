package render_test

import (
	"encoding/csv"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/tokenctl/tokenctl/pkg/render"
)

// invisible says whether a terminal would obey or hide something in text that
// has lines and tabs.
func invisible(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return r != '\n' && r != '\t' && unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
	})
}

func FuzzText(f *testing.F) {
	for i, s := range nastyTexts {
		f.Add(s, nastyTexts[(i+7)%len(nastyTexts)])
	}
	f.Fuzz(func(t *testing.T, name, reason string) {
		v := refreshToken()
		v.Name, v.RevokedReason, v.Owner.Name = name, reason, name
		valid := func(s string) string { return string([]rune(s)) } // U+FFFD for each wrong byte
		want := map[string]any{"name": valid(name), "revoked_reason": valid(reason), "owner": "ldap/" + valid(name)}
		for name, value := range want {
			if value == "" {
				want[name] = nil
			}
		}
		same := func(format render.Format, got map[string]any) {
			t.Helper()
			for field, value := range want {
				if diff := cmp.Diff(value, got[field]); diff != "" {
					t.Errorf("%s of %s: %s", field, format, diff)
				}
			}
		}
		text := one(t, render.Options{Format: render.JSON}, render.Tokens(), v)
		if invisible(text) {
			t.Errorf("invisible characters in JSON: %q", text)
		}
		same(render.JSON, decodeJSON(t, text).(map[string]any))

		text = one(t, render.Options{Format: render.YAML}, render.Tokens(), v)
		var fromYAML map[string]any
		if err := yaml.Unmarshal([]byte(text), &fromYAML); err != nil {
			t.Errorf("%v in %q", err, text)
		}
		if invisible(text) {
			t.Errorf("invisible characters in YAML: %q", text)
		}
		same(render.YAML, fromYAML)

		rows, err := csv.NewReader(strings.NewReader(one(t, render.Options{Format: render.CSV}, render.Tokens(), v))).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != 16 {
			t.Fatalf("CSV: %v, %q", err, rows)
		}
		// The reader makes \n of \r\n in a cell.
		lines := strings.NewReplacer("\r\n", "\n").Replace
		for i, cell := range map[int]string{2: name, 15: reason} {
			if got := rows[1][i]; got != lines(cell) && got != "'"+lines(cell) {
				t.Errorf("cell of CSV is %q, want %q", got, cell)
			}
			if rows[1][i] != "" && strings.ContainsAny(rows[1][i][:1], "=+-@\t\r\n") {
				t.Errorf("cell of CSV may be a formula: %q", rows[1][i])
			}
		}
		for _, o := range []render.Options{{Format: render.Table, Width: 40}, {Format: render.Wide}, {Format: render.Name}} {
			text := stream(t, o, render.Tokens(), v, userToken())
			if invisible(text) || strings.Contains(text, "\t") {
				t.Errorf("control characters as %s: %q", o.Format, text)
			}
			if lines := strings.Count(text, "\n"); lines != 3 && o.Format != render.Name {
				t.Errorf("table of %d lines", lines)
			}
		}
	})
}
