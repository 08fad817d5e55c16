package idp

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func TestJudge(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t, func(p *token.Provider) {
		p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}, {From: "dev", Role: "reader"}, {From: "ops", Role: "reader"}}
		p.Unlinked = true
	})
	want := token.Verdict{
		Provider: "corp", Issuer: i.URL, Audience: audience, Claim: "sub", Subject: "alice", Unlinked: true, Roles: []token.Role{"reader", "writer"},
		ExpiresAt: i.clock.Now().Add(10 * time.Minute).UTC(), ID: "j1",
	}
	got := accepted(t, s, i.sign(t, nil, object{"groups": []string{"dev", "ops", "other"}}))
	if got.RoleRules == "" {
		t.Error("nobody is told by which rules the roles were given")
	}
	if !got.IssuedAt.Equal(i.clock.Now().UTC().Truncate(time.Second)) {
		t.Errorf("it was issued at %s", got.IssuedAt)
	}
	got.RoleRules, got.IssuedAt = "", time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := got.Owner(); got != (token.Owner{Realm: "corp", Name: "alice"}) {
		t.Errorf("the owner is %s", got)
	}
}

// What is not said of a good JWT does not matter.
func TestJudgeAccepts(t *testing.T) {
	i := newIssuer(t)
	now := i.clock.Now().Unix()
	s := i.set(t, func(p *token.Provider) {
		p.RoleClaim, p.RoleMap = "scope", []token.RoleMapping{{From: "ops", Role: "writer"}}
	})
	for name, jwt := range map[string]string{
		"typ JWT":              i.sign(t, object{"typ": "JWT"}, nil),
		"no typ":               i.sign(t, object{"typ": nil}, nil),
		"typ as a media type":  i.sign(t, object{"typ": "application/AT+jwt"}, nil),
		"no kid, one key":      i.sign(t, object{"kid": nil}, nil),
		"several audiences":    i.sign(t, nil, object{"aud": []string{"else", "other"}}),
		"no iat, no jti":       i.sign(t, nil, object{"iat": nil, "jti": nil}),
		"fractions":            i.sign(t, nil, object{"exp": float64(now) + 9.5, "nbf": float64(now) - 0.5}),
		"expired within":       i.sign(t, nil, object{"exp": now - 59}),
		"to come within":       i.sign(t, nil, object{"nbf": now + 60, "iat": now + 60}),
		"its client, at+jwt":   i.sign(t, nil, object{"client_id": audience}),
		"its client, other":    i.sign(t, object{"typ": nil}, object{"azp": "cli"}),
		"a bearer of Keycloak": i.sign(t, nil, object{"typ": "Bearer"}),
		"no nonce":             i.sign(t, nil, object{"nonce": json.RawMessage("null")}),
		"unknown headers":      i.sign(t, object{"x": "y", "jku": "https://evil.example.org/jwks"}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			if v := accepted(t, s, jwt); v.Subject != "alice" {
				t.Errorf("%+v", v)
			}
		})
	}
	// The identity token of a job, as GitHub Actions and GitLab make it for an
	// audience.
	v := accepted(t, s, i.sign(t, object{"typ": "JWT", "x5t": "x"}, object{
		"sub": "repo:org/app:ref:refs/heads/main", "job_workflow_ref": "org/app/.github/workflows/x.yml@refs/heads/main", "run_id": "1",
	}))
	if got := v.Owner().String(); got != "corp/repo:org/app:ref:refs/heads/main" {
		t.Errorf("the owner is %s", got)
	}
	for scope, want := range map[string]int{"a ops b": 1, "opsa": 0, "": 0} {
		if v := accepted(t, s, i.sign(t, nil, object{"scope": scope})); len(v.Roles) != want {
			t.Errorf("the scope %q gives the roles %s", scope, v.Roles)
		}
	}
}

