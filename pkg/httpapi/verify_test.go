package httpapi_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/httpapi"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestVerify(t *testing.T) {
	s := newSite(t)
	alice := s.users["alice"]
	for what, authorization := range map[string]string{"Basic": s.of("alice"), "Bearer": bearer(alice.Secret), "lower case": "bearer " + alice.Secret.Reveal()} {
		for _, path := range []string{"/verify", "/verify/", "/verify/role/reader", "/verify/connection/default", "/verify/connection/default/role/writer/and/what/a/proxy/appends", "/verify/-/service/imap"} {
			got := s.get(path, authorization)
			s.wants(what+" at "+path, got, http.StatusOK)
			for name, want := range map[string]string{
				"X-Auth-User": "local/alice", "X-Auth-Realm": "local", "X-Auth-Roles": "reader,writer", "X-Auth-Kind": "user",
				"X-Auth-Token": alice.Token.ID.String(), "X-Auth-Expires": "", "Cache-Control": "no-store", "Content-Type": "application/json",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %s is %q, want %q", what, name, got.header.Get(name), want)
				}
			}
			var body any
			s.must(json.Unmarshal([]byte(got.body), &body))
			want := map[string]any{
				"valid": true, "kind": "user", "id": alice.Token.ID.String(), "owner": "local/alice",
				"roles": []any{"reader", "writer"}, "service": nil, "connection": nil, "expires_at": nil,
			}
			if diff := cmp.Diff(any(want), body); diff != "" {
				t.Errorf("%s: -want +got %s", what, diff)
			}
		}
	}
	for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "MKCALENDAR"} {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/verify", nil)
		r.Header.Set("Authorization", s.of("alice"))
		s.wants(method, s.send(r, err), http.StatusOK)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodTrace, s.URL+"/verify", nil)
	r.Header.Set("Authorization", s.of("alice"))
	s.wants("TRACE", s.send(r, err), http.StatusMethodNotAllowed)
}

func TestVerifyNamesThatNeedEscapes(t *testing.T) {
	s := newSite(t)
	name := `zoë "the <b>" 名前`
	o, err := token.NewOwner(token.LocalRealm, name)
	s.must(err)
	_, err = s.root.AddAccount(t.Context(), token.Account{Owner: o, Kind: token.Person})
	s.must(err)
	got := s.get("/verify", bearer(s.generate(token.Spec{Kind: token.User, Owner: o, Lifetime: time.Hour}).Secret))
	var body struct{ Owner string }
	s.must(json.Unmarshal([]byte(got.body), &body))
	if body.Owner != o.String() || got.header.Get("X-Auth-User") != o.String() || got.header.Get("X-Auth-Realm") != token.LocalRealm || got.header.Get("X-Auth-Expires") != s.clock().Add(time.Hour).Format(time.RFC3339) {
		t.Errorf("%q, %v", body.Owner, got.header)
	}
}

