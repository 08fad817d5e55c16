package authoritytest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var accessTokens = []rule{
	{"An access token stands for its parent's owner", accessIdentity},
	{"It ends at the very moment", accessExpires},
	{"It rests and ends with its parent", accessParent},
	{"It dies with its owner's account", accessOwner},
	{"It loses the roles that its owner loses, and gains none", accessRoles},
	{"It is of the issuer that the policy names", accessIssuer},
	{"It dies with its connection", accessConnection},
	{"A connection may be demanded", accessDemandsConnection},
	{"What was changed about it is noticed", accessForged},
}

func accessIdentity(w *world) {
	r := w.generate(w.alice, refresh("reader"))
	a := w.exchange(r.Secret)
	id := w.accepts(a.Text)
	if id.JWTID == "" {
		w.Error("the access token has no id of its own")
	}
	w.equal("the identity", id, token.Identity{
		Kind: token.Access, ID: r.Token.ID, Owner: local("alice"), Roles: []token.Role{"reader"}, Connection: "default", ExpiresAt: w.second().Add(time.Hour),
		Issuer: "http://127.0.0.1:8470", Audience: "urn:tokenctl:default", JWTID: id.JWTID, IssuedAt: w.second(), Until: r.Token.ExpiresAt,
	})
	e, err := w.root.Explain(background, a.Text)
	w.must(err)
	if e.Token == nil || e.Token.ID != r.Token.ID {
		w.Errorf("the explanation does not show the parent: %+v", e)
	}
}

func accessExpires(w *world) {
	r := w.generate(w.alice, refresh())
	w.until(w.second())
	a := w.exchange(r.Secret)
	w.wait(time.Hour - 1)
	w.accepts(a.Text)
	w.wait(1)
	w.refuses(a.Text, authority.TokenExpired)
	w.wait(time.Hour)
	w.refuses(a.Text, authority.TokenExpired)
	w.accepts(w.exchange(r.Secret).Text)
}

func accessParent(w *world) {
	r := w.generate(w.alice, refresh())
	a := w.exchange(r.Secret)
	w.must(w.alice.Suspend(background, refs(r), time.Time{}))
	w.refuses(a.Text, authority.TokenSuspended)
	w.must(w.alice.Resume(background, refs(r)))
	w.accepts(a.Text)
	_, err := w.alice.Rotate(background, token.Ref{ID: r.Token.ID}, authority.Rotation{})
	w.must(err)
	w.accepts(a.Text) // the token is the same, with another secret
	w.must(w.alice.Revoke(background, refs(r), ""))
	w.refuses(a.Text, authority.TokenRevoked)

	r = w.generate(w.alice, refresh())
	a = w.exchange(r.Secret)
	w.must(w.alice.Delete(background, refs(r)))
	w.refuses(a.Text, authority.UnknownToken)
}

func accessOwner(w *world) {
	a := w.exchange(w.generate(w.alice, refresh()).Secret)
	w.disable("alice")
	w.refuses(a.Text, authority.OwnerDisabled)
	w.setAccount("alice", func(a *token.Account) { a.Disabled = false })
	w.accepts(a.Text)
	w.must(w.root.DeleteAccount(background, local("alice")))
	w.refuses(a.Text, authority.TokenRevoked)
}

func accessRoles(w *world) {
	a := w.exchange(w.generate(w.alice, refresh("reader", "operator")).Secret)
	for _, roles := range [][]token.Role{{"operator"}, {}, {token.Auditor}} {
		w.setAccount("alice", func(a *token.Account) { a.Roles = roles })
		w.equal("without the role", len(w.accepts(a.Text).Roles), 0)
		_, err := w.root.Verify(background, authority.Presented{Credential: a.Text, Role: "reader"})
		w.fails(err, token.ErrRefused)
	}
	w.setAccount("alice", func(a *token.Account) { a.Roles = []token.Role{token.Admin} })
	w.equal("an administrator's", w.accepts(a.Text).Roles, []token.Role{"reader"})
}

