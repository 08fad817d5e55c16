//go:build linux

package cmd_test

import (
	"bytes"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/tokenctl/tokenctl/testdata/oidc"
)

// object is one of JSON.
type object = map[string]any

// federation is a server of tokens that knows a provider that others wrote, as corp.
type federation struct {
	*machine
	s     *running
	op    *oidc.Server
	admin string // a credential
	corp  object // the provider as it is now
}

// newFederation starts both. corp has these settings, besides those that it needs.
func newFederation(t *testing.T, o oidc.Options, settings object) *federation {
	t.Helper()
	f := &federation{machine: newMachine(t), op: oidc.Start(t, o)}
	f.s = f.serve()
	f.admin = f.must("", "generate")
	f.corp = object{
		"name": "corp", "issuer": f.op.Issuer, "audiences": []string{oidc.Audience}, "client_id": oidc.Public, "unlinked": true,
		"role_claim": "groups", "role_map": []object{{"from": "ops", "role": "writer"}},
	}
	maps.Copy(f.corp, settings)
	f.want(201, "POST", "/api/v1/providers", f.corp)
	return f
}

// change changes settings of corp.
func (f *federation) change(settings object) {
	f.t.Helper()
	maps.Copy(f.corp, settings)
	f.want(200, "PUT", "/api/v1/providers/corp", f.corp)
}

// want asks as the administrator.
func (f *federation) want(status int, method, path string, body object) object {
	f.t.Helper()
	got, text := f.post(method, path, "application/json", marshal(f.t, body), f.admin)
	if got != status {
		f.t.Fatalf("%s %s: %d %s", method, path, got, text)
	}
	answer := object{}
	if err := json.Unmarshal([]byte(text), &answer); err != nil && text != "" {
		f.t.Fatal(err)
	}
	return answer
}