// All that is not accepted gets one answer, to the byte.
func TestVerifyRefusesAllTheSame(t *testing.T) {
	s := newSite(t)
	ended := func(name string, end func(i authority.Issued)) secret.Secret {
		_, err := s.root.AddAccount(t.Context(), token.Account{Owner: owner(name), Kind: token.Person})
		s.must(err)
		i := s.generate(token.Spec{Kind: token.User, Owner: owner(name), Lifetime: time.Minute})
		end(i)
		return i.Secret
	}
	ref := func(i authority.Issued) []token.Ref { return []token.Ref{i.Token.Ref()} }
	expired := ended("expired", func(authority.Issued) {})
	s.wait(time.Hour)
	refresh := s.generate(token.Spec{Kind: token.Refresh})
	crm := token.NewConnection("crm")
	_, err := s.root.AddConnection(t.Context(), crm)
	s.must(err)
	other := s.exchange(s.generate(token.Spec{Kind: token.Refresh, Connection: "crm"}))
	access := s.exchange(refresh)
	cut := access.Text.Reveal()
	alice := s.users["alice"]
	pass := alice.Secret.Reveal()
	refused := map[string]string{
		"unknown":                   bearer(secret.New(secret.Passcode, secret.NewID(time.Now()))),
		"wrong secret":              bearer(secret.New(secret.Passcode, alice.Token.ID)),
		"expired":                   bearer(expired),
		"revoked":                   bearer(ended("revoked", func(i authority.Issued) { s.must(s.root.Revoke(t.Context(), ref(i), "")) })),
		"suspended":                 bearer(ended("suspended", func(i authority.Issued) { s.must(s.root.Suspend(t.Context(), ref(i), time.Time{})) })),
		"deleted":                   bearer(ended("deleted", func(i authority.Issued) { s.must(s.root.Delete(t.Context(), ref(i))) })),
		"owner gone":                bearer(ended("gone", func(i authority.Issued) { s.must(s.root.DeleteAccount(t.Context(), i.Token.Owner)) })),
		"malformed":                 bearer(secret.FromText(pass[:len(pass)-1])),
		"of another code":           basic(s.users["bob"].Token.ID.String(), pass),
		"a pair as Bearer":          "Bearer " + alice.Token.ID.String() + ":" + pass,
		"a refresh token":           bearer(refresh.Secret),
		"a refresh token as Basic":  basic(refresh.Token.ID.String(), refresh.Secret.Reveal()),
		"of another connection":     bearer(other.Text),
		"a JWT as Basic":            basic("x", access.Text.Reveal()),
		"a JWT with another end":    "Bearer " + cut[:len(cut)-8] + "AAAAAAAA",
		"garbage":                   "Bearer garbage",
		"Basic without a colon":     "Basic Z2FyYmFnZQ==",
		"Basic that is no base64":   "Basic %%%",
		"another scheme":            "Digest " + pass,
		"no scheme":                 pass,
		"a scheme alone":            "Bearer",
		"spaces behind":             bearer(alice.Secret) + " x",
		"longer than the limit":     "Bearer " + strings.Repeat("a", 15<<10),
		"an access token's payload": "Bearer " + strings.Split(cut, ".")[1],
	}
	var one answer
	for what, authorization := range refused {
		got := s.get("/verify", authorization)
		s.wants(what, got, http.StatusUnauthorized)
		delete(got.header, "Date")
		if one.status == 0 {
			one = got
		}
		if diff := cmp.Diff(one, got, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("%s is told from another: %s", what, diff)
		}
	}
	if got := one.header.Values("WWW-Authenticate"); len(got) != 2 || got[0] != `Basic realm="tokenctl", charset="UTF-8"` || got[1] != `Bearer realm="tokenctl", error="invalid_token"` {
		t.Errorf("WWW-Authenticate: %q", got)
	}
	none := s.get("/verify", "")
	s.wants("no credential", none, http.StatusUnauthorized)
	if got := none.header.Values("WWW-Authenticate"); len(got) != 2 || strings.Contains(got[1], "error") { // RFC 6750 §3.1
		t.Errorf("without a credential: WWW-Authenticate %q", got)
	}
	s.wants("the good one", s.get("/verify", bearer(alice.Secret)), http.StatusOK)
	s.wants("the good JWT", s.get("/verify", bearer(access.Text)), http.StatusOK)
	s.wants("the other connection, demanded", s.get("/verify/connection/crm", bearer(other.Text)), http.StatusOK)
	s.wants("of default where another is demanded", s.get("/verify/connection/crm", bearer(access.Text)), http.StatusUnauthorized)
	fresh := newSite(t) // the log of this one is full of samples
	fresh.get("/verify", bearer(secret.New(secret.Passcode, fresh.users["alice"].Token.ID)))
	if log := fresh.log.String(); !strings.Contains(log, `"reason":"wrong_secret"`) || secret.Contains(log) {
		t.Errorf("the log does not say why, or says too much: %s", log)
	}
}

