package idp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
	"github.com/tokenctl/tokenctl/testdata/oidc"
)

func client(s *oidc.Server) Client {
	return Client{Issuer: s.Issuer, ClientID: oidc.Public, Audience: oidc.Audience}
}

// browser has somebody of a name open a page, and returns at once.
func browser(t testing.TB, name string) func(string) error {
	return func(page string) error {
		done := make(chan struct{})
		t.Cleanup(func() { <-done })
		go func() {
			defer close(done)
			if _, err := oidc.Person(name, page); err != nil {
				t.Error(err)
			}
		}()
		return nil
	}
}

// isLogin checks that what a log-in gave is accepted where tokens are kept.
func isLogin(t testing.TB, server *oidc.Server, got secret.Secret, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if v := accepted(t, setOf(t, time.Now, forServer(server)), got.Reveal()); v.Subject != "alice" {
		t.Errorf("%+v", v)
	}
}

// fails checks that a log-in gives nothing, and says why.
func fails(t testing.TB, got secret.Secret, err, kind error, why string) {
	t.Helper()
	if !errors.Is(err, kind) || !strings.Contains(fmt.Sprint(err), why) || !got.IsZero() {
		t.Errorf("the error is %v, want a %v with %q", err, kind, why)
	}
}

func TestDeviceLogin(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	got, err := client(server).DeviceLogin(t.Context(), func(p Prompt) error {
		if p.URL != server.Issuer+"/device" || p.Code == "" || !strings.Contains(p.CompleteURL, p.Code) || time.Until(p.ExpiresAt) > 10*time.Minute {
			t.Errorf("%+v", p)
		}
		return browser(t, "alice")(p.CompleteURL)
	})
	isLogin(t, server, got, err)
}

func TestBrowserLogin(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	server.Sign("ES256")
	got, err := client(server).BrowserLogin(t.Context(), browser(t, "alice"))
	isLogin(t, server, got, err)
}

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	changed := func(change func(*Client)) Client {
		c := client(server)
		change(&c)
		return c
	}
	never := func(Prompt) error { t.Error("it asked to log in"); return nil }
	for _, c := range []struct {
		name   string
		client Client
		kind   error
		why    string
	}{
		{"no client", changed(func(c *Client) { c.ClientID = "" }), token.ErrUsage, "no client id"},
		{"an unknown client", changed(func(c *Client) { c.ClientID = "nobody" }), token.ErrRefused, "invalid_client"},
		{"another issuer", changed(func(c *Client) { c.Issuer += "/" }), token.ErrUsage, "calls itself"},
		{"nobody there", changed(func(c *Client) { c.Issuer = "http://127.0.0.1:1" }), token.ErrCannotTell, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.client.DeviceLogin(t.Context(), never)
			fails(t, got, err, c.kind, c.why)
		})
	}
	// A provider that does not know us as an API gives what is no JWT.
	opaque := changed(func(c *Client) { c.Audience = oidc.Opaque })
	got, err := opaque.BrowserLogin(t.Context(), browser(t, "alice"))
	fails(t, got, err, token.ErrRefused, "no JWT")

	ctx, cancel := context.WithCancel(t.Context())
	got, err = client(server).DeviceLogin(ctx, func(Prompt) error { cancel(); return nil })
	fails(t, got, err, token.ErrCannotTell, "given up")
	ctx, cancel = context.WithCancel(t.Context())
	got, err = client(server).BrowserLogin(ctx, func(string) error { cancel(); return nil })
	fails(t, got, err, token.ErrCannotTell, "given up")
	oops := errors.New("oops")
	got, err = client(server).BrowserLogin(t.Context(), func(string) error { return oops })
	fails(t, got, err, oops, "oops")
	got, err = client(server).DeviceLogin(t.Context(), func(Prompt) error { return oops })
	fails(t, got, err, oops, "oops")
}

