package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

const basicChallenge = `Basic realm="tokenctl", charset="UTF-8"`

// client makes a connection whose clients authenticate by a method, and a refresh
// token of it.
func (s *site) client(name string, m token.AuthMethod) (plain string, r authority.Issued) {
	s.Helper()
	c := token.NewConnection(name)
	c.AuthMethod = m
	_, err := s.root.AddConnection(s.Context(), c)
	s.must(err)
	if c.Confidential() {
		_, made, err := s.root.RenewClientSecret(s.Context(), name)
		s.must(err)
		plain = made.Reveal()
	}
	return plain, s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Connection: name, Roles: []token.Role{"reader"}})
}

// asClient is the header of client_secret_basic: each half form-urlencoded.
func asClient(id, plain string) string { return basic(url.QueryEscape(id), url.QueryEscape(plain)) }

// refused are requests of clients that are not accepted, and the answers.
type refused struct {
	authorization string
	fields        []string
	status        int
	body          string
}

const (
	notAccepted = `{"error":"invalid_client","error_description":"the client is not accepted"}`
	twoWays     = `{"error":"invalid_request","error_description":"the client authenticates in two ways at once"}`
	notTheSame  = `{"error":"invalid_request","error_description":"the client_id is not that of the Authorization header"}`
	notBasic    = `{"error":"invalid_client","error_description":"the Authorization header is not Basic with client_id and client_secret, each form-urlencoded"}`
	noAssertion = `{"error":"invalid_client","error_description":"no client of this server authenticates by an assertion"}`
	noID        = `{"error":"invalid_client","error_description":"the client_id is missing"}`
)