func TestVerifyDemands(t *testing.T) {
	s := newSite(t)
	for path, status := range map[string]int{
		"/verify/role/deploy":                           http.StatusForbidden,
		"/verify/connection/default/role/deploy":        http.StatusForbidden,
		"/verify/role/deploy/what/a/proxy/appends":      http.StatusForbidden,    // the second is what a proxy appended
		"/verify/service/imap":                          http.StatusUnauthorized, // a user token is good at no service
		"/verify/service/imap/role/reader":              http.StatusUnauthorized,
		"/verify/-/role/deploy":                         http.StatusOK, // the demands have ended
		"/verify/role/":                                 http.StatusNotFound,
		"/verify/role//":                                http.StatusNotFound,
		"/verify/role/a%20b":                            http.StatusNotFound,
		"/verify/connection/" + strings.Repeat("x", 65): http.StatusNotFound,
		"/verifying":                                    http.StatusNotFound,
	} {
		s.wants(path, s.get(path, s.of("alice")), status)
	}
	got := s.get("/verify/role/deploy", s.of("alice"))
	if www := got.header.Get("WWW-Authenticate"); www != `Bearer realm="tokenctl", error="insufficient_scope", scope="deploy"` {
		t.Errorf("WWW-Authenticate: %s", www)
	}
	s.wants("an administrator has every role", s.get("/verify/role/deploy", s.of("admin")), http.StatusOK)
	// Headers and query are the client's: they ask for nothing.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/verify?role=deploy&service=imap&connection=crm&access_token=x", nil)
	r.Header = http.Header{"Authorization": {s.of("alice")}, "X-Tokenctl-Service": {"imap"}, "X-Auth-User": {"local/admin"}, "X-Auth-Roles": {"tokenctl:admin"}, "Cookie": {"a=b"}}
	asked := s.send(r, err)
	s.wants("with much else", asked, http.StatusOK)
	if asked.header.Get("X-Auth-User") != "local/alice" || asked.header.Get("X-Auth-Roles") != "reader,writer" {
		t.Errorf("headers of the client are believed: %v", asked.header)
	}
}

// What counts is the first revocation that was acknowledged.
func TestVerifyAfterRevocation(t *testing.T) {
	s := newSite(t)
	r := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Roles: []token.Role{"reader"}})
	access := s.exchange(r)
	s.wants("the access token", s.get("/verify", bearer(access.Text)), http.StatusOK)
	s.must(s.root.Revoke(t.Context(), []token.Ref{r.Token.Ref()}, ""))
	s.wants("the access token of a revoked parent", s.get("/verify", bearer(access.Text)), http.StatusUnauthorized)
	s.wants("the user token", s.get("/verify", s.of("alice")), http.StatusOK)
	a, err := s.root.Account(t.Context(), owner("alice"))
	s.must(err)
	a.Disabled = true
	_, err = s.root.SetAccount(t.Context(), a)
	s.must(err)
	s.wants("the user token of a disabled account", s.get("/verify", s.of("alice")), http.StatusUnauthorized)
}

