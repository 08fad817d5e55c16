package httpapi_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/authority/authoritytest"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// corp has the JWTs of an issuer accepted, and the subject a-1 be alice.
func (s *site) corp() *authoritytest.Issuer {
	s.Helper()
	i := authoritytest.NewIssuer(s.T, "https://login.example.org", s.clock)
	p := i.Provider("corp")
	p.Unlinked, p.ClientID = true, "cli"
	_, err := s.root.AddProvider(s.Context(), p)
	s.must(err)
	_, err = s.root.LinkIdentity(s.Context(), owner("alice"), "corp", "a-1")
	s.must(err)
	return i
}

func TestVerifyTakesProvidersJWTs(t *testing.T) {
	s := newSite(t)
	i := s.corp()
	got := s.get("/verify", "Bearer "+i.JWT(t, "a-1", nil).Reveal())
	s.wants("of a linked subject", got, http.StatusOK)
	for name, want := range map[string]string{"X-Auth-User": "local/alice", "X-Auth-Kind": "federated", "X-Auth-Token": "", "X-Auth-Roles": "reader,writer", "X-Auth-Realm": "local"} {
		if got.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
		}
	}
	if !strings.Contains(got.body, `"kind":"federated","id":null,"owner":"local/alice"`) {
		t.Errorf("the answer is %s", got.body)
	}
	eve := i.JWT(t, "eve", nil).Reveal()
	s.wants("of a subject without an account", s.get("/verify/connection/billing", "Bearer "+eve), http.StatusOK)
	s.wants("a role that she lacks", s.get("/verify/role/reader", "Bearer "+eve), http.StatusForbidden)
	s.wants("of somebody else's audience", s.get("/verify", "Bearer "+i.JWT(t, "a-1", map[string]any{"aud": "x"}).Reveal()), http.StatusUnauthorized)
	s.wants("a user token beside it", s.get("/verify", s.of("bob")), http.StatusOK)
	// /verify changes nothing.
	if _, err := s.root.Account(t.Context(), token.Owner{Realm: "corp", Name: "eve"}); err == nil {
		t.Error("a question has made an account")
	}
}

// A JWT is who asks, and makes the account of somebody who was never here.
func TestProvidersJWTIsACaller(t *testing.T) {
	s := newSite(t)
	i := s.corp()
	ask := func(method, path, jwt, body string) (answer, map[string]any) {
		got := s.ask(method, path, "Bearer "+jwt, body)
		var m map[string]any
		json.Unmarshal([]byte(got.body), &m) // not every body is JSON
		return got, m
	}
	_, me := ask("GET", "/api/v1/whoami", i.JWT(t, "a-1", nil).Reveal(), "")
	if me["owner"] != "local/alice" {
		t.Errorf("a linked subject is %v", me)
	}
	_, me = ask("GET", "/api/v1/whoami", i.JWT(t, "eve", nil).Reveal(), "")
	if me["owner"] != "corp/eve" {
		t.Errorf("a subject who was never here is %v", me)
	}
	got, made := ask("POST", "/api/v1/tokens", i.JWT(t, "eve", nil).Reveal(), `{"kind":"user"}`)
	s.wants("a user token", got, http.StatusCreated)
	end, err := time.Parse(time.RFC3339, made["expires_at"].(string))
	if err != nil || end.Sub(s.clock()) > 90*token.Day {
		t.Errorf("it lives until %v, %v", made["expires_at"], err)
	}
	// Nobody can be asked about eve: what her token makes ends with it.
	s.wait(80 * token.Day)
	s.must(setPolicy(s, "refresh_tokens", "everyone"))
	pair := basic(made["user_code"].(string), made["pass_code"].(string))
	refresh := s.ask("POST", "/api/v1/tokens", pair, `{"kind":"refresh","lifetime":"60d"}`)
	s.wants("a refresh token", refresh, http.StatusCreated)
	var r map[string]any
	s.must(json.Unmarshal([]byte(refresh.body), &r))
	if r["expires_at"] != made["expires_at"] {
		t.Errorf("a token outlives what it was made with: %v, %v", r["expires_at"], made["expires_at"])
	}
	got, _ = ask("GET", "/api/v1/whoami", i.JWT(t, "eve", map[string]any{"exp": s.clock().Add(-time.Hour).Unix()}).Reveal(), "")
	s.wants("an expired one", got, http.StatusUnauthorized)
	got, body := ask("GET", "/api/v1/login-providers", "", "")
	s.wants("whom to log in at", got, http.StatusOK)
	if p := body["providers"].([]any)[0].(map[string]any); p["client_id"] != "cli" || p["audience"] != authoritytest.Audience || len(p) != 4 {
		t.Errorf("a stranger is told %v", body)
	}
}