func (f *federation) post(method, path, kind string, body []byte, credential string) (status int, text string) {
	f.t.Helper()
	r, err := http.NewRequest(method, "http://"+f.s.main+path, bytes.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	authorize(r, credential)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// login logs in at corp, with somebody who does what is to be done with the page
// that it names.
func (f *federation) login(visit func(page string) error, args ...string) result {
	f.t.Helper()
	args = append([]string{"login", "--server", "http://" + f.s.main, "--idp", "corp"}, args...)
	c := f.command(f.t.Context(), args...)
	var out bytes.Buffer
	said := &logbook{}
	c.Stdout, c.Stderr = &out, said
	if err := c.Start(); err != nil {
		f.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { c.Wait(); close(done) }()
	if err := visit(f.page(said, done, c)); err != nil {
		f.t.Error(err)
	}
	<-done
	return result{args, c.ProcessState.ExitCode(), out.String(), said.String()}
}

var pageToOpen = regexp.MustCompile(`open this page to log in: (\S+)\n`)

// page waits for the page to open. Empty: it ended before.
func (f *federation) page(said *logbook, done chan struct{}, c *exec.Cmd) (page string) {
	eventually(f.t, "it says what to open", func() bool {
		if found := pageToOpen.FindStringSubmatch(said.String()); found != nil {
			page = found[1]
			return true
		}
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	return page
}

func somebody(name string) func(string) error {
	return func(page string) error {
		_, err := oidc.Person(name, page)
		return err
	}
}

// is checks who the caller of the context is, and that nothing of the provider's
// is kept.
func (f *federation) is(owner string) {
	f.t.Helper()
	if got := f.must("", "whoami", "--context", "127.0.0.1", "-o", "name"); got != owner {
		f.t.Errorf("whoami: %s, want %s", got, owner)
	}
	for name, what := range state(f.t, f.home) {
		if secretText.MatchString(what) && strings.Contains(what, "eyJ") {
			f.t.Errorf("a JWT is kept in %s", name)
		}
	}
}

// Somebody who has no password here logs in where the organisation's people do.
func TestServeLoginAtProvider(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	r := f.login(somebody("alice"), "--device")
	where := "logging in at " + f.op.Issuer + ", for " + oidc.Audience + ", with the client " + oidc.Public + ", to be used at http://" + f.s.main + "\n"
	f.ends(r, 0, where, "the code, there and here: ", " as corp/alice, with token ", "the context is 127.0.0.1")
	if strings.Index(r.err, where) > strings.Index(r.err, "open this page") {
		t.Errorf("what it is for is said too late: %s", r.err)
	}
	if r.out != "" {
		t.Errorf("stdout holds %q", r.out)
	}
	f.is("corp/alice")
	if got := f.must("", "whoami", "--context", "127.0.0.1", "--jq", ".roles[]"); got != "writer" {
		t.Errorf("her roles: %s", got)
	}

	// Without a terminal it is the way by device, whatever display there is.
	f.env = []string{"DISPLAY=:99"}
	f.ends(f.login(somebody("alice")), 5, "--rotate gives it a new secret")
	f.ends(f.login(somebody("alice"), "--rotate"), 0, "the code, there and here: ")
	f.is("corp/alice")

	// By browser, and as the account that she is linked to.
	f.must("", "admin", "user", "add", "alice", "--store", "bolt://"+f.db())
	f.ends(f.run("", "admin", "user", "delete", "corp/alice", "--yes", "--store", "bolt://"+f.db()), 0)
	f.want(200, "POST", "/api/v1/accounts:link", object{"owner": "local/alice", "provider": "corp", "subject": "alice"})
	f.env = []string{"BROWSER=alices-browser"}
	r = f.run("", "login", "--server", "http://"+f.s.main, "--idp", "corp", "--browser")
	f.ends(r, 0, "open this page to log in: "+f.op.Issuer+"/auth?", " as local/alice, with token ")
	if r.out != "" || strings.Contains(r.err, "no browser") {
		t.Errorf("%v", r)
	}
	f.is("local/alice")
	f.s.stop()
}

// A terminal with a display, and not over SSH, is one with a browser.
func TestServeLoginAtProviderOnADesktop(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	login := []string{"login", "--server", "http://" + f.s.main, "--idp", "corp", "--rotate"}
	f.env = []string{"DISPLAY=:99", "BROWSER=alices-browser"}
	p := f.sit(t, nil, login...)
	p.end(0, "/auth?", " as corp/alice, with token ")

	f.env = []string{"DISPLAY=:99", "BROWSER=/nowhere/browser"}
	p = f.sit(t, nil, login...)
	p.expect("no browser could be opened: ")
	page := regexp.MustCompile(`open this page to log in: (\S+)`).FindStringSubmatch(p.screen())
	if _, err := oidc.Person("alice", page[1]); err != nil {
		t.Error(err)
	}
	p.end(0)

	for _, env := range [][]string{nil, {"DISPLAY=:99", "SSH_CONNECTION=192.0.2.1 50000 192.0.2.2 22"}} {
		f.env = env
		p = f.sit(t, nil, login...)
		p.expect("the code, there and here: ")
		p.send("\x03")
		p.end(130)
	}
	f.s.stop()
}

// A log-in that fails says at whom it failed, and leaves nothing.
func TestServeLoginAtProviderFails(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	at := []string{"login", "--server", "http://" + f.s.main, "--idp"}
	f.ends(f.run("", append(at, "corpse")...), 4, `no identity provider "corpse"`, "hint: there is corp\n")
	f.ends(f.login(oidc.Refuse, "--device"), 3, "at the provider the log-in was refused")

	c := f.command(t.Context(), append(at, "corp", "--device")...)
	said, done := &logbook{}, make(chan struct{})
	c.Stderr = said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.Wait(); close(done) }()
	f.page(said, done, c)
	c.Process.Signal(syscall.SIGINT)
	<-done
	if c.ProcessState.ExitCode() != 130 {
		t.Errorf("Ctrl-C: exit %d: %s", c.ProcessState.ExitCode(), said)
	}

	f.change(object{"unlinked": false})
	f.ends(f.login(somebody("alice"), "--device"), 3, "does not accept whom the identity provider corp says you are", "tokenctl admin idp test")
	f.change(object{"unlinked": true, "client_id": "nobody"})
	f.ends(f.run("", append(at, "corp", "--device")...), 3, "invalid_client")
	f.change(object{"audiences": []string{oidc.Opaque}, "client_id": oidc.Public})
	f.ends(f.login(somebody("alice"), "--device"), 3, "is no JWT", "hint: have the provider know "+oidc.Opaque)
	f.change(object{"audiences": []string{oidc.Audience}})
	f.op.Stop()
	f.ends(f.run("", append(at, "corp", "--device")...), 6, "connection refused")
	f.ends(f.run("", append(at, "corp", "--browser")...), 6, "connection refused")
	f.change(object{"status": "disabled"})
	f.ends(f.run("", append(at, "corp", "--device")...), 4, "it has none at all")

	if left := f.here("list", "--all-owners", "--jq", `[.[] | select(.owner != "local/`+systemUserName()+`")] | length`); left != "0" {
		t.Errorf("%s tokens are left", left)
	}
	if _, there := state(t, f.home)[filepath.Join(f.home, ".config", "tokenctl", "contexts.yaml")]; there {
		t.Error("a context is left")
	}
	f.s.stop()
}

// Where somebody logs in is what the server says, which may say anything.
func TestLoginSaysWhere(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(object{"providers": []object{{
			"name": "corp", "issuer": "http://127.0.0.1:1/\x1b[2J", "client_id": "c\u202eli", "audience": "https://bank.example.org\ntokenctl: fine",
		}}})
	}))
	defer hostile.Close()
	r := m.run("", "login", "--server", hostile.URL, "--idp", "corp", "--device")
	m.ends(r, 2, "tokenctl: logging in at http://127.0.0.1:1/[2J, for https://bank.example.org tokenctl: fine, with the client cli, to be used at "+hostile.URL+"\n")
	if strings.ContainsAny(r.err, "\x1b\u202e") {
		t.Errorf("%v", r)
	}
}

// verify shows a credential at /verify or below.
func (f *federation) verify(path, credential string) int {
	f.t.Helper()
	status, header, _ := f.s.ask("GET", "/verify"+path, credential)
	if status == 401 && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic") && !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") {
		f.t.Errorf("/verify%s: the challenge is %q", path, header.Get("WWW-Authenticate"))
	}
	return status
}