func TestClientAuthentication(t *testing.T) {
	s := newSite(t)
	basicSecret, basicToken := s.client("crm:eu", token.AuthBasic)
	postSecret, postToken := s.client("post", token.AuthPost)
	publicSecret, publicToken := secret.New(secret.ClientSecret, secret.NewID(s.clock())).Reveal(), s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice")})
	none := token.NewConnection("none-yet")
	none.AuthMethod = token.AuthPost
	_, err := s.root.AddConnection(t.Context(), none)
	s.must(err)

	refusals := map[string]refused{
		"a wrong secret, basic":                 {asClient("crm:eu", postSecret), nil, 401, notAccepted},
		"a wrong secret, post":                  {"", []string{"client_id", "post", "client_secret", basicSecret}, 401, notAccepted},
		"a secret that is none":                 {"", []string{"client_id", "post", "client_secret", "x"}, 401, notAccepted},
		"no secret, basic":                      {"", []string{"client_id", "crm:eu"}, 401, notAccepted},
		"no secret, post":                       {"", []string{"client_id", "post"}, 401, notAccepted},
		"an empty secret, basic":                {asClient("crm:eu", ""), nil, 401, notAccepted},
		"an empty secret, post":                 {"", []string{"client_id", "post", "client_secret", ""}, 401, notAccepted},
		"an unknown client":                     {"", []string{"client_id", "nobody"}, 401, notAccepted},
		"an unknown client with a secret":       {"", []string{"client_id", "nobody", "client_secret", postSecret}, 401, notAccepted},
		"an unknown client with a secret, too":  {asClient("nobody", postSecret), nil, 401, notAccepted},
		"basic is registered, post is used":     {"", []string{"client_id", "crm:eu", "client_secret", basicSecret}, 401, notAccepted},
		"post is registered, basic is used":     {asClient("post", postSecret), nil, 401, notAccepted},
		"a secret of a public client":           {"", []string{"client_id", "default", "client_secret", publicSecret}, 401, notAccepted},
		"an empty secret of a public client":    {"", []string{"client_id", "default", "client_secret", ""}, 401, notAccepted},
		"a public client by basic":              {asClient("default", publicSecret), nil, 401, notAccepted},
		"a public client by basic, empty":       {asClient("default", ""), nil, 401, notAccepted},
		"before there is a secret":              {"", []string{"client_id", "none-yet", "client_secret", postSecret}, 401, notAccepted},
		"two ways":                              {asClient("crm:eu", basicSecret), []string{"client_secret", basicSecret}, 400, twoWays},
		"two ways, of two clients":              {asClient("crm:eu", basicSecret), []string{"client_id", "post", "client_secret", postSecret}, 400, twoWays},
		"two ways, the second empty":            {asClient("crm:eu", basicSecret), []string{"client_secret", ""}, 400, twoWays},
		"another client_id than in the header":  {asClient("crm:eu", basicSecret), []string{"client_id", "post"}, 400, notTheSame},
		"an empty client_id beside the header":  {asClient("crm:eu", basicSecret), []string{"client_id", ""}, 400, notTheSame},
		"basic that is not encoded":             {basic("crm%zz", basicSecret), nil, 401, notBasic},
		"a colon that is not encoded":           {basic("crm:eu", basicSecret), nil, 401, notAccepted}, // so the client is crm
		"no colon":                              {"Basic Y3Jt", nil, 401, notBasic},
		"no base64":                             {"Basic crm", nil, 401, notBasic},
		"a Bearer":                              {"Bearer " + basicSecret, nil, 401, notBasic},
		"an assertion":                          {"", []string{"client_id", "post", "client_assertion", "a.b.c"}, 401, noAssertion},
		"the type of an assertion":              {asClient("crm:eu", basicSecret), []string{"client_assertion_type", "urn:x"}, 401, noAssertion},
		"a secret without a client":             {"", []string{"client_secret", postSecret}, 401, noID},
		"a secret without a client, by basic":   {basic("", basicSecret), nil, 401, noID},
		"a user where a client belongs":         {s.of("alice"), nil, 401, notAccepted},
		"a user where a client belongs, a form": {"", []string{"client_id", s.users["alice"].Token.ID.String(), "client_secret", s.users["alice"].Secret.Reveal()}, 401, notAccepted},
	}
	// The log has room for some refusals in a second: these are to be among them.
	for _, what := range []string{"a wrong secret, basic", "a public client by basic", "an unknown client"} {
		s.post("/oauth2/token", refusals[what].authorization, append(slices.Clone(refusals[what].fields), "grant_type", "refresh_token", "refresh_token", "x")...)
	}
	refuse := func(path string, fields ...string) {
		t.Helper()
		for what, c := range refusals {
			got := s.post(path, c.authorization, append(slices.Clone(c.fields), fields...)...)
			s.wants(path+", "+what, got, c.status)
			if strings.TrimSpace(got.body) != c.body {
				t.Errorf("%s, %s: %s, want %s", path, what, got.body, c.body)
			}
			// RFC 6749 §5.2, RFC 9110 §11.6.1: with 401 alone, and no Bearer, which is not for clients.
			want := []string{basicChallenge}
			if c.status != 401 {
				want = nil
			}
			if challenges := got.header.Values("WWW-Authenticate"); !slices.Equal(challenges, want) || got.header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s, %s: %q", path, what, got.header)
			}
		}
	}
	all := []authority.Issued{basicToken, postToken, publicToken}
	for _, r := range all {
		// Whatever else is wrong with the request, the client comes first.
		refuse("/oauth2/token", "grant_type", "refresh_token", "refresh_token", r.Secret.Reveal())
		refuse("/oauth2/revoke", "token", r.Secret.Reveal())
	}
	refuse("/oauth2/token", "grant_type", "refresh_token", "refresh_token", "garbage", "scope", "re/ader")
	refuse("/oauth2/token", "grant_type", "password")
	for _, r := range all {
		if got, err := s.root.Get(t.Context(), r.Token.ID); err != nil || got.Status != token.Active || !got.LastUsedAt.IsZero() {
			t.Errorf("after all that %s is %s, last used %s, %v", got.Connection, got.Status, got.LastUsedAt, err)
		}
	}

	grant := func(r authority.Issued, authorization string, fields ...string) answer {
		return s.post("/oauth2/token", authorization, append([]string{"grant_type", "refresh_token", "refresh_token", r.Secret.Reveal()}, fields...)...)
	}
	for what, got := range map[string]answer{
		"basic":                      grant(basicToken, asClient("crm:eu", basicSecret)),
		"basic and the same in both": grant(basicToken, asClient("crm:eu", basicSecret), "client_id", "crm:eu"),
		"basic in other letters":     grant(basicToken, "bAsIc"+strings.TrimPrefix(asClient("crm:eu", basicSecret), "Basic")),
		"post":                       grant(postToken, "", "client_id", "post", "client_secret", postSecret),
		"public":                     grant(publicToken, "", "client_id", "default"),
		"public without a name":      grant(publicToken, ""),
	} {
		s.wants(what, got, http.StatusOK)
		if challenges := got.header.Values("WWW-Authenticate"); challenges != nil {
			t.Errorf("%s: %q", what, challenges)
		}
	}
	// Without a client_id it is the client of the token, once that is accepted.
	for what, r := range map[string]authority.Issued{"basic": basicToken, "post": postToken} {
		s.fails(what+" without a name", grant(r, ""), 401, "invalid_client")
	}
	s.fails("garbage without a name", s.post("/oauth2/token", "", "grant_type", "refresh_token", "refresh_token", "garbage"), 400, "invalid_grant")
	// A client that is right, with what is not its own or no good.
	s.fails("another client's token", grant(postToken, asClient("crm:eu", basicSecret)), 400, "invalid_grant")
	s.fails("a confidential client's token", grant(postToken, "", "client_id", "default"), 400, "invalid_grant")
	s.fails("garbage", s.post("/oauth2/token", asClient("crm:eu", basicSecret), "grant_type", "refresh_token", "refresh_token", "garbage"), 400, "invalid_grant")
	s.fails("another grant", s.post("/oauth2/token", asClient("crm:eu", basicSecret), "grant_type", "password"), 400, "unsupported_grant_type")

	// Who is right about the client learns why, and the log has no secret.
	if log := s.log.String(); !strings.Contains(log, "wrong_client_secret") || !strings.Contains(log, "wrong_client_method") || !strings.Contains(log, "unknown_client") || !strings.Contains(log, `"client crm:eu"`) || secret.Contains(log) {
		t.Errorf("the log: %s", log)
	}
}

