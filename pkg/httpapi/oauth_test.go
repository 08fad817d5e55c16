package httpapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// fails sees to it that an endpoint fails as RFC 6749 §5.2 says.
func (s *site) fails(what string, got answer, status int, code string) {
	s.Helper()
	s.wants(what, got, status)
	var body struct{ Error string }
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || body.Error != code {
		s.Errorf("%s: %s, want %s", what, got.body, code)
	}
	if got.header.Get("Cache-Control") != "no-store" || got.header.Get("Content-Type") != "application/json" {
		s.Errorf("%s: %v", what, got.header)
	}
}

func TestTokenEndpoint(t *testing.T) {
	s := newSite(t)
	r := s.generate(token.Spec{Kind: token.Refresh, Name: "ci", Owner: owner("alice"), Roles: []token.Role{"reader", "writer"}})
	text := r.Secret.Reveal()
	grant := func(fields ...string) answer {
		return s.post("/oauth2/token", "", append([]string{"grant_type", "refresh_token", "refresh_token", text}, fields...)...)
	}
	for what, fields := range map[string][]string{
		"no client":           nil,
		"the connection":      {"client_id", "default"},
		"its audience":        {"resource", "urn:tokenctl:default"},
		"what nobody knows":   {"audience", "x", "client", "y"},
		"a narrower scope":    {"scope", "reader"},
		"an empty scope":      {"scope", ""},
		"the scope all of it": {"scope", "writer reader"},
	} {
		got := grant(fields...)
		s.wants(what, got, http.StatusOK)
		var body struct {
			AccessToken string `json:"access_token"`
			TokenType   string `json:"token_type"`
			ExpiresIn   int    `json:"expires_in"`
			Scope       string
			Refresh     *string `json:"refresh_token"`
		}
		s.must(json.Unmarshal([]byte(got.body), &body))
		scope := "reader writer"
		if what == "a narrower scope" {
			scope = "reader"
		}
		if body.TokenType != "Bearer" || body.ExpiresIn != 3600 || body.Scope != scope || body.Refresh != nil || got.header.Get("Cache-Control") != "no-store" || got.header.Get("Pragma") != "no-cache" {
			t.Errorf("%s: %s %v", what, got.body, got.header)
		}
		id, err := s.root.Verify(t.Context(), authority.Presented{Credential: secret.FromText(body.AccessToken)})
		if err != nil || joined(id.Roles) != scope || id.Owner != owner("alice") {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
	}
	for what, c := range map[string]struct {
		got    answer
		status int
		code   string
	}{
		"a wider scope":        {grant("scope", "reader deploy"), 400, "invalid_scope"},
		"a scope that is none": {grant("scope", "re/ader"), 400, "invalid_scope"},
		"another resource":     {grant("resource", "https://api.example.org"), 400, "invalid_target"},
		"another client":       {grant("client_id", "tokenctl"), 400, "invalid_grant"},
		"a secret":             {grant("client_id", "default", "client_secret", "x"), 401, "invalid_client"},
		"a parameter twice":    {s.postRaw("/oauth2/token", "", formType, "grant_type=refresh_token&grant_type=refresh_token&refresh_token="+text), 400, "invalid_request"},
		"no grant":             {s.post("/oauth2/token", "", "refresh_token", text), 400, "invalid_request"},
		"password":             {s.post("/oauth2/token", "", "grant_type", "password", "username", "alice", "password", "x"), 400, "unsupported_grant_type"},
		"client_credentials":   {s.post("/oauth2/token", "", "grant_type", "client_credentials"), 400, "unsupported_grant_type"},
		"no token":             {s.post("/oauth2/token", "", "grant_type", "refresh_token"), 400, "invalid_request"},
		"a user token":         {s.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", s.users["alice"].Secret.Reveal()), 400, "invalid_grant"},
		"garbage":              {s.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", "garbage"), 400, "invalid_grant"},
		"client_secret_basic":  {s.post("/oauth2/token", basic("default", ""), "grant_type", "refresh_token", "refresh_token", text), 401, "invalid_client"},
		"JSON":                 {s.postRaw("/oauth2/token", "", "application/json", `{"grant_type":"refresh_token"}`), 415, "invalid_request"},
		"a garbled form":       {s.postRaw("/oauth2/token", "", formType, "grant_type=%zz"), 400, "invalid_request"},
		"65 fields":            {s.postRaw("/oauth2/token", "", formType, "grant_type=refresh_token"+strings.Repeat("&a=b", 64)), 400, "invalid_request"},
		"more than 64 KiB":     {s.postRaw("/oauth2/token", "", formType, "a="+strings.Repeat("b", 64<<10)), 413, "invalid_request"},
	} {
		s.fails(what, c.got, c.status, c.code)
	}
	s.must(s.root.Revoke(t.Context(), []token.Ref{{ID: r.Token.ID}}, ""))
	s.fails("a revoked one", grant(), 400, "invalid_grant")
}

const formType = "application/x-www-form-urlencoded"

func joined(roles []token.Role) string {
	var all []string
	for _, r := range roles {
		all = append(all, string(r))
	}
	return strings.Join(all, " ")
}

func TestRevocationEndpoint(t *testing.T) {
	s := newSite(t)
	refresh := func() authority.Issued { return s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice")}) }
	ended := func(what string, i authority.Issued) {
		t.Helper()
		got, err := s.root.Get(t.Context(), i.Token.ID)
		if err != nil || got.Status != token.Revoked || got.RevokedReason == "" {
			t.Errorf("%s: %s (%s), %v", what, got.Status, got.RevokedReason, err)
		}
	}
	a, b, c := refresh(), refresh(), refresh()
	child := s.exchange(b)
	s.wants("a refresh token", s.post("/oauth2/revoke", "", "token", a.Secret.Reveal(), "token_type_hint", "access_token", "client_id", "default"), 200)
	ended("a refresh token", a)
	s.wants("an access token", s.post("/oauth2/revoke", "", "token", child.Text.Reveal()), 200)
	ended("an access token's parent", b)
	for what, text := range map[string]string{
		"the same again": a.Secret.Reveal(), "garbage": "garbage",
		"unknown": secret.New(secret.RefreshToken, secret.NewID(time.Now())).Reveal(),
	} {
		got := s.post("/oauth2/revoke", "", "token", text)
		s.wants(what, got, 200) // RFC 7009 §2.2
		if got.body != "" {
			t.Errorf("%s: %q", what, got.body)
		}
	}
	s.fails("another client", s.post("/oauth2/revoke", "", "token", c.Secret.Reveal(), "client_id", "tokenctl"), 400, "invalid_grant")
	s.fails("nothing", s.post("/oauth2/revoke", "", "client_id", "default"), 400, "invalid_request")
	if got, err := s.root.Get(t.Context(), c.Token.ID); err != nil || got.Status != token.Active {
		t.Errorf("a token that another client wanted to revoke is %s, %v", got.Status, err)
	}
}

func TestIntrospection(t *testing.T) {
	s := newSite(t)
	r := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Roles: []token.Role{"reader"}, Lifetime: 24 * time.Hour})
	access := s.exchange(r)
	ask := func(authorization, text string) answer {
		return s.post("/oauth2/introspect", authorization, "token", text)
	}
	now, tid := float64(s.clock().Unix()), r.Token.ID.String()
	alice := s.users["alice"]
	for what, c := range map[string]struct {
		text string
		want map[string]any
	}{
		"access token": {access.Text.Reveal(), map[string]any{
			"active": true, "scope": "reader", "client_id": "default", "username": "local/alice", "sub": "local/alice", "token_type": "Bearer",
			"exp": now + 3600, "iat": now, "nbf": now, "aud": "urn:tokenctl:default", "iss": "http://127.0.0.1:8470",
			"kind": "access", "tid": tid, "roles": []any{"reader"},
		}},
		"refresh token": {r.Secret.Reveal(), map[string]any{
			"active": true, "scope": "reader", "client_id": "default", "username": "local/alice", "sub": "local/alice",
			"exp": now + 86400, "kind": "refresh", "tid": tid, "roles": []any{"reader"},
		}},
		"user token": {alice.Token.ID.String() + ":" + alice.Secret.Reveal(), map[string]any{
			"active": true, "scope": "reader writer", "username": "local/alice", "sub": "local/alice", "token_type": "Bearer",
			"kind": "user", "tid": alice.Token.ID.String(), "roles": []any{"reader", "writer"},
		}},
	} {
		for _, who := range []string{"proxy", "admin", "alice"} { // by role, by role, their own
			got := ask(s.of(who), c.text)
			s.wants(what, got, 200)
			var body map[string]any
			s.must(json.Unmarshal([]byte(got.body), &body))
			if what == "access token" && body["jti"] == "" {
				t.Errorf("%s: no jti", what)
			}
			delete(body, "jti")
			if diff := cmp.Diff(c.want, body); diff != "" {
				t.Errorf("%s for %s: -want +got %s", what, who, diff)
			}
		}
		for _, who := range []string{"bob", "auditor"} {
			if got := ask(s.of(who), c.text); got.status != 200 || got.body != `{"active":false}` {
				t.Errorf("%s for %s: %d %s", what, who, got.status, got.body)
			}
		}
		s.fails("without a caller", ask("", c.text), 401, "invalid_client")
		s.fails("with itself as Bearer", ask("Bearer garbage", c.text), 401, "invalid_client")
	}
	// As RFC 6749 §2.3.1 wants it: each half form-urlencoded.
	pass := strings.ReplaceAll(s.users["proxy"].Secret.Reveal(), "_", "%5F")
	s.wants("an encoded credential", ask(basic(s.users["proxy"].Token.ID.String(), pass), r.Secret.Reveal()), 200)

	revoked := s.generate(token.Spec{Kind: token.Refresh})
	orphan := s.exchange(revoked)
	s.must(s.root.Revoke(t.Context(), []token.Ref{revoked.Token.Ref()}, ""))
	expired := s.generate(token.Spec{Kind: token.Refresh, Lifetime: time.Minute})
	s.wait(2 * time.Minute)
	for what, text := range map[string]string{
		"revoked": revoked.Secret.Reveal(), "expired": expired.Secret.Reveal(), "garbled": "garbage", "child of a revoked": orphan.Text.Reveal(),
		"unknown": secret.New(secret.RefreshToken, secret.NewID(time.Now())).Reveal(),
	} {
		got := ask(s.of("proxy"), text)
		if got.status != 200 || got.body != `{"active":false}` || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", what, got.status, got.body)
		}
	}
	s.fails("no token", s.post("/oauth2/introspect", s.of("proxy")), 400, "invalid_request")
}

func TestCallers(t *testing.T) {
	s := newSite(t)
	self := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("admin"), Connection: authority.SelfConnection, Roles: []token.Role{token.Auditor}})
	other := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("admin"), Roles: []token.Role{token.Admin}})
	// A name may have 16 letters of the alphabet of ids.
	_, err := s.root.AddAccount(t.Context(), token.Account{Owner: owner("maxwagenknechter"), Kind: token.Person})
	s.must(err)
	s.must(s.root.SetPassword(t.Context(), owner("maxwagenknechter"), secret.Secret{}, secret.FromText("correct horse battery")))
	who := func(authorization string) string {
		t.Helper()
		got := s.get("/api/v1/whoami", authorization)
		if got.status != 200 {
			return http.StatusText(got.status)
		}
		var body struct {
			Owner string
			Roles []string
		}
		s.must(json.Unmarshal([]byte(got.body), &body))
		return body.Owner + " " + strings.Join(body.Roles, ",")
	}
	for what, c := range map[string]struct{ authorization, want string }{
		"Basic":                         {s.of("alice"), "local/alice reader,writer"},
		"Bearer":                        {bearer(s.users["alice"].Secret), "local/alice reader,writer"},
		"our own access token":          {bearer(s.exchange(self).Text), "local/admin tokenctl:auditor"}, // narrowed
		"an access token of another":    {bearer(s.exchange(other).Text), "Unauthorized"},
		"a refresh token":               {bearer(self.Secret), "Unauthorized"},
		"nothing":                       {"", "Unauthorized"},
		"a wrong password":              {basic("alice", "secret"), "Unauthorized"},
		"a name like a code":            {basic("maxwagenknechter", "correct horse battery"), "local/maxwagenknechter "},
		"its wrong password":            {basic("maxwagenknechter", "secret"), "Unauthorized"},
		"a passcode of no such code":    {basic("maxwagenknechter", s.users["alice"].Secret.Reveal()), "Unauthorized"},
		"a code without its passcode":   {basic(s.users["alice"].Token.ID.String(), ""), "Unauthorized"},
		"the passcode as a user's name": {basic(s.users["alice"].Secret.Reveal(), ""), "Unauthorized"},
	} {
		if got := who(c.authorization); got != c.want {
			t.Errorf("%s: %q, want %q", what, got, c.want)
		}
	}
	if got := s.get("/api/v1/whoami", ""); len(got.header.Values("WWW-Authenticate")) != 2 || !strings.Contains(got.body, "password") {
		t.Errorf("%v %s", got.header, got.body)
	}
	// A narrowed credential makes nothing wider.
	narrow := bearer(s.exchange(self).Text)
	s.wants("a user token by a narrowed one", s.postRaw("/api/v1/tokens", narrow, "application/json", `{"kind":"user","owner":"local/bob"}`), 403)
	s.wants("an account by a narrowed one", s.postRaw("/api/v1/accounts", narrow, "application/json", `{"owner":"local/eve","roles":["tokenctl:admin"]}`), 403)
	log := s.log.String()
	if !strings.Contains(log, `"caller":"local/alice"`) || secret.Contains(log) {
		t.Errorf("the log: %s", log)
	}
}

