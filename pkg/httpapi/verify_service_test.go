package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
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

// offers makes a service of a realm, and switches it on.
func (s *site) offers(name, realm string, t token.TokenType) {
	s.Helper()
	_, err := s.root.AddService(s.Context(), token.ServiceConfig{Name: name, Enabled: true, TokenType: t, Realm: realm})
	s.must(err)
}

// password is a user's at a service.
func (s *site) password(o token.Owner, service string) authority.Issued {
	s.Helper()
	return s.generate(token.Spec{Kind: token.Service, Service: service, Owner: o, Lifetime: time.Hour})
}

func TestVerifyAtService(t *testing.T) {
	s := newSite(t)
	corp := token.Owner{Realm: "corp", Name: "zoë"}
	_, err := s.root.AddAccount(t.Context(), token.Account{Owner: corp})
	s.must(err)
	s.offers("imap", token.LocalRealm, token.Plain15)
	s.offers("dav", "corp", token.Strong)
	alice, zoe := s.password(owner("alice"), "imap"), s.password(corp, "dav")
	for _, user := range []string{"alice", "local/alice", "ALICE"} {
		for _, path := range []string{"/verify/service/imap", "/verify/service/imap/role/reader", "/verify/service/imap/connection/default/-/role/deploy"} {
			got := s.get(path, basic(user, alice.Secret.Reveal()))
			s.wants(user+" at "+path, got, http.StatusOK)
			for name, want := range map[string]string{
				"X-Auth-User": "local/alice", "X-Auth-Realm": "local", "X-Auth-Roles": "reader,writer", "X-Auth-Kind": "service",
				"X-Auth-Token": alice.Token.ID.String(), "X-Auth-Expires": alice.Token.ExpiresAt.Format(time.RFC3339), "Cache-Control": "no-store",
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %s is %q, want %q", path, name, got.header.Get(name), want)
				}
			}
			var body any
			s.must(json.Unmarshal([]byte(got.body), &body))
			want := map[string]any{
				"valid": true, "kind": "service", "id": alice.Token.ID.String(), "owner": "local/alice", "roles": []any{"reader", "writer"},
				"service": "imap", "connection": nil, "expires_at": alice.Token.ExpiresAt.Format(time.RFC3339),
			}
			if diff := cmp.Diff(any(want), body); diff != "" {
				t.Errorf("%s: -want +got %s", path, diff)
			}
		}
	}
	for _, user := range []string{"zoë", "corp/zoë"} {
		got := s.get("/verify/service/dav", basic(user, zoe.Secret.Reveal()))
		if s.wants(user, got, http.StatusOK); got.header.Get("X-Auth-User") != corp.String() {
			t.Errorf("%s is %q", user, got.header.Get("X-Auth-User"))
		}
	}
	s.wants("a role that is not borne", s.get("/verify/service/imap/role/deploy", basic("alice", alice.Secret.Reveal())), http.StatusForbidden)
	// A use is noted.
	if got, err := s.root.Get(t.Context(), alice.Token.ID); err != nil || got.LastUsedFrom != "127.0.0.1" {
		t.Errorf("last used from %q, %v", got.LastUsedFrom, err)
	}
}