func TestClientRevokes(t *testing.T) {
	s := newSite(t)
	basicSecret, a := s.client("crm", token.AuthBasic)
	postSecret, b := s.client("post", token.AuthPost)
	_, c := s.client("public", token.AuthNone)
	status := func(r authority.Issued) token.Status {
		t.Helper()
		got, err := s.root.Get(t.Context(), r.Token.ID)
		s.must(err)
		return got.Status
	}
	s.fails("another client's", s.post("/oauth2/revoke", asClient("crm", basicSecret), "token", b.Secret.Reveal()), 400, "invalid_grant")
	s.fails("a client that does not say its secret", s.post("/oauth2/revoke", "", "token", b.Secret.Reveal(), "client_id", "post"), 401, "invalid_client")
	if status(b) != token.Active {
		t.Error("a client that is not accepted has revoked a token")
	}
	s.wants("basic", s.post("/oauth2/revoke", asClient("crm", basicSecret), "token", a.Secret.Reveal()), 200)
	s.wants("post", s.post("/oauth2/revoke", "", "token", b.Secret.Reveal(), "client_id", "post", "client_secret", postSecret), 200)
	s.wants("public", s.post("/oauth2/revoke", "", "token", c.Secret.Reveal(), "client_id", "public"), 200)
	s.wants("what is no token", s.post("/oauth2/revoke", asClient("crm", basicSecret), "token", "garbage"), 200)
	// Having it is the right to end it.
	d := s.generate(token.Spec{Kind: token.Refresh, Owner: owner("alice"), Connection: "crm"})
	s.wants("nobody", s.post("/oauth2/revoke", "", "token", d.Secret.Reveal()), 200)
	for what, r := range map[string]authority.Issued{"basic": a, "post": b, "public": c, "nobody": d} {
		if got := status(r); got != token.Revoked {
			t.Errorf("%s: it is %s", what, got)
		}
	}
}