func TestJudgeRefuses(t *testing.T) {
	i := newIssuer(t)
	now := i.clock.Now().Unix()
	s := i.set(t, func(p *token.Provider) {
		p.RoleClaim, p.RoleMap = "groups", []token.RoleMapping{{From: "ops", Role: "writer"}}
	})
	for _, c := range []struct {
		name           string
		header, claims object
		why            string
	}{
		{"no issuer", nil, object{"iss": nil}, "names no issuer"},
		{"another's issuer", nil, object{"iss": "https://evil.example.org"}, "that of no provider"},
		{"almost the issuer", nil, object{"iss": i.URL + "/"}, "that of no provider"},
		{"an issuer in a list", nil, object{"iss": []string{i.URL}}, "names no issuer"},
		{"no audience", nil, object{"aud": nil}, "aud) is missing"},
		{"nobody's audience", nil, object{"aud": []string{}}, "aud) is missing"},
		{"another's audience", nil, object{"aud": "https://crm.example.org"}, "is not ours"},
		{"almost the audience", nil, object{"aud": audience + "/"}, "is not ours"},
		{"a garbled audience", nil, object{"aud": []any{audience, 1}}, "aud) is missing or garbled"},
		{"no end", nil, object{"exp": nil}, "its exp is missing or no time"},
		{"a text for an end", nil, object{"exp": fmt.Sprint(now + 600)}, "its exp is missing or no time"},
		{"null for an end", nil, object{"exp": json.RawMessage("null")}, "its exp is missing or no time"},
		{"an end never", nil, object{"exp": json.RawMessage("1e300")}, "its exp is missing or no time"},
		{"expired", nil, object{"exp": now - 60}, "it expired at"},
		{"not yet", nil, object{"nbf": now + 61}, "its nbf is"},
		{"from the future", nil, object{"iat": now + 61}, "its iat is"},
		{"a garbled nbf", nil, object{"nbf": "x"}, "its nbf is missing or no time"},
		{"a logout token", object{"typ": "logout+jwt"}, nil, "type \"logout+jwt\""},
		{"a proof", object{"typ": "dpop+jwt"}, nil, "type \"dpop+jwt\""},
		{"an ID token by nonce", object{"typ": "JWT"}, object{"nonce": "n"}, "ID token: it has the claim nonce"},
		{"an ID token by at_hash", nil, object{"at_hash": "h"}, "ID token: it has the claim at_hash"},
		{"an ID token by c_hash", nil, object{"c_hash": "h"}, "ID token: it has the claim c_hash"},
		{"an ID token by s_hash", nil, object{"s_hash": "h"}, "ID token: it has the claim s_hash"},
		{"an ID token of Keycloak", nil, object{"typ": "ID"}, "its claim typ says \"ID\""},
		{"a refresh token of Keycloak", nil, object{"typ": "Refresh"}, "its claim typ says"},
		{"an ID token of Cognito", nil, object{"token_use": "id"}, "its claim token_use says"},
		{"a security event", nil, object{"events": object{}}, "it has the claim events"},
		{"a JWT that is bound to a key", nil, object{"cnf": object{"jkt": "x"}}, "it is bound to a key"},
		{"for its client (azp)", object{"typ": "JWT"}, object{"azp": audience}, "its own client (azp)"},
		{"for its client (client_id)", object{"typ": nil}, object{"client_id": audience}, "its own client (client_id)"},
		{"nobody", nil, object{"sub": nil}, "missing, empty or no text"},
		{"empty", nil, object{"sub": ""}, "missing, empty or no text"},
		{"a number", nil, object{"sub": 7}, "missing, empty or no text"},
		{"a list", nil, object{"sub": []string{"alice"}}, "missing, empty or no text"},
		{"half a character", nil, object{"sub": json.RawMessage(`"a\ud800"`)}, "missing, empty or no text"},
		{"invisible", nil, object{"sub": "alice\u200b"}, "can be nobody's name"},
		{"too long", nil, object{"sub": strings.Repeat("a", 256)}, "can be nobody's name"},
		{"another spelling", nil, object{"sub": "alice "}, "not written as names are"},
		{"not composed", nil, object{"sub": "e\u0301"}, "not written as names are"},
		{"garbled roles", nil, object{"groups": object{"ops": true}}, "neither a text nor"},
		{"a garbled role", nil, object{"groups": []any{"ops", 1}}, "neither a text nor"},
		{"crit", object{"crit": []string{"exp"}}, nil, "crit"},
		{"crit null", object{"crit": json.RawMessage("null")}, nil, "crit"},
		{"a long kid", object{"kid": strings.Repeat("k", 257)}, nil, "257 bytes"},
		{"an unknown kid", object{"kid": "k2"}, nil, "\"k2\" is none of the provider's"},
		{"an algorithm that is not allowed", object{"alg": "ES384"}, nil, "signed with \"ES384\""},
		{"another's algorithm", object{"alg": "RS256"}, nil, "\"k1\" is not for \"RS256\""},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses(t, s, i.sign(t, c.header, c.claims), c.why)
		})
	}
}

