package authoritytest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var exchanging = []rule{
	{"An access token says what RFC 9068 wants, signed by a published key", exchangeClaims},
	{"Roles are the chosen ones that the owner has", exchangeRoles},
	{"Fewer roles may be asked for, others may not", exchangeSubset},
	{"The resource is the audience or nothing", exchangeResource},
	{"An access token lives as the connection says, the policy allows and the parent lives", exchangeLifetime},
	{"The connection decides about claim and algorithm, never again about the audience", exchangeConnection},
	{"Whatever is no good refresh token is refused alike", exchangeRefuses},
}

// jwt is an access token taken apart.
type jwt struct {
	header, claims map[string]any
	signed         string
	signature      []byte
}

func (w *world) jwt(a authority.AccessToken) (j jwt) {
	w.Helper()
	parts := strings.Split(a.Text.Reveal(), ".")
	if len(parts) != 3 {
		w.Fatalf("the access token has %d parts", len(parts))
	}
	for i, into := range []*map[string]any{&j.header, &j.claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		w.must(err)
		w.must(json.Unmarshal(text, into))
	}
	var err error
	j.signature, err = base64.RawURLEncoding.DecodeString(parts[2])
	w.must(err)
	j.signed = parts[0] + "." + parts[1]
	return j
}

// published are the published keys, by kid.
func (w *world) published() map[string]map[string]string {
	w.Helper()
	text, err := w.root.JWKS(background)
	w.must(err)
	var set struct{ Keys []map[string]string }
	w.must(json.Unmarshal(text, &set))
	keys := map[string]map[string]string{}
	for _, k := range set.Keys {
		if _, private := k["d"]; private {
			w.Error("a private key is published")
		}
		keys[k["kid"]] = k
	}
	return keys
}

func exchangeClaims(w *world) {
	w.set(w.root, "issuer", "https://tokens.example.org")
	r := w.generate(w.alice, refresh("reader", "writer"))
	w.wait(time.Hour)
	a := w.exchange(r.Secret)
	w.equal("what comes with it", [2]any{a.ExpiresIn, a.Roles}, [2]any{time.Hour, []token.Role{"reader", "writer"}})
	j := w.jwt(a)
	kid, _ := j.header["kid"].(string)
	w.equal("the header", j.header, map[string]any{"typ": "at+jwt", "alg": "EdDSA", "kid": kid})
	now := float64(w.now().Unix())
	jti, _ := j.claims["jti"].(string)
	w.equal("the claims", j.claims, map[string]any{
		"iss": "https://tokens.example.org", "sub": "local/alice", "aud": "urn:tokenctl:default", "client_id": "default",
		"iat": now, "nbf": now, "exp": now + 3600, "jti": jti, "tid": r.Token.ID.String(),
		"scope": "reader writer", "urn:identify:rest-api:role": []any{"reader", "writer"},
	})
	if again := w.jwt(w.exchange(r.Secret)).claims["jti"]; jti == "" || again == jti {
		w.Errorf("two access tokens have the jti %q and %q", jti, again)
	}
	key := w.published()[kid]
	public, err := base64.RawURLEncoding.DecodeString(key["x"])
	w.must(err)
	if key["kty"] != "OKP" || key["crv"] != "Ed25519" || key["alg"] != "EdDSA" || key["use"] != "sig" || !ed25519.Verify(public, []byte(j.signed), j.signature) {
		w.Errorf("the published key %v does not verify the signature", key)
	}
}

func exchangeRoles(w *world) {
	r, none := w.generate(w.alice, refresh("operator", "reader")), w.generate(w.alice, refresh())
	expect := func(i authority.Issued, roles ...token.Role) {
		w.Helper()
		a := w.exchange(i.Secret)
		claimed := []any{}
		for _, role := range roles {
			claimed = append(claimed, string(role))
		}
		w.equal("the claim", w.jwt(a).claims["urn:identify:rest-api:role"], any(claimed))
		w.equal("the roles", fmt.Sprint(a.Roles), fmt.Sprint(roles))
		w.equal("the identity", fmt.Sprint(w.accepts(a.Text).Roles), fmt.Sprint(roles))
	}
	expect(r, "reader")
	expect(none)
	w.setAccount("alice", func(a *token.Account) { a.Roles = []token.Role{"operator", "reader", "writer"} })
	expect(r, "operator", "reader")
	expect(none)
	w.setAccount("alice", func(a *token.Account) { a.Roles = []token.Role{token.Admin} })
	expect(r, "operator", "reader") // and not everything
	w.setAccount("alice", func(a *token.Account) { a.Roles = nil })
	expect(r)
}

func exchangeSubset(w *world) {
	r := w.generate(w.alice, refresh("reader", "writer", "operator"))
	for _, c := range []struct{ asked, want []token.Role }{
		{nil, []token.Role{"reader", "writer"}},
		{[]token.Role{"writer"}, []token.Role{"writer"}},
		{[]token.Role{"writer", "operator"}, []token.Role{"writer"}}, // which alice does not have
		{[]token.Role{}, []token.Role{}},
	} {
		a, err := w.root.Exchange(background, authority.Exchange{RefreshToken: r.Secret, Roles: c.asked})
		w.must(err)
		w.equal("the roles", fmt.Sprint(a.Roles), fmt.Sprint(c.want))
		w.equal("the identity", fmt.Sprint(w.accepts(a.Text).Roles), fmt.Sprint(c.want))
	}
	for _, asked := range [][]token.Role{{"auditor"}, {"reader", "auditor"}, {token.Admin}, {""}} {
		a, err := w.root.Exchange(background, authority.Exchange{RefreshToken: r.Secret, Roles: asked})
		w.fails(err, token.ErrRefused)
		if !errors.Is(err, authority.ErrInvalidScope) || !a.Text.IsZero() {
			w.Errorf("asked for %v: %v", asked, err)
		}
	}
}