// All that is not accepted gets one answer, to the byte.
func TestVerifyAtServiceRefusesAllTheSame(t *testing.T) {
	s := newSite(t)
	s.offers("imap", token.LocalRealm, token.Plain15)
	s.offers("dav", token.LocalRealm, token.Plain15)
	s.offers("off", token.LocalRealm, token.Plain15)
	s.offers("strong", token.LocalRealm, token.Strong)
	alice, bob, off, strong := s.password(owner("alice"), "imap"), s.password(owner("bob"), "imap"), s.password(owner("alice"), "off"), s.password(owner("alice"), "strong")
	ended := s.password(owner("admin"), "imap")
	s.must(s.root.Suspend(t.Context(), []token.Ref{bob.Token.Ref()}, time.Time{}))
	s.must(s.root.Revoke(t.Context(), []token.Ref{ended.Token.Ref()}, ""))
	svc := token.NewService("off") // which is not enabled
	_, err := s.root.SetService(t.Context(), svc)
	s.must(err)
	user := s.users["alice"]
	text := alice.Secret.Reveal()
	var one answer
	for what, c := range map[string]struct{ service, authorization string }{
		"unknown service":           {"nowhere", basic("alice", text)},
		"unknown user":              {"imap", basic("nobody", text)},
		"another realm":             {"imap", basic("corp/alice", text)},
		"no user":                   {"imap", basic("", text)},
		"wrong password":            {"imap", basic("alice", off.Secret.Reveal())},
		"another service":           {"dav", basic("alice", text)},
		"of another service":        {"strong", basic("alice", text)},
		"another user":              {"imap", basic("auditor", text)},
		"service disabled":          {"off", basic("alice", off.Secret.Reveal())},
		"suspended":                 {"imap", basic("bob", bob.Secret.Reveal())},
		"revoked":                   {"imap", basic("admin", ended.Secret.Reveal())},
		"no password":               {"imap", basic("alice", "")},
		"longer":                    {"imap", basic("alice", text+":")},
		"a user token":              {"imap", s.of("alice")},
		"a passcode as password":    {"imap", basic("alice", user.Secret.Reveal())},
		"a password as Bearer":      {"imap", "Bearer " + text},
		"a pair as Bearer":          {"imap", "Bearer alice:" + text},
		"a strong one as Bearer":    {"strong", bearer(strong.Secret)},
		"a user token as Bearer":    {"imap", bearer(user.Secret)},
		"an access token as Bearer": {"imap", bearer(s.exchange(s.generate(token.Spec{Kind: token.Refresh})).Text)},
		"Basic without a colon":     {"imap", "Basic Z2FyYmFnZQ=="},
	} {
		got := s.get("/verify/service/"+c.service, c.authorization)
		s.wants(what, got, http.StatusUnauthorized)
		delete(got.header, "Date")
		if one.status == 0 {
			one = got
		}
		if diff := cmp.Diff(one, got, cmp.AllowUnexported(answer{})); diff != "" {
			t.Errorf("%s is told from another: %s", what, diff)
		}
	}
	if got := one.header.Values("WWW-Authenticate"); len(got) != 2 || got[0] != `Basic realm="tokenctl", charset="UTF-8"` {
		t.Errorf("WWW-Authenticate: %q", got)
	}
	s.wants("the good one", s.get("/verify/service/imap", basic("alice", text)), http.StatusOK)
	s.wants("the strong one", s.get("/verify/service/strong", basic("alice", strong.Secret.Reveal())), http.StatusOK)
	for _, got := range []answer{s.get("/verify", basic("alice", text)), s.get("/api/v1/whoami", basic("alice", text)), s.get("/verify", bearer(strong.Secret))} {
		s.wants("without a service", got, http.StatusUnauthorized)
	}
	if log := s.log.String(); strings.Contains(log, text) || strings.Contains(log, strong.Secret.Reveal()) {
		t.Errorf("a password is in the log: %s", log)
	}
}

// asked is a verifier that keeps what it is asked, and cannot tell.
type asked struct {
	authority.Verifier
	p *authority.Presented
}

func (a asked) Verify(_ context.Context, p authority.Presented) (token.Identity, error) {
	*a.p = p
	return token.Identity{}, token.Errorf(token.ErrCannotTell, "the secret cannot be checked: %w", secret.ErrBusy)
}

// Guesses that have to wait are neither right nor wrong, and do not flood the
// log.
func TestVerifyAtServiceBusy(t *testing.T) {
	s := newSite(t)
	var p authority.Presented
	v := httptest.NewServer(httpapi.NewVerifyHandler(asked{p: &p}, httpapi.Options{Log: slog.New(slog.NewJSONHandler(s.log, nil))}))
	defer v.Close()
	s.URL = v.URL
	for range 300 {
		got := s.get("/verify/service/imap/role/reader", basic("corp/a", "b:c"))
		if s.wants("too many at once", got, http.StatusServiceUnavailable); got.header.Get("Retry-After") == "" {
			t.Fatal("nobody says when to try again")
		}
	}
	if p.Service != "imap" || p.User != "corp/a" || p.Credential.Reveal() != "b:c" || p.Role != "reader" || !p.CountsAsUse || p.From != "127.0.0.1" {
		t.Errorf("what is asked is %+v", p)
	}
	s.wants("a Bearer, of which nobody is asked", s.get("/verify/service/imap", "Bearer x"), http.StatusUnauthorized)
	api := httptest.NewServer(httpapi.NewHandler(httpapi.Options{
		Rules: failing{s.local, token.Errorf(token.ErrCannotTell, "busy")}, Log: slog.New(slog.NewJSONHandler(s.log, nil)),
	}))
	defer api.Close()
	s.URL = api.URL
	for range 300 {
		s.wants("the same as JSON", s.postRaw("/api/v1/tokens:verify", "", "application/json", `{"credential":"x","user":"a","service":"imap"}`), http.StatusServiceUnavailable)
	}
	if lines := strings.Count(s.log.String(), "\n"); lines < 2 || lines > 100 {
		t.Errorf("600 questions that nobody can answer make %d lines", lines)
	}
}