// A text that is not exactly a JWT is refused before anything is looked up.
func TestJudgeMalformed(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t)
	good := i.good(t)
	part := strings.Split(good, ".")
	raw := func(header, payload string) string { return i.key.sign(t, []byte(header), []byte(payload)) }
	for name, jwt := range map[string]string{
		"empty":                   "",
		"no dots":                 "abc",
		"two parts":               part[0] + "." + part[1],
		"four parts":              good + ".",
		"five parts":              good + "..",
		"an empty signature":      part[0] + "." + part[1] + ".",
		"padding":                 part[0] + "=." + part[1] + "." + part[2],
		"a line break":            part[0] + ".\n" + part[1] + "." + part[2],
		"another spelling":        good[:len(good)-1] + string(good[len(good)-1]+1), // 4 bits of the last character count for nothing
		"a space before":          " " + good,
		"a line break at the end": good + "\n",
		"base64, not base64url":   part[0] + ".+" + part[1] + "." + part[2],
		"too long":                i.sign(t, nil, object{"x": strings.Repeat("a", MaxSize)}),
		"JSON serialisation":      `{"payload":"` + part[1] + `","protected":"` + part[0] + `","signature":"` + part[2] + `"}`,
		"a header that is none":   raw("[]", "{}"),
		"a payload that is none":  raw(`{"alg":"ES256"}`, "foo"),
		"a payload of null":       raw(`{"alg":"ES256"}`, "null"),
		"alg twice":               raw(`{"alg":"ES256","alg":"none"}`, "{}"),
		"iss twice":               raw(`{"alg":"ES256"}`, `{"iss":"a","iss":"b"}`),
		"no alg":                  raw(`{"typ":"JWT"}`, "{}"),
		"alg in capitals":         raw(`{"ALG":"ES256"}`, "{}"),
		"not UTF-8":               raw(`{"alg":"ES256"}`, "{\"sub\":\"\xff\"}"),
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, s, jwt, "")
			_, err := parse(jwt)
			if !errors.Is(err, token.ErrMalformed) {
				t.Errorf("%v, want a token.ErrMalformed", err)
			}
			if s.Knows(jwt) {
				t.Error("its issuer is known")
			}
		})
	}
	if n := i.fetched(); n > 0 {
		t.Errorf("keys were fetched %d times", n)
	}
	if !s.Knows(good) {
		t.Error("the issuer of a good one isn't known")
	}
}

// What the header says of keys is not believed, whatever it says.
func TestJudgeForged(t *testing.T) {
	i := newIssuer(t)
	i.rotate(t, "k1", "RS256")
	s := i.set(t)
	thief := key{"k1", "RS256", newRSA(t, 2048)}
	public := jose.JSONWebKey{Key: thief.private.Public(), KeyID: "k1", Algorithm: "RS256"}
	forge := func(header object) string {
		h := object{"alg": "RS256", "kid": "k1"}
		for name, value := range header {
			h[name] = value
		}
		return thief.sign(t, marshal(t, h), marshal(t, i.claims(nil)))
	}
	evil := newIssuer(t)
	evil.publish(public)
	refuses(t, s, forge(nil), "its signature is wrong")
	refuses(t, s, forge(object{"jwk": public}), "its signature is wrong")
	refuses(t, s, forge(object{"jku": evil.URL + "/jwks", "x5u": evil.URL + "/jwks"}), "its signature is wrong")
	if evil.fetched() > 0 {
		t.Error("the forger's keys were fetched")
	}

	body := base64.RawURLEncoding.EncodeToString(marshal(t, i.claims(nil)))
	with := func(alg string, mac func(string) []byte) string {
		text := base64.RawURLEncoding.EncodeToString(marshal(t, object{"alg": alg, "kid": "k1"})) + "." + body
		return text + "." + base64.RawURLEncoding.EncodeToString(mac(text))
	}
	for _, none := range []string{"none", "None", "NONE"} {
		refuses(t, s, with(none, func(string) []byte { return []byte("x") }), "signed with")
	}
	der, err := x509.MarshalPKIXPublicKey(i.key.private.Public())
	must(t, err)
	for name, secret := range map[string][]byte{
		"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"JWK": marshal(t, jose.JSONWebKey{Key: i.key.private.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}),
	} {
		t.Run("HS256 with the public key as "+name, func(t *testing.T) {
			refuses(t, s, with("HS256", func(text string) []byte {
				m := hmac.New(sha256.New, secret)
				m.Write([]byte(text))
				return m.Sum(nil)
			}), "signed with \"HS256\"")
		})
	}
	accepted(t, s, i.good(t))
}

// Every key vouches for its own issuer only.
func TestJudgeKeysOfOthers(t *testing.T) {
	a, b := newIssuer(t), newIssuer(t)
	p, q := a.provider(), b.provider(func(p *token.Provider) { p.Name = "guests" })
	s := setOf(t, a.clock.Now, p, q)
	if v := accepted(t, s, b.good(t)); v.Provider != "guests" {
		t.Errorf("the provider is %s", v.Provider)
	}
	accepted(t, s, a.good(t))
	b.key.id = a.key.id
	refuses(t, s, b.sign(t, nil, object{"iss": a.URL}), "its signature is wrong")
}