func TestMetadata(t *testing.T) {
	s := newSite(t)
	got := s.get("/.well-known/oauth-authorization-server", "")
	s.wants("metadata", got, 200)
	var body map[string]any
	s.must(json.Unmarshal([]byte(got.body), &body))
	if body["issuer"] != "http://127.0.0.1:8470" || body["token_endpoint"] != "http://127.0.0.1:8470/oauth2/token" {
		t.Errorf("%v", body)
	}
	for name, want := range map[string]string{
		"token_endpoint_auth_methods_supported":         "none client_secret_basic client_secret_post",
		"revocation_endpoint_auth_methods_supported":    "none client_secret_basic client_secret_post",
		"introspection_endpoint_auth_methods_supported": "client_secret_basic client_secret_post",
	} {
		if got := strings.Trim(fmt.Sprint(body[name]), "[]"); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	s.wants("of an issuer that is not here", s.get("/.well-known/oauth-authorization-server/elsewhere", ""), 404)
	_, err := s.root.SetPolicy(t.Context(), map[string]string{"issuer": "https://sso.example.org/tokens"})
	s.must(err)
	s.wants("an issuer with a path", s.get("/.well-known/oauth-authorization-server/tokens", ""), 200)
	got = s.get("/.well-known/jwks.json", "")
	s.wants("the keys", got, 200)
	var keys struct{ Keys []map[string]any }
	s.must(json.Unmarshal([]byte(got.body), &keys))
	if len(keys.Keys) < 2 || got.header.Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("%d keys, %v", len(keys.Keys), got.header)
	}
	for _, k := range keys.Keys {
		if _, private := k["d"]; private || k["kid"] == "" {
			t.Errorf("%v", k)
		}
	}
}
