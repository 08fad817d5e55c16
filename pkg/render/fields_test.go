package render_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// tokenObject is a token in JSON, as encoding/json would write it.
type tokenObject struct {
	ID             token.ID     `json:"id"`
	Kind           string       `json:"kind"`
	Name           *string      `json:"name"`
	Owner          token.Owner  `json:"owner"`
	Service        *string      `json:"service"`
	Connection     *string      `json:"connection"`
	Roles          []token.Role `json:"roles"`
	Status         token.Status `json:"status"`
	CreatedAt      time.Time    `json:"created_at"`
	CreatedBy      token.Owner  `json:"created_by"`
	ExpiresAt      *time.Time   `json:"expires_at"`
	LastUsedAt     *time.Time   `json:"last_used_at"`
	LastUsedFrom   *string      `json:"last_used_from"`
	SuspendedUntil *time.Time   `json:"suspended_until"`
	RevokedAt      *time.Time   `json:"revoked_at"`
	RevokedReason  *string      `json:"revoked_reason"`
}

func orNull[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

func objectOf(t token.Token) tokenObject {
	return tokenObject{
		t.ID, t.Kind.String(), orNull(t.Name), t.Owner, orNull(t.Service), orNull(t.Connection), append([]token.Role{}, t.Roles...), t.Status,
		t.CreatedAt, t.CreatedBy, orNull(t.ExpiresAt), orNull(t.LastUsedAt), orNull(t.LastUsedFrom), orNull(t.SuspendedUntil), orNull(t.RevokedAt), orNull(t.RevokedReason),
	}
}

func TestTokenInJSON(t *testing.T) {
	want := `{"id":"` + id2.String() + `","kind":"refresh","name":"ci-deploy","owner":"ldap/alice","service":null,"connection":"default",` +
		`"roles":["UserObserver","UserEditor"],"status":"revoked","created_at":"2026-11-22T05:00:00Z","created_by":"local/root",` +
		`"expires_at":"2026-11-25T07:00:00Z","last_used_at":"2026-11-22T05:30:00Z","last_used_from":"192.0.2.7",` +
		`"suspended_until":"2026-11-22T08:00:00Z","revoked_at":"2026-11-22T06:59:00Z","revoked_reason":"leaked, \"again\""}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSON}, render.Tokens(), refreshToken())); diff != "" {
		t.Error(diff)
	}
	want = `{"id":"` + id1.String() + `","kind":"user","name":null,"owner":"ldap/alice","service":null,"connection":null,` +
		`"roles":[],"status":"active","created_at":"2026-11-22T06:00:00Z","created_by":"ldap/alice","expires_at":null,"last_used_at":null,` +
		`"last_used_from":null,"suspended_until":null,"revoked_at":null,"revoked_reason":null}` + "\n"
	if diff := cmp.Diff(want, one(t, render.Options{Format: render.JSONL}, render.Tokens(), userToken())); diff != "" {
		t.Error(diff)
	}
}

// anyToken draws a token with texts of all sorts in it.
func anyToken(r *rapid.T) token.Token {
	text := rapid.OneOf(rapid.StringMatching(`[A-Za-z0-9._:-]{0,20}`), rapid.String(), rapid.SampledFrom(nastyTexts))
	moment := rapid.Custom(func(r *rapid.T) time.Time {
		if rapid.Bool().Draw(r, "never") {
			return time.Time{}
		}
		return time.Unix(rapid.Int64Range(0, 253402300799).Draw(r, "second"), 0).UTC()
	})
	owner := rapid.Custom(func(r *rapid.T) token.Owner { return token.Owner{Realm: "corp", Name: text.Draw(r, "name")} })
	roles := rapid.SliceOfN(rapid.Map(text, func(s string) token.Role { return token.Role(s) }), 0, 3)
	return token.Token{
		Record: token.Record{
			ID: token.ID(rapid.SliceOfN(rapid.ByteMin(1), 10, 10).Draw(r, "id")), Kind: rapid.SampledFrom([]token.Kind{1, 2, 3}).Draw(r, "kind"),
			Owner: owner.Draw(r, "owner"), Name: text.Draw(r, "name"), Service: text.Draw(r, "service"), Connection: text.Draw(r, "connection"),
			Roles: roles.Draw(r, "roles"), CreatedAt: moment.Draw(r, "created"), CreatedBy: owner.Draw(r, "by"), ExpiresAt: moment.Draw(r, "expires"),
			SuspendedUntil: moment.Draw(r, "suspended"), RevokedAt: moment.Draw(r, "revoked"), RevokedReason: text.Draw(r, "reason"),
		},
		Status: token.Active, LastUsedAt: moment.Draw(r, "used"), LastUsedFrom: text.Draw(r, "from"),
	}
}

var nastyTexts = []string{
	"", "null", "yes", "12:30", "0x1f", "~", "- a", "# x", "a: b", "=1+1", "@sum", "-2", "+3", "\tx", "\rx", "＝1", `\.`, " lead", "trail ",
	`a "quoted", one`, "two\nlines", "a\r\nb", "\x1b[31mred\x1b[0m", "\x9b31m", "c1 \u009b31m", "\u202egnp.exe", "zero\u200bwidth", "tag\U000e0041",
	"fill\u3164er", "line\u2028sep", "bad \xff\xfe utf8", "\u00e9t\u00e9", "日本語", "👩‍👩‍👧", "</script>&", `back\slash`, "\x00\b\f\x7f",
	strings.Repeat("a long reason ", 20), strings.Repeat("\u202e a long reason ", 20),
}

// encoding/json and this package write the same, but for what a terminal would
// obey or hide: that is an escape here.
func TestJSONIsThatOfEncodingJSON(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		v := anyToken(r)
		if v.CreatedAt.IsZero() {
			v.CreatedAt = now // null here, the year 1 there
		}
		got := one(t, render.Options{Format: render.JSON}, render.Tokens(), v)
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(objectOf(v)); err != nil {
			r.Fatal(err)
		}
		want := b.String()
		if invisible(got) {
			r.Fatalf("invisible characters in %q", got)
		}
		if !invisible(want) && got != want {
			r.Fatalf("got\n%s\nwant\n%s", got, want)
		}
		if diff := cmp.Diff(decodeJSON(t, want), decodeJSON(t, got)); diff != "" {
			r.Fatal(diff)
		}
	})
}

func decodeJSON(t testing.TB, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatalf("%v in %q", err, s)
	}
	return v
}

// The cells of CSV are what encoding/csv would write of the same texts, with an
// apostrophe before what a spreadsheet would take for a formula.
func TestCSVIsThatOfEncodingCSV(t *testing.T) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write([]string{
		"id", "kind", "name", "owner", "service", "connection", "roles", "status", "created_at", "created_by",
		"expires_at", "last_used_at", "last_used_from", "suspended_until", "revoked_at", "revoked_reason",
	})
	var tokens []token.Token
	moment := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339)
	}
	for _, text := range nastyTexts {
		v := refreshToken()
		v.Name, v.Service, v.Connection, v.RevokedReason, v.Owner.Name, v.Roles = text, text, text, text, text, []token.Role{token.Role(text), "b"}
		v.ExpiresAt = time.Time{}
		tokens = append(tokens, v)
		safe := text
		for _, start := range []string{"=", "+", "-", "@", "\t", "\r", "＝"} {
			if strings.HasPrefix(text, start) {
				safe = "'" + text
			}
		}
		w.Write([]string{
			v.ID.String(), "refresh", safe, "ldap/" + text, safe, safe, safe + " b", "revoked", moment(v.CreatedAt), "local/root",
			"", moment(v.LastUsedAt), v.LastUsedFrom, moment(v.SuspendedUntil), moment(v.RevokedAt), safe,
		})
	}
	w.Flush()
	if diff := cmp.Diff(b.String(), stream(t, render.Options{Format: render.CSV}, render.Tokens(), tokens...)); diff != "" {
		t.Error(diff)
	}
}

func TestNothingInvisibleReachesATerminal(t *testing.T) {
	var tokens []token.Token
	for _, text := range nastyTexts {
		v := refreshToken()
		v.Name, v.Owner.Name, v.RevokedReason, v.Service, v.Roles = text, text, text, text, []token.Role{token.Role(text)}
		tokens = append(tokens, v)
	}
	names := render.Tokens()
	names.Name = func(t *token.Token) string { return t.Name }
	for _, f := range []render.Format{"table", "wide", "json", "jsonl", "yaml", "csv", "name", "raw", "template={{.name}} {{json .}}"} {
		o := render.Options{Format: f, Width: 80}
		if text := stream(t, o, names, tokens...); invisible(text) {
			t.Errorf("invisible characters in a list as %s: %q", f, text)
		}
		for _, v := range tokens {
			if text := one(t, o, names, v); invisible(text) {
				t.Errorf("invisible characters in one value as %s: %q", f, text)
			}
		}
	}
	for _, expression := range []string{".[]", ".[].name", ".[]|[.name]|@tsv"} {
		if text := stream(t, render.Options{JQ: expression, Width: 80}, names, tokens...); invisible(text) {
			t.Errorf("invisible characters from --jq %s: %q", expression, text)
		}
	}
	// No terminal: scripts get what is there.
	v := userToken()
	v.Name = "a\x1bb"
	for _, o := range []render.Options{{Format: render.Raw}, {Format: "template={{.name}}"}, {JQ: ".[].name"}} {
		names.Raw = names.Name
		if diff := cmp.Diff("a\x1bb\n", stream(t, o, names, v)); diff != "" {
			t.Errorf("%+v: %s", o, diff)
		}
	}
}

func TestTimesAreThoseOfPackageTime(t *testing.T) {
	k := render.Kind[time.Time]{Fields: func(f *render.Fields, v *time.Time) { f.Time("t", *v) }}
	check := func(v time.Time) {
		t.Helper()
		want := `{"t":"` + v.UTC().Format(time.RFC3339) + `"}` + "\n"
		if got := one(t, render.Options{Format: render.JSON}, k, v); got != want {
			t.Errorf("got %s want %s", got, want)
		}
	}
	for year := 1; year < 10000; year++ { // every leap rule, both ends of each year
		check(time.Date(year, 1, 1, 0, 0, 1, 0, time.UTC))
		check(time.Date(year, 2, 29, 23, 59, 59, 999, time.UTC))
		check(time.Date(year, 12, 31, 23, 59, 59, 0, time.UTC))
	}
	for range 20000 {
		check(time.Unix(rand.Int64N(253402300799+62135596800)-62135596800, 0))
	}
	check(now.In(time.FixedZone("", 5400)))
	check(time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC))
	check(time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC))
}

func TestFieldsOfAllSorts(t *testing.T) {
	type record struct {
		seq  int64
		fine bool
		name string
	}
	k := render.Kind[record]{Fields: func(f *render.Fields, v *record) {
		f.Int("seq", v.seq)
		f.Bool("fine", v.fine)
		f.Object("inner", func(f *render.Fields) {
			f.Text("name", v.name)
			f.Null("nothing")
		})
		f.OmitEmpty()
		f.Text("name", v.name)
		f.Roles("roles", nil)
		f.Null("nothing")
	}}
	for _, test := range []struct {
		format render.Format
		want   string
	}{
		{"json", `[{"seq":-7,"fine":true,"inner":{"name":"x","nothing":null},"name":"x"},` + "\n" + `{"seq":0,"fine":false,"inner":{"name":null,"nothing":null}}]` + "\n"},
		{"csv", "seq,fine,inner,name,roles,nothing\n" + `-7,true,"{""name"":""x"",""nothing"":null}",x,,` + "\n" + `0,false,"{""name"":null,""nothing"":null}",,,` + "\n"},
		{"yaml", "- seq: -7\n  fine: true\n  inner:\n    name: x\n    nothing: null\n  name: x\n- seq: 0\n  fine: false\n  inner:\n    name: null\n    nothing: null\n"},
	} {
		if diff := cmp.Diff(test.want, stream(t, render.Options{Format: test.format}, k, record{-7, true, "x"}, record{})); diff != "" {
			t.Errorf("%s: %s", test.format, diff)
		}
	}
}

// Every byte as the first, in the middle and as the last.
func TestBytesInEveryPlace(t *testing.T) {
	var tokens []token.Token
	for _, form := range []string{"@", "@x", "x@x", "x@"} {
		for c := range 256 {
			v := userToken()
			v.Name = strings.ReplaceAll(form, "@", string([]byte{byte(c)}))
			tokens = append(tokens, v)
		}
	}
	lines := strings.Split(stream(t, render.Options{Format: render.JSONL}, render.Tokens(), tokens...), "\n")
	rows, err := csv.NewReader(strings.NewReader(stream(t, render.Options{Format: render.CSV}, render.Tokens(), tokens...))).ReadAll()
	if err != nil || len(rows) != len(tokens)+1 {
		t.Fatalf("%d rows of CSV, %v", len(rows), err)
	}
	for i, v := range tokens {
		var got struct{ Name string }
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || got.Name != string([]rune(v.Name)) || invisible(lines[i]) {
			t.Errorf("%q in JSON is %s: %v", v.Name, lines[i], err)
		}
		formula := strings.ContainsAny(v.Name[:1], "=+-@\t\r\n")
		if cell := rows[i+1][2]; formula && cell != "'"+v.Name || !formula && cell != v.Name {
			t.Errorf("%q in CSV is %q", v.Name, cell)
		}
	}
}