// Another claim says who it is, and sub never stands in its place.
func TestJudgeClaim(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t, func(p *token.Provider) { p.Claim = "email" })
	if v := accepted(t, s, i.sign(t, nil, object{"email": "a@example.org"})); v.Subject != "a@example.org" {
		t.Errorf("the subject is %q", v.Subject)
	}
	refuses(t, s, i.good(t), "its claim \"email\"")
	refuses(t, s, i.sign(t, nil, object{"email": ""}), "its claim \"email\"")
	refuses(t, s, i.sign(t, nil, object{"Email": "a@example.org"}), "its claim \"email\"")
}

// All claims that are required must be there, each with one of its values, and
// nothing else will do.
func TestJudgeRequired(t *testing.T) {
	i := newIssuer(t)
	s := i.set(t, func(p *token.Provider) {
		p.Require = []token.ClaimValue{{Claim: "owner", Value: "7"}, {Claim: "ref", Value: "main"}, {Claim: "owner", Value: "9"}}
	})
	for _, claims := range []object{
		{"owner": "7", "ref": "main"}, {"owner": "9", "ref": "main"}, {"owner": []string{"1", "9"}, "ref": []string{"main"}},
	} {
		accepted(t, s, i.sign(t, nil, claims))
	}
	const missing = "is missing, or neither a text nor"
	for _, c := range []struct {
		claims object
		why    string
	}{
		{nil, `its claim "owner", which is required, ` + missing},
		{object{"owner": "7"}, `its claim "ref", which is required, ` + missing},
		{object{"ref": "main"}, `its claim "owner", which is required, ` + missing},
		{object{"owner": "8", "ref": "main"}, `its claim "owner" is ["8"], which is not what is required, ["7" "9"]`},
		{object{"owner": "7", "ref": "main2"}, `its claim "ref" is ["main2"], which is not what is required, ["main"]`},
		{object{"owner": "main", "ref": "7"}, `its claim "owner" is ["main"]`},
		{object{"owner": "7", "ref": "Main"}, `its claim "ref" is`},
		{object{"owner": "7", "ref": "*"}, `its claim "ref" is`},
		{object{"owner": "7", "Ref": "main"}, missing},
		{object{"owner": "7 9", "ref": "main"}, `its claim "owner" is`},
		{object{"owner": "7 ", "ref": "main"}, `its claim "owner" is`},
		{object{"owner": []string{}, "ref": "main"}, `its claim "owner" is`},
		{object{"owner": 7, "ref": "main"}, missing},
		{object{"owner": []any{"7", 1}, "ref": "main"}, missing},
		{object{"owner": object{"7": "7"}, "ref": "main"}, missing},
		{object{"owner": json.RawMessage("null"), "ref": "main"}, missing},
	} {
		refuses(t, s, i.sign(t, nil, c.claims), c.why)
	}
	if n := i.fetched(); n != 1 {
		t.Errorf("the keys were fetched %d times, though nothing was accepted without what is required", n)
	}
}

func TestReplace(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	s := New(Options{Now: i.clock.Now})
	refuses(t, s, i.good(t), "that of no provider")
	must(t, s.Replace([]token.Provider{i.provider()}))
	accepted(t, s, i.good(t))
	must(t, s.Replace([]token.Provider{i.provider(func(p *token.Provider) { p.Disabled = true })}))
	refuses(t, s, i.good(t), "is disabled")
	must(t, s.Replace([]token.Provider{i.provider(func(p *token.Provider) { p.Audiences = []string{"x"} })}))
	refuses(t, s, i.good(t), "is not ours")
	must(t, s.Replace([]token.Provider{i.provider(func(p *token.Provider) { p.Unlinked = true })}))
	if v := accepted(t, s, i.good(t)); !v.Unlinked {
		t.Error("what was changed does not count")
	}
	if n := i.fetched(); n != 1 {
		t.Errorf("the keys were fetched %d times, though where they come from stayed the same", n)
	}

	second := i.provider(func(p *token.Provider) { p.Name = "again" })
	err := s.Replace([]token.Provider{{Name: "bad"}, i.provider(), second, other.provider(func(p *token.Provider) { p.Name = "other" })})
	if !errors.Is(err, token.ErrUsage) || !errors.Is(err, token.ErrConflict) {
		t.Errorf("the error is %v, want a token.ErrUsage and a token.ErrConflict", err)
	}
	if v := accepted(t, s, i.good(t)); v.Provider != "corp" {
		t.Errorf("the provider is %s", v.Provider)
	}
	accepted(t, s, other.good(t))
	must(t, s.Replace(nil))
	refuses(t, s, i.good(t), "that of no provider")
}
