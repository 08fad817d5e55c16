//go:build linux

package cmd_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokenctl/tokenctl/testdata/oidc"
)

const (
	exchangeGrant   = "urn:ietf:params:oauth:grant-type:token-exchange"
	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// newExchange is a federation in which those of the group ops have two roles,
// with a connection for access tokens.
func newExchange(t *testing.T) *federation {
	t.Helper()
	f := newFederation(t, oidc.Options{}, object{"role_map": []object{{"from": "ops", "role": "reader"}, {"from": "ops", "role": "writer"}}})
	f.here("admin", "connection", "add", "deploy", "--entity-id", "https://deploy.example.org", "--access-lifetime", "5m")
	return f
}

// form sends a form to an endpoint of OAuth.
func (f *federation) form(path, credential string, form url.Values) (int, object) {
	f.t.Helper()
	status, text := f.post("POST", path, "application/x-www-form-urlencoded", []byte(form.Encode()), credential)
	answer := object{}
	if text != "" && json.Unmarshal([]byte(text), &answer) != nil {
		f.t.Fatalf("%s: %d %s", path, status, text)
	}
	return status, answer
}

func (f *federation) isActive(access string) any {
	f.t.Helper()
	_, answer := f.form("/oauth2/introspect", f.admin, url.Values{"token": {access}})
	return answer["active"]
}

// A job that has nothing but what its provider gives it gets an access token,
// which ends when somebody hands it in, and with its provider.
func TestServeExchangeOfProviderJWT(t *testing.T) {
	t.Parallel()
	f := newExchange(t)
	file := filepath.Join(f.home, "jwt")
	exchange := func() string {
		t.Helper()
		put(t, file, []byte(f.op.AccessToken(oidc.Audience)+"\n"))
		return f.must("", "exchange", "--server", "http://"+f.s.main, "--subject-token-command", "cat "+file, "--connection", "deploy")
	}
	access := exchange()
	status, header, _ := f.s.ask("GET", "/verify/connection/deploy/role/writer", access)
	if status != 200 || header.Get("X-Auth-User") != "corp/svc" || header.Get("X-Auth-Kind") != "access" {
		t.Errorf("the access token: %d %v", status, header)
	}
	if got := f.verify("/connection/default", access); got != 401 {
		t.Errorf("at another connection: %d", got)
	}
	_, said := f.form("/oauth2/introspect", f.admin, url.Values{"token": {access}})
	for name, want := range (object{"active": true, "sub": "corp/svc", "client_id": "deploy", "aud": "https://deploy.example.org", "idp": "corp", "scope": "reader writer"}) {
		if said[name] != want {
			t.Errorf("introspection: %s is %v, want %v", name, said[name], want)
		}
	}

	other := exchange()
	if status, answer := f.form("/oauth2/revoke", "", url.Values{"token": {access}}); status != 200 {
		t.Errorf("revocation: %d %v", status, answer)
	}
	if got, active := f.verify("/connection/deploy", access), f.isActive(access); got != 401 || active != false {
		t.Errorf("after it was handed in: %d, active %v", got, active)
	}
	if got := f.verify("/connection/deploy", other); got != 200 {
		t.Errorf("another one, after that: %d", got)
	}

	f.change(object{"status": "disabled"})
	if got, active := f.verify("/connection/deploy", other), f.isActive(other); got != 401 || active != false {
		t.Errorf("with the provider disabled: %d, active %v", got, active)
	}
	f.ends(f.run("", "exchange", "--server", "http://"+f.s.main, "--subject-token-file", file), 3)
	f.change(object{"status": "enabled"})
	if got := f.verify("/connection/deploy", other); got != 200 {
		t.Errorf("with the provider enabled again: %d", got)
	}
	f.s.stop()
}

// What a client that knows RFC 8693 sends and gets.
func TestServeTokenExchange(t *testing.T) {
	t.Parallel()
	f := newExchange(t)
	ask := func(subject string, more url.Values) (int, object) {
		form := url.Values{"grant_type": {exchangeGrant}, "subject_token": {subject}, "subject_token_type": {accessTokenType}, "client_id": {"deploy"}}
		for name, values := range more {
			form[name] = values
		}
		return f.form("/oauth2/token", "", form)
	}
	jwt := f.op.AccessToken(oidc.Audience)
	status, answer := ask(jwt, nil)
	for name, want := range (object{"issued_token_type": accessTokenType, "token_type": "Bearer", "expires_in": 300.0, "scope": "reader writer", "refresh_token": nil}) {
		if status != 200 || answer[name] != want {
			t.Errorf("the answer, %d: %s is %v, want %v", status, name, answer[name], want)
		}
	}
	wide, _ := answer["access_token"].(string)

	refresh := f.here("generate", "refresh", "ci", "--connection", "deploy")
	_, answer = f.form("/oauth2/token", "", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}})
	own, _ := answer["access_token"].(string)

	// It becomes one with fewer roles, and never more or longer of any kind, whatever
	// the connection allows by then.
	f.here("admin", "connection", "set", "deploy", "--access-lifetime", "60m")
	status, answer = ask(wide, url.Values{"scope": {"reader"}, "client_id": {""}})
	narrow, _ := answer["access_token"].(string)
	if status != 200 || answer["scope"] != "reader" || narrow == "" {
		t.Fatalf("narrowed: %d %v", status, answer)
	}
	_, answer = ask(own, nil)
	again, _ := answer["access_token"].(string)
	for from, to := range map[string]string{wide: narrow, own: again} {
		if got, limit := claimsOf(t, to)["exp"].(float64), claimsOf(t, from)["exp"].(float64); got > limit {
			t.Errorf("the narrowed one expires at %.0f, the other at %.0f", got, limit)
		}
	}
	if got := f.verify("/connection/deploy/role/reader", narrow); got != 200 {
		t.Errorf("the narrowed one: %d", got)
	}
	if got := f.verify("/connection/deploy/role/writer", narrow); got != 403 {
		t.Errorf("the narrowed one, as a writer: %d", got)
	}
	if status, answer = ask(narrow, nil); status != 200 || answer["scope"] != "reader" {
		t.Errorf("narrowed once more: %d %v", status, answer)
	}

	for what, c := range map[string]struct {
		subject string
		more    url.Values
		code    string
	}{
		"more roles":                {narrow, url.Values{"scope": {"writer"}}, "invalid_scope"},
		"roles of nobody":           {jwt, url.Values{"scope": {"boss"}}, "invalid_scope"},
		"another audience":          {jwt, url.Values{"audience": {"https://crm.example.org"}}, "invalid_target"},
		"another resource":          {jwt, url.Values{"resource": {"https://crm.example.org"}}, "invalid_target"},
		"another connection of one": {wide, url.Values{"client_id": {"default"}}, "invalid_request"},
		"a forged JWT":              {forge(jwt, `{"alg":"none"}`, func(string) []byte { return nil }), nil, "invalid_request"},
		"a signature changed":       {jwt[:len(jwt)-12] + "AAAAAAAAAAAA", nil, "invalid_request"},
		"a refresh token":           {refresh, nil, "invalid_request"},
		"a user token":              {f.admin, nil, "invalid_request"},
		"no token":                  {"garbage", nil, "invalid_request"},
		"nothing":                   {"", nil, "invalid_request"},
		"another type":              {jwt, url.Values{"subject_token_type": {"urn:ietf:params:oauth:token-type:saml2"}}, "invalid_request"},
		"an actor":                  {jwt, url.Values{"actor_token": {jwt}, "actor_token_type": {accessTokenType}}, "invalid_request"},
	} {
		status, answer := ask(c.subject, c.more)
		text, _ := answer["error_description"].(string)
		if status != 400 || answer["error"] != c.code || strings.Contains(text, "eyJ") {
			t.Errorf("%s: %d %v, want %s", what, status, answer, c.code)
		}
	}

	// What came of one ends with it.
	f.form("/oauth2/revoke", "", url.Values{"token": {wide}})
	for what, access := range map[string]string{"it": wide, "the narrowed one": narrow} {
		if got := f.verify("/connection/deploy", access); got != 401 {
			t.Errorf("%s, after it was handed in: %d", what, got)
		}
	}
	if status, answer = ask(wide, nil); status != 400 || answer["error"] != "invalid_request" {
		t.Errorf("one that was handed in, exchanged: %d %v", status, answer)
	}
	f.s.stop()
}