// What every page on this machine can send to the open port ends no log-in, and
// what pretends to be the provider's answer gives no token.
func TestBrowserLoginAttacked(t *testing.T) {
	t.Parallel()
	server := oidc.Start(t, oidc.Options{})
	get := func(address, host string, q url.Values) int {
		r, err := http.NewRequest("GET", address+"?"+q.Encode(), nil)
		must(t, err)
		r.Host = host
		response, err := http.DefaultClient.Do(r)
		must(t, err)
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
		return response.StatusCode
	}
	var state, back string
	opened := func(then func()) func(string) error {
		return func(page string) error {
			u, err := url.Parse(page)
			must(t, err)
			q := u.Query()
			state, back = q.Get("state"), q.Get("redirect_uri")
			if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("nonce")) < 20 || len(state) < 20 || q.Get("resource") != oidc.Audience {
				t.Errorf("it asks %s", page)
			}
			if !strings.HasPrefix(back, "http://127.0.0.1:") {
				t.Errorf("it listens at %s", back)
			}
			then()
			return nil
		}
	}
	login := func(then func()) (secret.Secret, error) {
		return client(server).BrowserLogin(t.Context(), opened(then))
	}
	page := ""
	got, err := client(server).BrowserLogin(t.Context(), func(p string) error {
		page = p
		return opened(func() {
			ours := strings.TrimPrefix(strings.TrimSuffix(back, "/callback"), "http://")
			for name, status := range map[string]int{
				"no state":        get(back, ours, url.Values{"code": {"x"}}),
				"another state":   get(back, ours, url.Values{"code": {"x"}, "state": {"x"}, "iss": {server.Issuer}}),
				"two states":      get(back, ours, url.Values{"code": {"x"}, "state": {state, state}, "iss": {server.Issuer}}),
				"an error":        get(back, ours, url.Values{"error": {"access_denied"}, "state": {"x"}}),
				"another path":    get(back+"/x", ours, url.Values{"code": {"x"}, "state": {state}, "iss": {server.Issuer}}),
				"another's name":  get(back, "evil.example.org", url.Values{"code": {"x"}, "state": {state}, "iss": {server.Issuer}}),
				"localhost, name": get(back, "localhost", url.Values{"code": {"x"}, "state": {state}, "iss": {server.Issuer}}),
			} {
				if status != http.StatusBadRequest {
					t.Errorf("%s: %d", name, status)
				}
			}
			must(t, browser(t, "alice")(page))
		})(p)
	})
	isLogin(t, server, got, err)

	for _, c := range []struct {
		name, why string
		answer    func() url.Values
	}{
		{"no", "was refused", func() url.Values { return url.Values{"error": {"access_denied"}, "iss": {server.Issuer}} }},
		{"an error", "\"server_error\", \"oops\\x1b\"", func() url.Values {
			return url.Values{"error": {"server_error"}, "error_description": {"oops\x1b"}, "iss": {server.Issuer}}
		}},
		{"another provider", "of another provider", func() url.Values { return url.Values{"code": {"x"}, "iss": {"https://evil.example.org"}} }},
		{"no provider", "which provider it is of", func() url.Values { return url.Values{"code": {"x"}} }},
		{"two codes", "has code twice", func() url.Values { return url.Values{"code": {"x", "y"}, "iss": {server.Issuer}} }},
		{"no code", "has no code", func() url.Values { return url.Values{"iss": {server.Issuer}} }},
		{"another's code", "invalid_grant", func() url.Values { return url.Values{"code": {"x"}, "iss": {server.Issuer}} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := login(func() {
				q := c.answer()
				q.Set("state", state)
				get(back, strings.TrimPrefix(strings.TrimSuffix(back, "/callback"), "http://"), q)
			})
			fails(t, got, err, token.ErrRefused, c.why)
		})
	}
	if response, err := http.Get(back); err == nil {
		response.Body.Close()
		t.Error("the port is still open")
	}
}

// strange is a provider that answers as it is told to.
type strange struct {
	*issuer
	device object
	token  func() (status int, body object)
}

func newStrange(t *testing.T) *strange {
	t.Helper()
	s := &strange{issuer: newIssuer(t)}
	s.device = object{"device_code": "d", "user_code": "ABCD", "verification_uri": "https://idp.example.org/device", "interval": 1, "expires_in": 600}
	s.answers(func(w http.ResponseWriter, r *http.Request) bool {
		status, body := 200, object(nil)
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			body = object{
				"issuer": s.URL, "jwks_uri": s.URL + "/jwks", "token_endpoint": s.URL + "/token", "authorization_endpoint": s.URL + "/auth",
				"device_authorization_endpoint": s.URL + "/device", "id_token_signing_alg_values_supported": []string{"ES256", "none", "HS256"},
			}
		case "/device":
			body = s.device
		case "/token":
			status, body = s.token()
		default:
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(body)
		return true
	})
	return s
}

func (s *strange) client() Client {
	return Client{Issuer: s.URL, ClientID: "cli", Audience: audience, Options: Options{Now: s.clock.Now, Timeout: 2 * time.Second}}
}