func setPolicy(s *site, name, value string) error {
	_, err := s.root.SetPolicy(s.Context(), map[string]string{name: value})
	return err
}

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	jwtType       = "urn:ietf:params:oauth:token-type:jwt"
	accessType    = "urn:ietf:params:oauth:token-type:access_token"
)

// RFC 8693 §2.
func TestTokenExchange(t *testing.T) {
	s := newSite(t)
	i := s.corp()
	jwt := i.JWT(t, "a-1", nil).Reveal()
	ask := func(fields ...string) answer {
		return s.post("/oauth2/token", "", append([]string{"grant_type", exchangeGrant}, fields...)...)
	}
	subject := func(text string, fields ...string) answer {
		return ask(append([]string{"subject_token", text, "subject_token_type", jwtType}, fields...)...)
	}
	var body struct {
		AccessToken string `json:"access_token"`
		IssuedType  string `json:"issued_token_type"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		Scope       string
	}
	for what, fields := range map[string][]string{
		"nothing more":           nil,
		"the client":             {"client_id", "default"},
		"the audience":           {"audience", "urn:tokenctl:default", "resource", "urn:tokenctl:default"},
		"the type that is given": {"requested_token_type", accessType},
		"all of the scope":       {"scope", "writer reader"},
	} {
		got := subject(jwt, fields...)
		s.wants(what, got, http.StatusOK)
		s.must(json.Unmarshal([]byte(got.body), &body))
		if body.IssuedType != accessType || body.TokenType != "Bearer" || body.ExpiresIn != 3600 || body.Scope != "reader writer" {
			t.Errorf("%s: %s", what, got.body)
		}
		s.wants("what came of it", s.get("/verify", "Bearer "+body.AccessToken), http.StatusOK)
	}
	wide := body.AccessToken
	narrow := subject(wide, "scope", "reader")
	s.wants("a narrower one", narrow, http.StatusOK)
	s.must(json.Unmarshal([]byte(narrow.body), &body))
	s.fails("a wider one again", subject(body.AccessToken, "scope", "reader writer"), 400, "invalid_scope")

	s.fails("no subject", ask("subject_token_type", jwtType), 400, "invalid_request")
	s.fails("no type", ask("subject_token", jwt), 400, "invalid_request")
	s.fails("another type", ask("subject_token", jwt, "subject_token_type", "urn:ietf:params:oauth:token-type:saml2"), 400, "invalid_request")
	s.fails("delegation", subject(jwt, "actor_token", jwt, "actor_token_type", jwtType), 400, "invalid_request")
	s.fails("a refresh token is asked for", subject(jwt, "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), 400, "invalid_request")
	s.fails("another audience", subject(jwt, "audience", "urn:x"), 400, "invalid_target")
	s.fails("two audiences", subject(jwt, "audience", "urn:tokenctl:default", "resource", "urn:x"), 400, "invalid_target")
	s.fails("a role that nobody has", subject(jwt, "scope", "boss"), 400, "invalid_scope")
	s.fails("a JWT that is not for us", subject(i.JWT(t, "a-1", map[string]any{"aud": "x"}).Reveal()), 400, "invalid_request")
	s.fails("no JWT", subject("x"), 400, "invalid_request")
	s.fails("a user token", subject(s.users["alice"].Secret.Reveal()), 400, "invalid_request")

	s.wants("revoked", s.post("/oauth2/revoke", "", "token", body.AccessToken), http.StatusOK)
	s.wants("the wide one ends with the narrow one", s.get("/verify", "Bearer "+wide), http.StatusUnauthorized)
	s.fails("a provider's JWT cannot be revoked here", s.post("/oauth2/revoke", "", "token", jwt), 400, "unsupported_token_type")

	forged := jwt[:strings.LastIndex(jwt, ".")+1] + "AAAA"
	s.wants("whoever makes one up learns nothing", s.post("/oauth2/revoke", "", "token", forged), http.StatusOK)

	got := s.post("/oauth2/introspect", s.of("proxy"), "token", jwt)
	s.wants("introspection", got, http.StatusOK)
	var in map[string]any
	s.must(json.Unmarshal([]byte(got.body), &in))
	if in["active"] != true || in["sub"] != "local/alice" || in["iss"] != "https://login.example.org" || in["idp"] != "corp" || in["aud"] != authoritytest.Audience || in["iat"] == nil || in["nbf"] != nil || in["tid"] != nil || in["token_type"] != "Bearer" {
		t.Errorf("introspection says %s", got.body)
	}
}

// What a client does not know of a provider or a connection stays as it is.
func TestPutLeavesWhatIsLeftOut(t *testing.T) {
	s := newSite(t)
	s.corp()
	p, err := s.root.Provider(t.Context(), "corp")
	s.must(err)
	p.Disabled, p.Algorithms = true, []token.Algorithm{token.EdDSA}
	p, err = s.root.SetProvider(t.Context(), p)
	s.must(err)
	s.wants("a provider", s.ask("PUT", "/api/v1/providers/corp", s.of("admin"), `{"leeway":"30s"}`), http.StatusOK)
	now, err := s.root.Provider(t.Context(), "corp")
	s.must(err)
	p.Leeway, p.Revision = 30*time.Second, now.Revision
	if diff := cmp.Diff(p, now); diff != "" {
		t.Error(diff)
	}
	// Nothing of a list that was there shines through one that is said.
	p = now
	p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "admins", Role: token.Admin}}
	p.Require = []token.ClaimValue{{Claim: "team", Value: "blue"}}
	_, err = s.root.SetProvider(t.Context(), p)
	s.must(err)
	s.wants("a mapping to no role", s.ask("PUT", "/api/v1/providers/corp", s.of("admin"), `{"role_map":[{"from":"everyone"}]}`), http.StatusBadRequest)
	s.wants("a claim of no value", s.ask("PUT", "/api/v1/providers/corp", s.of("admin"), `{"require":[{"claim":"team"}]}`), http.StatusBadRequest)
	svc := token.NewService("imap")
	svc.Enabled, svc.DisplayName = true, "Mail"
	svc, err = s.root.AddService(t.Context(), svc)
	s.must(err)
	s.wants("a service", s.ask("PUT", "/api/v1/services/imap", s.of("admin"), `{"realm":"corp"}`), http.StatusOK)
	changed, err := s.root.Service(t.Context(), "imap")
	s.must(err)
	svc.Realm, svc.Revision = "corp", changed.Revision
	if diff := cmp.Diff(svc, changed); diff != "" {
		t.Error(diff)
	}
	c := token.NewConnection("crm")
	c.Rotate, c.Roles = true, []token.Role{"reader"}
	c, err = s.root.AddConnection(t.Context(), c)
	s.must(err)
	s.wants("a connection", s.ask("PUT", "/api/v1/connections/crm", s.of("admin"), `{"access_lifetime":"5m"}`), http.StatusOK)
	then, err := s.root.Connection(t.Context(), "crm")
	s.must(err)
	c.AccessLifetime, c.Revision = 5*time.Minute, then.Revision
	if diff := cmp.Diff(c, then); diff != "" {
		t.Error(diff)
	}
}

// A client that is not accepted is that, and no fault of the subject token.
func TestTokenExchangeOfAConfidentialClient(t *testing.T) {
	s := newSite(t)
	i := s.corp()
	c, err := s.root.Connection(t.Context(), "default")
	s.must(err)
	c.AuthMethod = token.AuthPost
	_, err = s.root.SetConnection(t.Context(), c)
	s.must(err)
	_, plain, err := s.root.RenewClientSecret(t.Context(), "default")
	s.must(err)
	ask := func(fields ...string) answer {
		return s.post("/oauth2/token", "", append([]string{"grant_type", exchangeGrant, "subject_token", i.JWT(t, "a-1", nil).Reveal(), "subject_token_type", jwtType}, fields...)...)
	}
	s.fails("no client", ask(), 401, "invalid_client")
	s.fails("no secret", ask("client_id", "default"), 401, "invalid_client")
	s.wants("the secret", ask("client_id", "default", "client_secret", plain.Reveal()), http.StatusOK)
}