func TestClientIntrospects(t *testing.T) {
	s := newSite(t)
	plain, own := s.client("crm", token.AuthBasic)
	postSecret, other := s.client("post", token.AuthPost)
	access, err := s.root.Exchange(t.Context(), authority.Exchange{RefreshToken: own.Secret, ClientSecret: secret.FromText(plain)})
	s.must(err)
	for what, c := range map[string]struct {
		got    answer
		active bool
	}{
		"its refresh token":            {s.post("/oauth2/introspect", asClient("crm", plain), "token", own.Secret.Reveal()), true},
		"its access token":             {s.post("/oauth2/introspect", asClient("crm", plain), "token", access.Text.Reveal(), "client_id", "crm"), true},
		"its own, by post":             {s.post("/oauth2/introspect", "", "token", other.Secret.Reveal(), "client_id", "post", "client_secret", postSecret), true},
		"another's refresh token":      {s.post("/oauth2/introspect", asClient("crm", plain), "token", other.Secret.Reveal()), false},
		"another's access token":       {s.post("/oauth2/introspect", "", "token", access.Text.Reveal(), "client_id", "post", "client_secret", postSecret), false},
		"a user token":                 {s.post("/oauth2/introspect", asClient("crm", plain), "token", s.users["alice"].Secret.Reveal()), false},
		"a password at a service":      {s.post("/oauth2/introspect", asClient("crm", plain), "token", "x", "username", "alice", "service", "imap"), false},
		"its own secret":               {s.post("/oauth2/introspect", asClient("crm", plain), "token", plain), false},
		"garbage":                      {s.post("/oauth2/introspect", asClient("crm", plain), "token", "garbage"), false},
		"a client's token, for admins": {s.post("/oauth2/introspect", s.of("proxy"), "token", own.Secret.Reveal()), true},
	} {
		s.wants(what, c.got, 200)
		var body struct {
			Active bool
			Client string `json:"client_id"`
		}
		s.must(json.Unmarshal([]byte(c.got.body), &body))
		if body.Active != c.active || !c.active && strings.TrimSpace(c.got.body) != `{"active":false}` {
			t.Errorf("%s: %s", what, c.got.body)
		}
	}
	wrong := secret.New(secret.ClientSecret, secret.NewID(s.clock())).Reveal()
	for what, c := range map[string]refused{
		"a wrong secret":         {asClient("crm", wrong), nil, 401, notAccepted},
		"the wrong method":       {"", []string{"client_id", "crm", "client_secret", plain}, 401, notAccepted},
		"the wrong method, too":  {asClient("post", postSecret), nil, 401, notAccepted},
		"an unknown client":      {asClient("nobody", plain), nil, 401, notAccepted},
		"a public client":        {"", []string{"client_id", "default", "client_secret", ""}, 401, notAccepted},
		"two ways":               {asClient("crm", plain), []string{"client_secret", plain}, 400, twoWays},
		"a user and a secret":    {s.of("proxy"), []string{"client_id", "post", "client_secret", postSecret}, 400, twoWays},
		"another name in a form": {asClient("crm", plain), []string{"client_id", "post"}, 400, notTheSame},
		"a secret alone":         {"", []string{"client_secret", plain}, 401, noID},
	} {
		got := s.post("/oauth2/introspect", c.authorization, append(c.fields, "token", own.Secret.Reveal())...)
		s.wants(what, got, c.status)
		if strings.TrimSpace(got.body) != c.body {
			t.Errorf("%s: %s, want %s", what, got.body, c.body)
		}
		if challenges := got.header.Values("WWW-Authenticate"); (c.status == 401) != slices.Equal(challenges, []string{basicChallenge}) {
			t.Errorf("%s: %q", what, challenges)
		}
	}
	// A public client shows nothing by which it could be told from others.
	got := s.post("/oauth2/introspect", "", "token", own.Secret.Reveal(), "client_id", "default")
	s.fails("a public client", got, 401, "invalid_client")
	if challenges := got.header.Values("WWW-Authenticate"); len(challenges) != 2 {
		t.Errorf("a caller is asked for %q", challenges)
	}
	s.fails("a client secret is no caller's", s.post("/oauth2/introspect", "Bearer "+plain, "token", own.Secret.Reveal()), 401, "invalid_client")
	s.wants("a client as a caller of the API", s.get("/api/v1/whoami", asClient("crm", plain)), 401)
	s.wants("a client secret as a passcode", s.get("/verify", basic(own.Token.ID.String(), plain)), 401)
	s.wants("a client secret as a Bearer", s.get("/verify", "Bearer "+plain), 401)
}