// idToken is an ID token with these changes to a good one.
func (s *strange) idToken(t *testing.T, changes object) string {
	claims := object{"aud": "cli", "nonce": "n"}
	maps.Copy(claims, changes)
	return s.sign(t, object{"typ": "JWT"}, claims)
}

func (s *strange) tokens(t *testing.T, changes object) object {
	o := object{"token_type": "bearer", "access_token": s.good(t), "id_token": s.idToken(t, nil)}
	maps.Copy(o, changes)
	return o
}

// What a provider gives must be of this log-in, and for us.
func TestAccept(t *testing.T) {
	i := newStrange(t)
	log, err := i.client().begin(t.Context())
	must(t, err)
	accept := func(answer object) (secret.Secret, error) {
		access, _ := answer["access_token"].(string)
		typ, _ := answer["token_type"].(string)
		return log.accept(t.Context(), (&oauth2.Token{AccessToken: access, TokenType: typ}).WithExtra(map[string]any(answer)), "n")
	}
	if got, err := accept(i.tokens(t, nil)); err != nil || got.IsZero() {
		t.Errorf("what is good: %v", err)
	}
	forged := key{"k1", "ES256", newKey["ES256"](t)}
	for name, wrong := range map[string]struct {
		answer object
		why    string
	}{
		"no ID token":            {object{"id_token": ""}, "gave no ID token"},
		"another's ID token":     {object{"id_token": i.idToken(t, object{"aud": "other"})}, "expected audience"},
		"an old ID token":        {object{"id_token": i.idToken(t, object{"exp": 1})}, "expired"},
		"another issuer's":       {object{"id_token": i.idToken(t, object{"iss": "https://evil.example.org"})}, "different provider"},
		"a forged ID token":      {object{"id_token": forged.sign(t, marshal(t, object{"alg": "ES256", "kid": "k1"}), marshal(t, i.claims(object{"aud": "cli"})))}, "signature is wrong"},
		"of another token":       {object{"id_token": i.idToken(t, object{"at_hash": "x"})}, "at_hash"},
		"of another log-in":      {object{"id_token": i.idToken(t, object{"nonce": "m"})}, "nonce"},
		"of no log-in":           {object{"id_token": i.idToken(t, object{"nonce": nil})}, "nonce"},
		"the ID token twice":     {object{"access_token": i.idToken(t, nil)}, "is not ours"},
		"an ID token for us":     {object{"access_token": i.sign(t, nil, object{"nonce": "n"})}, "is an ID token"},
		"an opaque token":        {object{"access_token": "opaque"}, "is no JWT"},
		"for others":             {object{"access_token": i.sign(t, nil, object{"aud": "x"})}, "is not ours"},
		"of another issuer":      {object{"access_token": i.sign(t, nil, object{"iss": "x"})}, "of another issuer"},
		"a token that is signed": {object{"token_type": "DPoP"}, "not Bearer"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := accept(i.tokens(t, wrong.answer))
			fails(t, got, err, token.ErrRefused, wrong.why)
			if strings.Contains(fmt.Sprint(err), "eyJ") {
				t.Errorf("the error has a token in it: %v", err)
			}
		})
	}
}

// While somebody logs in, the provider may be away, and nobody may come.
func TestPoll(t *testing.T) {
	t.Parallel()
	i := newStrange(t)
	login := func() (secret.Secret, error) {
		return i.client().DeviceLogin(t.Context(), func(Prompt) error { return nil })
	}
	asked := 0
	i.token = func() (int, object) {
		if asked++; asked == 1 {
			return 503, object{}
		}
		return 200, i.tokens(t, nil)
	}
	if got, err := login(); err != nil || got.IsZero() {
		t.Errorf("after a failure of the provider: %v", err)
	}
	i.token = func() (int, object) { return 400, object{"error": "access_denied"} }
	got, err := login()
	fails(t, got, err, token.ErrRefused, "was refused")
	i.token = func() (int, object) { return 400, object{"error": "expired_token"} }
	got, err = login()
	fails(t, got, err, token.ErrRefused, "in time")
	i.token = func() (int, object) { return 400, object{"error": "authorization_pending"} }
	i.device["interval"], i.device["expires_in"] = -5, 1
	got, err = login()
	fails(t, got, err, token.ErrRefused, "in time")
	i.device["verification_uri"] = "javascript:alert(1)"
	got, err = login()
	fails(t, got, err, token.ErrCannotTell, "no usable code")
}