// refused checks that /verify refuses a JWT, and which check it does not pass.
func (f *federation) refused(what, jwt, check string) {
	f.t.Helper()
	if got := f.verify("", jwt); got != 401 {
		f.t.Errorf("%s: %d", what, got)
	}
	failed := ""
	for _, finding := range f.want(200, "POST", "/api/v1/providers:explain", object{"credential": jwt})["findings"].([]any) {
		if one := finding.(object); one["ok"] == false && failed == "" {
			failed = one["check"].(string)
		}
	}
	if failed != check {
		f.t.Errorf("%s: it fails at %q, not at %q", what, failed, check)
	}
}

// forge makes a JWT of the same claims with another header and signature.
func forge(jwt, header string, sign func(text string) []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(header)) + "." + strings.Split(jwt, ".")[1]
	return text + "." + encode(sign(text))
}

// publicRSA is the key that the provider signs RS256 with, as people keep such
// keys in files.
func (f *federation) publicRSA() []byte {
	f.t.Helper()
	var set jose.JSONWebKeySet
	_, _, text := ask(f.t, http.DefaultClient, "GET", f.op.Issuer+"/jwks", "")
	if err := json.Unmarshal([]byte(text), &set); err != nil {
		f.t.Fatal(err)
	}
	for _, k := range set.Keys {
		if k.Algorithm == "RS256" {
			der, err := x509.MarshalPKIXPublicKey(k.Key)
			if err != nil {
				f.t.Fatal(err)
			}
			return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		}
	}
	f.t.Fatalf("no key for RS256: %s", text)
	return nil
}

// idToken is one that tells the client of people that alice logged in to it
// (OpenID Connect Core §3.1).
func (f *federation) idToken() string {
	f.t.Helper()
	code := make(chan string, 1)
	back := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { code <- r.URL.Query().Get("code") }))
	defer back.Close()
	c := oauth2.Config{
		ClientID: oidc.Public, Scopes: []string{"openid"}, RedirectURL: back.URL + "/callback",
		Endpoint: oauth2.Endpoint{AuthURL: f.op.Issuer + "/auth", TokenURL: f.op.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	page := c.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "of this log-in"))
	if _, err := oidc.Person("alice", page); err != nil {
		f.t.Fatal(err)
	}
	answer, err := c.Exchange(f.t.Context(), <-code, oauth2.VerifierOption(verifier))
	if err != nil {
		f.t.Fatal(err)
	}
	id, _ := answer.Extra("id_token").(string)
	return id
}