// A connection whose auth_method is left out of a change keeps it, and no answer
// but that of the renewal has the secret.
func TestConnectionSecretOverTheAPI(t *testing.T) {
	s := newSite(t)
	ask := func(method, path, body string) (got answer, fields map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, s.URL+"/api/v1/connections"+path, strings.NewReader(body))
		r.Header.Set("Authorization", s.of("admin"))
		if body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		r.Header.Set("Idempotency-Key", "a-key-of-the-test-"+method+path)
		got = s.send(r, err)
		_ = json.Unmarshal([]byte(got.body), &fields)
		return got, fields
	}
	got, fields := ask("POST", "", `{"name":"crm","auth_method":"client_secret_post","secret_since":"2020-01-01T00:00:00Z"}`)
	s.wants("add", got, 201)
	if fields["auth_method"] != "client_secret_post" || fields["secret_since"] != nil {
		t.Errorf("add: %s", got.body)
	}
	got, fields = ask("POST", "/crm/secret", "")
	s.wants("secret", got, 200)
	first, _ := fields["client_secret"].(string)
	if text, err := secret.Parse(first); err != nil || text.Form != secret.ClientSecret || fields["name"] != "crm" || fields["secret_since"] == nil {
		t.Errorf("secret: %s", got.body)
	}
	got, fields = ask("POST", "/crm/secret", "") // with the same key
	s.wants("the same again", got, 200)
	if fields["client_secret"] != first {
		t.Errorf("a repeated request gets another secret")
	}
	for _, method := range []string{"GET", "PUT"} {
		body := ""
		if method == "PUT" {
			body = `{"access_lifetime":"5m"}`
		}
		got, fields = ask(method, "/crm", body)
		s.wants(method, got, 200)
		if fields["auth_method"] != "client_secret_post" || fields["secret_since"] == nil || fields["client_secret"] != nil || secret.Contains(got.body) {
			t.Errorf("%s: %s", method, got.body)
		}
	}
	got, fields = ask("PUT", "/crm", `{"auth_method":"none"}`)
	s.wants("none", got, 200)
	if fields["auth_method"] != "none" || fields["secret_since"] != nil {
		t.Errorf("none: %s", got.body)
	}
	got, _ = ask("PUT", "/crm", `{"auth_method":"private_key_jwt"}`)
	s.wants("a method that is not ours", got, 400)
	got, _ = ask("PUT", "/crm", `{"client_secret":"x"}`)
	s.wants("a secret of one's own", got, 400)
	s.wants("of a public one", s.postRaw("/api/v1/connections/default/secret", s.of("admin"), "", ""), 409)
	s.wants("by a user", s.postRaw("/api/v1/connections/crm/secret", s.of("alice"), "", ""), 403)
	s.wants("by a stranger", s.postRaw("/api/v1/connections/crm/secret", "", "", ""), 401)
}