// A use is noted with where it came from; only a trusted proxy may say so for
// others.
func TestVerifyNotesWhereFrom(t *testing.T) {
	for name, c := range map[string]struct {
		options func(*httpapi.Options)
		header  []string
		want    string
	}{
		"a stranger":      {func(*httpapi.Options) {}, []string{"203.0.113.9"}, "127.0.0.1"},
		"a proxy":         {trustLoopback, []string{"203.0.113.9"}, "203.0.113.9"},
		"behind a forger": {trustLoopback, []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"two proxies":     {trustLoopback, []string{"198.51.100.1, 203.0.113.9", "127.0.0.7"}, "203.0.113.9"},
		"IPv6":            {trustLoopback, []string{"2001:db8::1"}, "2001:db8::1"},
		"garbage":         {trustLoopback, []string{"203.0.113.9, nonsense"}, "127.0.0.1"},
		"nothing":         {trustLoopback, nil, "127.0.0.1"},
	} {
		s := newSite(t, c.options)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/verify", nil)
		r.Header["Authorization"], r.Header["X-Forwarded-For"] = []string{s.of("alice")}, c.header
		s.wants(name, s.send(r, err), http.StatusOK)
		got, err := s.root.Get(t.Context(), s.users["alice"].Token.ID)
		s.must(err)
		if got.LastUsedFrom != c.want || got.LastUsedAt.IsZero() {
			t.Errorf("%s: last used from %q, want %q", name, got.LastUsedFrom, c.want)
		}
	}
}

// The third outcome is neither of the others.
func TestVerifyCannotTell(t *testing.T) {
	s := newSite(t)
	v := httptest.NewServer(httpapi.NewVerifyHandler(broken{}, httpapi.Options{}))
	defer v.Close()
	s.URL = v.URL
	got := s.get("/verify", s.of("alice"))
	s.wants("a broken store", got, http.StatusServiceUnavailable)
	if got.header.Get("Content-Type") != "application/problem+json" || !strings.Contains(got.body, `"code":"cannot_tell"`) || strings.Contains(got.body, "disk") || got.header.Get("X-Auth-User") != "" {
		t.Errorf("%s, %v", got.body, got.header)
	}
	got = s.get("/verify", bearer(secret.FromText("garbage")))
	s.wants("garbage", got, http.StatusServiceUnavailable)
}

type broken struct{ authority.Verifier }

func (broken) Verify(context.Context, authority.Presented) (token.Identity, error) {
	return token.Identity{}, token.Errorf(token.ErrCannotTell, "the disk is on fire")
}

// A request that two servers may read differently is not read at all.
func TestFraming(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"/verify", "/api/v1/whoami", "/oauth2/introspect"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, strings.NewReader("token=x"))
		r.Header["Authorization"] = []string{s.of("alice"), s.of("admin")}
		s.wants("two credentials at "+path, s.send(r, err), http.StatusBadRequest)
		r, err = http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, chunked{strings.NewReader("token=x")})
		r.Header["Authorization"] = []string{s.of("alice")}
		s.wants("Transfer-Encoding at "+path, s.send(r, err), http.StatusLengthRequired)
	}
	for what, change := range map[string]func(*http.Request){
		"a cookie":           func(r *http.Request) { r.Header.Set("Cookie", "session=x") },
		"a token in the URL": func(r *http.Request) { r.URL.RawQuery = "access_token=x" },
		"a passcode there":   func(r *http.Request) { r.URL.RawQuery = "a=b&passcode=x" },
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/whoami", nil)
		r.Header.Set("Authorization", s.of("alice"))
		change(r)
		got := s.send(r, err)
		s.wants(what, got, http.StatusBadRequest)
		if got.header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %v", what, got.header)
		}
	}
	for path, method := range map[string]string{"/api/v1/whoami": "TRACE", "/livez": "DELETE", "/oauth2/token": "GET", "/.well-known/jwks.json": "POST"} {
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
		s.wants(method+" "+path, s.send(r, err), http.StatusMethodNotAllowed)
	}
	s.wants("a path that leads nowhere", s.get("/nowhere", s.of("alice")), http.StatusNotFound)
}

func TestProbes(t *testing.T) {
	s := newSite(t)
	for path, want := range map[string]string{"/livez": "ok\n", "/readyz": "ok\n"} {
		got := s.get(path, "")
		s.wants(path, got, http.StatusOK)
		if got.body != want {
			t.Errorf("%s: %q", path, got.body)
		}
	}
	bad := httptest.NewServer(httpapi.NewProbes(func(context.Context) error { return token.Errorf(token.ErrCannotTell, "the disk is on fire") }))
	defer bad.Close()
	s.URL = bad.URL
	got := s.get("/readyz", "")
	s.wants("not ready", got, http.StatusServiceUnavailable)
	if strings.Contains(got.body, "fire") {
		t.Errorf("a stranger is told %q", got.body)
	}
	s.wants("but alive", s.get("/livez", ""), http.StatusOK)
}