func TestVerifyCredentialAtService(t *testing.T) {
	s := newSite(t)
	s.offers("imap", token.LocalRealm, token.Plain15)
	i := s.password(owner("alice"), "imap")
	ask := func(more string) answer {
		return s.postRaw("/api/v1/tokens:verify", "", "application/json", fmt.Sprintf(`{"credential":%q%s}`, i.Secret.Reveal(), more))
	}
	got := ask(`,"user":"alice","service":"imap","kinds":["service"]`)
	s.wants("the password", got, http.StatusOK)
	if !strings.Contains(got.body, `"valid":true`) || !strings.Contains(got.body, `"service":"imap"`) {
		t.Errorf("the verdict is %s", got.body)
	}
	for _, more := range []string{``, `,"user":"bob","service":"imap"`, `,"service":"imap"`, `,"user":"alice","service":"dav"`} {
		got := ask(more)
		if s.wants(more, got, http.StatusOK); got.body != "{\"valid\":false}\n" {
			t.Errorf("%s: %s", more, got.body)
		}
	}
	for _, more := range []string{`,"user":"alice"`, `,"user":"alice","service":"a b"`, `,"user":"alice","service":"` + strings.Repeat("x", 65) + `"`} {
		s.wants(more, ask(more), http.StatusBadRequest)
	}
	user := s.users["alice"].Secret.Reveal()
	s.wants("a user who would not be looked at", s.postRaw("/api/v1/tokens:verify", "", "application/json", `{"credential":"`+user+`","user":"bob"}`), http.StatusBadRequest)
}

func TestIntrospectionAtService(t *testing.T) {
	s := newSite(t)
	s.offers("imap", token.LocalRealm, token.Plain15)
	s.offers("strong", token.LocalRealm, token.Strong)
	for _, service := range []string{"imap", "strong"} {
		i := s.password(owner("alice"), service)
		ask := func(who string, fields ...string) answer {
			return s.post("/oauth2/introspect", s.of(who), append([]string{"token", i.Secret.Reveal()}, fields...)...)
		}
		for _, who := range []string{"proxy", "alice"} {
			got := ask(who, "username", "alice", "service", service)
			s.wants("for "+who, got, http.StatusOK)
			var body map[string]any
			s.must(json.Unmarshal([]byte(got.body), &body))
			want := map[string]any{
				"active": true, "scope": "reader writer", "username": "local/alice", "service": service, "sub": "local/alice",
				"exp": float64(i.Token.ExpiresAt.Unix()), "kind": "service", "tid": i.Token.ID.String(), "roles": []any{"reader", "writer"},
			}
			if diff := cmp.Diff(want, body); diff != "" {
				t.Errorf("for %s: -want +got %s", who, diff)
			}
		}
		for what, got := range map[string]answer{
			"of another":      ask("bob", "username", "alice", "service", service),
			"without service": ask("proxy"),
			"without user":    ask("proxy", "service", service),
			"another user":    ask("proxy", "username", "bob", "service", service),
			"another service": ask("proxy", "username", "alice", "service", "nowhere"),
		} {
			if got.status != http.StatusOK || got.body != `{"active":false}` {
				t.Errorf("%s: %d %s", what, got.status, got.body)
			}
		}
		s.fails("a user alone", ask("proxy", "username", "alice"), 400, "invalid_request")
		s.fails("no name", ask("proxy", "username", "alice", "service", "a b"), 400, "invalid_request")
	}
	got := s.post("/oauth2/introspect", s.of("proxy"), "token", s.users["alice"].Secret.Reveal(), "username", "alice", "service", "imap")
	if got.body != `{"active":false}` {
		t.Errorf("a user token at a service: %s", got.body)
	}
}