func accessIssuer(w *world) {
	r := w.generate(w.alice, refresh())
	a := w.exchange(r.Secret)
	w.set(w.root, "issuer", "https://tokens.example.org")
	w.refuses(a.Text, authority.WrongIssuer)
	w.accepts(w.exchange(r.Secret).Text)
	w.set(w.root, "issuer", "http://127.0.0.1:8470")
	w.accepts(a.Text)
}

func accessConnection(w *world) {
	_, err := w.root.AddConnection(background, token.NewConnection("crm"))
	w.must(err)
	spec := refresh()
	spec.Connection = "crm"
	r := w.generate(w.alice, spec)
	a := w.exchange(r.Secret)
	w.must(w.root.Revoke(background, refs(r), ""))
	w.must(w.root.DeleteConnection(background, "crm"))
	w.refuses(a.Text, authority.WrongConnection)
}

func accessDemandsConnection(w *world) {
	r, u := w.generate(w.alice, refresh()), w.generate(w.alice, user())
	a := w.exchange(r.Secret)
	for _, c := range []struct {
		s          secret.Secret
		connection string
		ok         bool
	}{{a.Text, "default", true}, {a.Text, "crm", false}, {a.Text, "Default", false}, {u.Secret, "crm", true}} {
		_, err := w.root.Verify(background, authority.Presented{Credential: c.s, Connection: c.connection})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrRefused) {
			w.Errorf("the connection %s demanded: %v", c.connection, err)
		}
	}
}

func accessForged(w *world) {
	r := w.generate(w.alice, refresh("reader"))
	text := w.exchange(r.Secret).Text.Reveal()
	w.accepts(secret.FromText(text))
	parts := strings.Split(text, ".")
	encode := base64.RawURLEncoding.EncodeToString
	claims := w.jwt(authority.AccessToken{Text: secret.FromText(text)}).claims
	claims["urn:identify:rest-api:role"] = []string{"reader", "writer"}
	wider, err := json.Marshal(claims)
	w.must(err)
	other := strings.Split(w.exchange(w.generate(w.bob, refresh()).Secret).Text.Reveal(), ".")
	header := func(json string) string { return encode([]byte(json)) }
	for what, forged := range map[string]string{
		"wider claims":             parts[0] + "." + encode(wider) + "." + parts[2],
		"another's signature":      parts[0] + "." + parts[1] + "." + other[2],
		"another's claims":         parts[0] + "." + other[1] + "." + parts[2],
		"no signature":             parts[0] + "." + parts[1] + ".",
		"the algorithm none":       header(`{"alg":"none","typ":"at+jwt"}`) + "." + encode(wider) + ".",
		"a symmetric algorithm":    header(`{"alg":"HS256","typ":"at+jwt"}`) + "." + parts[1] + "." + parts[2],
		"an ID token":              header(`{"alg":"EdDSA","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"a key of its own":         header(`{"alg":"EdDSA","typ":"at+jwt","jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}}`) + "." + parts[1] + "." + parts[2],
		"padding":                  text + "=",
		"a space after":            text + " ",
		"a fourth part":            text + ".x",
		"upper case":               strings.ToUpper(text),
		"nothing between":          "..",
		"16 KiB and more":          parts[0] + "." + strings.Repeat("A", 17<<10) + "." + parts[2],
		"the claims without a sig": parts[0] + "." + parts[1],
	} {
		id, err := w.verify(secret.FromText(forged))
		if !errors.Is(err, token.ErrRefused) || !id.Owner.IsZero() {
			w.Errorf("%s: %+v, %v", what, id, err)
		}
	}
	for i := range text {
		flipped := []byte(text)
		flipped[i] ^= 1
		if _, err := w.verify(secret.FromText(string(flipped))); !errors.Is(err, token.ErrRefused) {
			w.Errorf("a bit of character %d flipped: %v", i, err)
		}
	}
}