func exchangeResource(w *world) {
	r := w.generate(w.alice, refresh())
	for _, e := range []authority.Exchange{{Resource: "urn:tokenctl:default"}, {ClientID: "default"}, {Resource: "urn:tokenctl:default", ClientID: "default"}} {
		e.RefreshToken = r.Secret
		_, err := w.root.Exchange(background, e)
		w.must(err)
	}
	for _, resource := range []string{"urn:tokenctl:Default", "urn:tokenctl:default/", "urn:x"} {
		_, err := w.root.Exchange(background, authority.Exchange{RefreshToken: r.Secret, Resource: resource})
		w.fails(err, token.ErrRefused)
		if !errors.Is(err, authority.ErrInvalidTarget) {
			w.Errorf("the resource %q: %v", resource, err)
		}
	}
	_, err := w.root.Exchange(background, authority.Exchange{RefreshToken: r.Secret, ClientID: "other"})
	w.fails(err, token.ErrRefused)
}

func (w *world) setConnection(change func(*token.Connection)) {
	w.Helper()
	c, err := w.root.Connection(background, token.DefaultConnection)
	w.must(err)
	change(&c)
	_, err = w.root.SetConnection(background, c)
	w.must(err)
}

func exchangeLifetime(w *world) {
	r := w.generate(w.alice, lasting(refresh(), 2*token.Day))
	expect := func(want time.Duration) {
		w.Helper()
		a := w.exchange(r.Secret)
		claims := w.jwt(a).claims
		w.equal("its life", a.ExpiresIn, want)
		w.equal("exp", claims["exp"], any(float64(w.second().Add(want).Unix())))
		w.equal("the identity's", w.accepts(a.Text).ExpiresAt, w.second().Add(want))
	}
	w.setConnection(func(c *token.Connection) { c.AccessLifetime = 10 * time.Minute })
	expect(10 * time.Minute)
	w.setConnection(func(c *token.Connection) { c.AccessLifetime = 7 * token.Day })
	expect(token.Day) // the policy's
	w.set(w.root, "access_token_max_lifetime", "7d")
	expect(2 * token.Day) // the parent's
	w.until(r.Token.ExpiresAt.Add(-1))
	expect(time.Second)
}

func exchangeConnection(w *world) {
	r := w.generate(w.alice, refresh("reader"))
	old := w.exchange(r.Secret)
	w.setConnection(func(c *token.Connection) {
		c.EntityID, c.RoleClaim, c.Algorithm = "urn:another", "roles", token.ES256
	})
	a := w.exchange(r.Secret)
	j := w.jwt(a)
	w.equal("alg", j.header["alg"], any("ES256"))
	w.equal("aud", j.claims["aud"], any("urn:tokenctl:default"))
	w.equal("the role claim", j.claims["roles"], any([]any{"reader"}))
	if kid, _ := j.header["kid"].(string); w.published()[kid]["kty"] != "EC" {
		w.Errorf("the key of ES256 is not published: %v", w.published())
	}
	w.accepts(a.Text)
	w.accepts(old.Text)
	w.equal("a new token's audience", w.generate(w.alice, refresh()).Token.Audience, "urn:another")
}

func exchangeRefuses(w *world) {
	suspended, revoked, expired := w.generate(w.alice, refresh()), w.generate(w.alice, refresh()), w.generate(w.alice, lasting(refresh(), time.Second))
	ownerless, live := w.generate(w.bob, refresh()), w.generate(w.alice, refresh())
	w.must(w.root.Suspend(background, refs(suspended), time.Time{}))
	w.must(w.root.Revoke(background, refs(revoked), ""))
	w.disable("bob")
	w.wait(time.Second)
	answers := map[string][]string{}
	for what, s := range map[string]secret.Secret{
		"suspended": suspended.Secret, "revoked": revoked.Secret, "expired": expired.Secret, "owner disabled": ownerless.Secret,
		"wrong": secret.New(secret.RefreshToken, live.Token.ID), "unknown": secret.New(secret.RefreshToken, secret.NewID(w.now())),
		"of another kind": w.generate(w.alice, user()).Secret, "an access token": w.exchange(live.Secret).Text,
		"garbage": secret.FromText("garbage"), "nothing": {},
	} {
		a, err := w.stranger().Exchange(background, authority.Exchange{RefreshToken: s})
		w.fails(err, token.ErrRefused)
		if !a.Text.IsZero() {
			w.Errorf("%s: there is an access token", what)
		}
		answers[err.Error()] = append(answers[err.Error()], what)
	}
	if len(answers) != 1 {
		w.Errorf("there are %d answers: %q", len(answers), answers)
	}
}
