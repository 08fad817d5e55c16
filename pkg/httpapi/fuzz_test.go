package httpapi

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// FuzzBody reads any text as each kind of body: it is taken or is wrong usage,
// and what is taken is read the same after it was written again.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"kind":"user"}`, `{"kind":"refresh","owner":"corp/a","roles":["x"],"lifetime":"7d"}`, `{"tokens":[{"id":"0123456789abcdef","revision":1}],"reason":"x"}`,
		`{"selector":{"name":"ci-*","never_used":true},"dry_run":true}`, `{"credential":"x","kinds":["user",""]}`, `{"grace":"1h","until_used":true}`, `{"until":"2026-01-01T00:00:00Z"}`,
		`{"owner":"a","kind":"service","steward":"b","roles":[],"status":"disabled"}`, `{"name":"x","access_lifetime":"1h","algorithm":"none"}`, `{"name":"x","status":"enabled","provisioners":["a",null],"display_name":null}`, `{"kind":"service","service":"x","replace":true}`, `{"a":1,"a":2}`, `[[[[`, `{"kind":"user"}x`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{
			&wireSpec{}, &wireRotation{}, &wireUntil{}, &wireReason{}, &wireRefs{}, &wireRevoke{}, &wirePresented{}, &wireExchange{}, &wireAccount{}, &wireConnection{}, &wireService{}, &map[string]string{},
		} {
			r := httptest.NewRequest("POST", "/", strings.NewReader(string(body)))
			r.Header.Set("Content-Type", "application/json")
			if _, err := readJSON(httptest.NewRecorder(), r, Limits{}.orDefaults(), into); err != nil {
				if !errors.Is(err, token.ErrUsage) {
					t.Fatalf("%T: %v", into, err)
				}
				if p := problemOf(err); secret.Contains(p.Detail) {
					t.Fatalf("%T: the error shows a secret", into)
				}
				continue
			}
			text, err := appendJSON(nil, into)
			if err != nil {
				t.Fatalf("%T: %v", into, err)
			}
			again := reflect.New(reflect.TypeOf(into).Elem()).Interface()
			if err := parseJSON(text, 32, again); err != nil {
				t.Fatalf("%T: %s: %v", into, text, err)
			}
			if once, _ := appendJSON(nil, again); string(once) != string(text) {
				t.Fatalf("%T: %s is read as %s", into, text, once)
			}
		}
	})
}

// FuzzQuery reads any text as what chooses tokens or entries: it is taken or is
// wrong usage, and what is taken is read the same after it was written again.
func FuzzQuery(f *testing.F) {
	for _, seed := range []string{
		"", "kind=user&owner=corp/a", "all_owners=true&status=revoked&ended=true", "name=ci-*&created_after=2026-01-01&created_before=2026-01-02T03:04:05.6%2B01:00",
		"realm=a&service=b&connection=c&role=d&never_used=true&unused_since=2026-01-01", "after=0123456789abcdef", "a&a=b;c=%zz", "last=3&after=7&since=2026-01-01&token_id=0123456789abcdef&action=token.",
		"token_id=0123456789abcdef&owner=corp/a&service=b&provisioner=c&pending=true&after=x/y",
	} {
		f.Add(seed)
	}
	me := token.Owner{Realm: "local", Name: "me"}
	f.Fuzz(func(t *testing.T, text string) {
		q := (&http.Request{URL: &url.URL{RawQuery: text}}).URL.Query()
		if s, err := readSelector(q, me); err == nil {
			again, err := readSelector(writeSelector(s), me)
			if err != nil || again != s {
				t.Errorf("%q is read as %+v, then %+v, %v", text, s, again, err)
			}
			if s.Owner.IsZero() && s.Realm == "" && q.Get(allOwners) != "true" {
				t.Errorf("%q chooses tokens of all", text)
			}
		} else if !errors.Is(err, token.ErrUsage) {
			t.Errorf("%q: %v", text, err)
		}
		readsTheSame(t, q, filterFields)
		readsTheSame(t, q, deliveryFields)
	})
}

func readsTheSame[T comparable](t *testing.T, q url.Values, fields []queryField[T]) {
	if v, err := readQuery(q, fields); err == nil {
		if again, err := readQuery(writeQuery(v, fields), fields); err != nil || again != v {
			t.Errorf("%v is read as %+v, then %+v, %v", q, v, again, err)
		}
	} else if !errors.Is(err, token.ErrUsage) {
		t.Errorf("%v: %v", q, err)
	}
}

// FuzzAnswer has a Client read any text as an answer: whatever it is, the
// Client does not take it for one that is whole without its parts.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"valid":false}`, `{"valid":true}`, `{"id":"0123456789abcdef","kind":"user","owner":"a","pass_code":"x"}`, `{"tokens":[null],"next":"x"}`, `{"tokens":{},"next":1}`,
		`{"type":"about:blank","status":200,"code":"usage","detail":"x"}`, `[`, `{"broken":null}`,
	} {
		f.Add(seed, 200, "application/json")
		f.Add(seed, 400, problemType)
	}
	f.Fuzz(func(t *testing.T, text string, status int, kind string) {
		if status < 200 || status > 999 || strings.ContainsFunc(kind, func(c rune) bool { return c < ' ' || c > '~' }) {
			return
		}
		srv := roundTripper(func(*http.Request) (*http.Response, error) {
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Type", kind)
			rec.WriteHeader(status)
			rec.WriteString(text)
			return rec.Result(), nil
		})
		c, err := NewClient(ClientOptions{URL: "http://127.0.0.1:1"})
		if err != nil {
			t.Fatal(err)
		}
		c.http.Transport = srv
		ctx := t.Context()
		if id, err := c.Verify(ctx, authority.Presented{}); err == nil && (id.Owner.IsZero() || id.Kind == 0) {
			t.Errorf("%s is an identity", text)
		}
		if got, err := c.Get(ctx, token.ID{1}); err == nil && (got.ID.IsZero() || got.Owner.IsZero()) {
			t.Errorf("%s is a token", text)
		}
		if a, err := c.Exchange(ctx, authority.Exchange{}); err == nil && a.Text.IsZero() {
			t.Errorf("%s is an access token", text)
		}
		if _, err := c.SetPolicy(ctx, nil); err == nil && !strings.Contains(text, "revision") {
			t.Errorf("%s is a policy", text)
		}
		if svc, err := c.Service(ctx, "x"); err == nil && (svc.Name == "" || svc.Revision == 0) {
			t.Errorf("%s is a service", text)
		}
		if all, err := c.Deliver(ctx, token.ID{1}); err == nil && all == nil {
			t.Errorf("%s is what is pending", text)
		}
		n := 0
		for tok, err := range c.List(ctx, token.Selector{}) {
			if err == nil && tok.ID.IsZero() {
				t.Errorf("%s holds a token", text)
			}
			if n++; n > 10 {
				break
			}
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