// The provider's JWT is a credential beside Basic, and nothing that only looks
// like it is.
func TestServeProviderJWT(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	for _, alg := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		f.op.Sign(alg)
		status, header, body := f.s.ask("GET", "/verify/role/writer", f.op.AccessToken(oidc.Audience))
		if status != 200 || header.Get("X-Auth-User") != "corp/svc" || header.Get("X-Auth-Roles") != "writer" {
			t.Errorf("%s: %d %v %s", alg, status, header, body)
		}
	}
	if got := f.verify("", f.admin); got != 200 {
		t.Errorf("Basic beside it: %d", got)
	}
	f.op.Sign("RS256")
	good := f.op.AccessToken(oidc.Audience)
	if got := f.verify("/role/reader", good); got != 403 {
		t.Errorf("a role that it does not have: %d", got)
	}

	forger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	forged := func(text string) []byte {
		sum := sha256.Sum256([]byte(text))
		signature, _ := rsa.SignPKCS1v15(nil, forger, crypto.SHA256, sum[:])
		return signature
	}
	public := f.publicRSA()
	f.refused("none", forge(good, `{"alg":"none","typ":"at+jwt"}`, func(string) []byte { return nil }), "form")
	f.refused("HS256 with the public key", forge(good, `{"alg":"HS256","typ":"at+jwt"}`, func(text string) []byte {
		mac := hmac.New(sha256.New, public)
		mac.Write([]byte(text))
		return mac.Sum(nil)
	}), "algorithm")
	f.refused("an unknown key", forge(good, `{"alg":"RS256","typ":"at+jwt","kid":"unknown"}`, forged), "signature")
	f.refused("another's signature", forge(good, `{"alg":"RS256","typ":"at+jwt","kid":"RS256-1"}`, forged), "signature")
	id := f.idToken()
	f.refused("an ID token", id, "audience")
	f.change(object{"audiences": []string{oidc.Audience, oidc.Public}, "client_id": nil})
	f.refused("an ID token, with its client among the audiences", id, "kind")

	for what, c := range map[string]struct {
		settings object
		check    string
	}{
		"for another audience":  {object{"audiences": []string{"https://crm.example.org"}}, "audience"},
		"of another issuer":     {object{"issuer": f.op.Issuer + "/", "jwks_url": f.op.Issuer + "/jwks"}, "issuer"},
		"without its claim":     {object{"claim": "email"}, "identity"},
		"an algorithm not ours": {object{"algorithms": []string{"ES256"}}, "algorithm"},
		"of one that is off":    {object{"status": "disabled"}, "issuer"},
		"of one linked to none": {object{"unlinked": false}, "owner"},
	} {
		before := maps.Clone(f.corp)
		f.change(c.settings)
		f.refused("a JWT "+what, good, c.check)
		f.corp = before
		f.change(object{"status": "enabled", "jwks_url": nil, "claim": "sub", "algorithms": []string{"RS256"}})
		if got := f.verify("", good); got != 200 {
			t.Errorf("%s, set right again: %d", what, got)
		}
	}
	f.s.stop()
}

func TestServeProviderJWTExpires(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{Lifetime: time.Second}, object{"leeway": "3s"})
	jwt := f.op.AccessToken(oidc.Audience)
	if got := f.verify("", jwt); got != 200 {
		t.Errorf("before it expires: %d", got)
	}
	eventually(t, "it expires", func() bool { return f.verify("", jwt) == 401 })
	f.refused("when it has expired", jwt, "times")
	f.s.stop()
}

// The provider changes its keys, is flooded with forged JWTs in its name, and
// goes down.
func TestServeProviderThroughTheDay(t *testing.T) {
	t.Parallel()
	f := newFederation(t, oidc.Options{}, nil)
	old := f.op.AccessToken(oidc.Audience)
	if got := f.verify("", old); got != 200 {
		t.Errorf("a JWT: %d", got)
	}
	f.op.Rotate()
	good := f.op.AccessToken(oidc.Audience)
	if got := f.verify("", good); got != 200 {
		t.Errorf("the first use of a new key: %d", got)
	}
	if got := f.verify("", old); got != 401 {
		t.Errorf("a key that the provider has withdrawn: %d", got)
	}

	unknown := func(n int) string {
		return forge(good, fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","kid":"forged-%d"}`, n), func(string) []byte { return make([]byte, 64) })
	}
	for n := range 1000 {
		if got := f.verify("", unknown(n)); got != 401 {
			t.Fatalf("forged JWT %d: %d", n, got)
		}
	}
	if n := f.op.Asked("/jwks"); n > 3 {
		t.Errorf("the keys were fetched %d times", n)
	}

	f.op.Stop()
	for what, credential := range map[string]string{"an own token": f.admin, "a JWT of a known key": good} {
		if got := f.verify("", credential); got != 200 {
			t.Errorf("%s, while the provider is down: %d", what, got)
		}
	}
	n := 1000
	eventually(t, "nobody can say whether there is such a key", func() bool { n++; return f.verify("", unknown(n)) == 503 })
	if got := f.verify("", good); got != 200 {
		t.Errorf("a JWT of a known key, after that: %d", got)
	}
	f.s.stop()
}