func claimsOf(t testing.TB, jwt string) (claims object) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// A job of GitHub asks for a token that is for the server, unless told otherwise.
func TestServeExchangeGitHubAudience(t *testing.T) {
	t.Parallel()
	f := newExchange(t)
	asked := make(chan string, 1)
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Query().Get("audience")
		json.NewEncoder(w).Encode(object{"value": f.op.AccessToken(oidc.Audience)})
	}))
	defer github.Close()
	server := "http://" + f.s.main
	f.env = []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + github.URL + "/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=x"}
	for want, args := range map[string][]string{server: nil, "https://other.example.org": {"--audience", "https://other.example.org"}} {
		access := f.must("", append([]string{"exchange", "--server", server, "--github-actions"}, args...)...)
		if got := <-asked; got != want {
			t.Errorf("the audience is %q, want %q", got, want)
		}
		if got := f.verify("", access); got != 200 {
			t.Errorf("the access token: %d", got)
		}
	}
	f.ends(f.run("", "exchange", "--store", "bolt://"+f.db(), "--github-actions"), 2, "--audience is missing")
	f.s.stop()
}

// What cannot be masked is no output, and neither is what would be a command of
// the runner.
func TestExchangeMasksOrNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	refresh := m.must("", "generate", "refresh", "ci")
	outputs := filepath.Join(m.home, "outputs")
	put(t, outputs, nil)
	m.env = []string{"GITHUB_OUTPUT=" + outputs}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	c := m.command(t.Context(), "exchange", "--ci", "github")
	c.Stdin, c.Stderr = strings.NewReader(refresh), full
	if err := c.Run(); err == nil {
		t.Error("nobody could read the mask, and it succeeds")
	}

	// A pipe that nobody reads would be waited for.
	pipe := filepath.Join(m.home, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	m.env = []string{"GITHUB_OUTPUT=" + pipe}
	m.ends(m.run(refresh, "exchange", "--ci", "github"), 2, "it is no file")
	m.env = []string{"GITHUB_OUTPUT=" + outputs}

	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(object{"access_token": "x\n::set-env name=PATH::/tmp", "token_type": "Bearer", "expires_in": 300, "roles": []string{}})
	}))
	defer hostile.Close()
	r := m.run(refresh, "exchange", "--ci", "github", "--server", hostile.URL)
	m.ends(r, 6, "cannot be understood")
	if strings.Contains(r.err, "set-env") {
		t.Errorf("%v", r)
	}
	if text, err := os.ReadFile(outputs); err != nil || len(text) > 0 {
		t.Errorf("the output is %q, %v", text, err)
	}
}
