package authoritytest

import (
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var federated = []rule{
	{"A JWT stands for the account that its subject is linked to", federatedLinked},
	{"A subject without an account is refused, or is the provider's", federatedUnlinked},
	{"An identity stands for one account", federatedOneAccount},
	{"What is unlinked stands for nobody", federatedUnlink},
	{"The name of a provider that is gone vouches for nobody", federatedNameTaken},
	{"A JWT bears the roles that the role map gives", federatedRoles},
	{"Another role map gives other roles, also to what was made before", federatedRoleRules},
	{"An older JWT does not undo what a newer one said", federatedOlder},
	{"What a client may do gives nobody a right", federatedScope},
	{"A token of a provider's owner has a lifetime", federatedLifetime},
}

// issuer is an identity provider of the suite.
type issuer struct {
	*Issuer
	w *world
}

func (w *world) issuer(url string) *issuer {
	w.Helper()
	return &issuer{NewIssuer(w.T, url, w.now), w}
}

func (i *issuer) jwt(subject string, more map[string]any) secret.Secret {
	i.w.Helper()
	return i.JWT(i.w.T, subject, more)
}

// add has the issuer's JWTs accepted.
func (i *issuer) add(name string, change func(*token.Provider)) token.Provider {
	i.w.Helper()
	p := i.Provider(name)
	if change != nil {
		change(&p)
	}
	p, err := i.w.root.AddProvider(background, p)
	i.w.must(err)
	return p
}

// corp is a provider of this name, with subjects that no account is linked to.
func (w *world) corp() *issuer {
	w.Helper()
	i := w.issuer("https://login.example.org")
	i.add("corp", func(p *token.Provider) {
		p.Unlinked, p.RoleClaim = true, "groups"
		p.RoleMap = []token.RoleMapping{{From: "ops", Role: "writer"}, {From: "dev", Role: "reader"}}
	})
	return i
}

func (w *world) subject(s secret.Secret, x authority.Exchange) (authority.AccessToken, error) {
	x.SubjectToken = s
	return w.root.Exchange(background, x)
}

func (w *world) mustSubject(s secret.Secret, x authority.Exchange) authority.AccessToken {
	w.Helper()
	a, err := w.subject(s, x)
	w.must(err)
	return a
}

func (w *world) link(name, subject string) {
	w.Helper()
	_, err := w.root.LinkIdentity(background, local(name), "corp", subject)
	w.must(err)
}

func federatedLinked(w *world) {
	i := w.corp()
	w.link("alice", "a-4711")
	jwt := i.jwt("a-4711", map[string]any{"jti": "j1"})
	w.equal("the identity", w.accepts(jwt), token.Identity{
		Kind: token.Federated, Owner: local("alice"), Roles: []token.Role{"reader", "writer"}, Provider: "corp", Issuer: i.URL, Audience: Audience, JWTID: "j1",
		IssuedAt:  w.second(),
		ExpiresAt: w.now().Add(10 * time.Minute).Truncate(time.Second),
	})
	a, err := w.alice.Account(background, local("alice"))
	w.must(err)
	w.equal("what is linked", a.Identities, []token.LinkedIdentity{{ExternalIdentity: token.ExternalIdentity{Issuer: i.URL, Claim: "sub", Subject: "a-4711"}}})
	w.setAccount("alice", func(a *token.Account) { a.DisplayName, a.Identities = "Alice", nil })
	w.accepts(jwt) // who sets an account does not unlink
	w.disable("alice")
	w.refuses(jwt, authority.OwnerDisabled)
}

func federatedUnlinked(w *world) {
	i := w.corp()
	w.equal("the owner", w.accepts(i.jwt("eve", nil)).Owner, corp("eve"))
	p, err := w.root.Provider(background, "corp")
	w.must(err)
	p.Unlinked = false
	p, err = w.root.SetProvider(background, p)
	w.must(err)
	w.refuses(i.jwt("eve", nil), authority.UnlinkedSubject)
	w.refuses(i.jwt("eve", map[string]any{"aud": "other"}), authority.WrongJWT)
	w.refuses(i.jwt("eve", map[string]any{"exp": start.Add(-time.Hour).Unix()}), authority.WrongJWT)
	w.addAccount(token.Account{Owner: corp("eve"), Roles: []token.Role{"reader"}})
	w.equal("the roles of an account that was made for it", w.accepts(i.jwt("eve", nil)).Roles, []token.Role{"reader"})
	p.Disabled = true
	_, err = w.root.SetProvider(background, p)
	w.must(err)
	w.refuses(i.jwt("eve", nil), authority.WrongJWT)
}

func federatedOneAccount(w *world) {
	w.corp()
	w.link("alice", "a")
	w.link("alice", "a") // again is no error
	_, err := w.root.LinkIdentity(background, local("bob"), "corp", "a")
	w.fails(err, token.ErrConflict)
	w.link("alice", "a2")
	_, err = w.root.LinkIdentity(background, local("nobody"), "corp", "x")
	w.fails(err, token.ErrNotFound)
	_, err = w.root.LinkIdentity(background, local("bob"), "nowhere", "x")
	w.fails(err, token.ErrNotFound)
	for _, bad := range []string{"", " x", "a\u200bb", strings.Repeat("x", 300)} {
		_, err = w.root.LinkIdentity(background, local("bob"), "corp", bad)
		w.fails(err, token.ErrUsage)
	}
	w.must(w.root.DeleteAccount(background, local("alice")))
	w.link("bob", "a") // what nobody has any more
}

func federatedUnlink(w *world) {
	i := w.corp()
	w.link("alice", "a")
	_, err := w.root.UnlinkIdentity(background, local("alice"), "corp", "b")
	w.fails(err, token.ErrNotFound)
	done := w.changes(func() {
		a, err := w.admin.UnlinkIdentity(background, local("alice"), "corp", "a")
		w.must(err)
		w.equal("what is left", len(a.Identities), 0)
	})
	w.equal("what the log says", done, []string{"account.unlink"})
	w.equal("the owner now", w.accepts(i.jwt("a", nil)).Owner, corp("a"))
	w.link("bob", "a")
	w.equal("the owner then", w.accepts(i.jwt("a", nil)).Owner, local("bob"))
}

func federatedNameTaken(w *world) {
	i := w.corp()
	w.mustSubject(i.jwt("eve", nil), authority.Exchange{}) // now she has an account
	w.fails(w.root.DeleteProvider(background, "corp"), token.ErrConflict)
	p, err := w.root.Provider(background, "corp")
	w.must(err)
	other := w.issuer("https://bought.example.org")
	p.Issuer, p.Certificates = other.URL, [][]byte{other.Certificate}
	_, err = w.root.SetProvider(background, p)
	w.must(err)
	w.refuses(other.jwt("eve", nil), authority.UnlinkedSubject) // another eve
	_, err = w.subject(other.jwt("eve", nil), authority.Exchange{})
	w.fails(err, token.ErrRefused)
	w.accepts(other.jwt("mallory", nil))
	w.link("bob", "b")
	_, err = w.root.UnlinkIdentity(background, local("bob"), i.URL, "b") // its name, and another issuer
	w.fails(err, token.ErrNotFound)
	_, err = w.root.UnlinkIdentity(background, local("bob"), other.URL, "b")
	w.must(err)
	_, err = w.root.UnlinkIdentity(background, corp("eve"), "corp", "eve")
	w.fails(err, token.ErrNotFound)
	a, err := w.root.UnlinkIdentity(background, corp("eve"), i.URL, "eve")
	w.must(err)
	w.equal("what is left of the link to an issuer of before", len(a.Identities), 0)
	w.must(w.root.DeleteAccount(background, corp("eve")))
	w.accepts(other.jwt("eve", nil))
	w.must(w.root.DeleteProvider(background, "corp"))
}

func federatedRoles(w *world) {
	i := w.corp()
	w.link("bob", "b")
	jwt := i.jwt("b", map[string]any{"groups": []string{"ops", "dev", "other"}})
	w.equal("the roles", w.accepts(jwt).Roles, []token.Role{"reader", "writer"})
	w.mustSubject(jwt, authority.Exchange{})
	w.equal("those of one without groups", w.accepts(i.jwt("b", nil)).Roles, []token.Role{"reader"})
	w.refuses(i.jwt("b", map[string]any{"groups": 7}), authority.WrongJWT)

	// What it said last counts for what is made, for a time.
	u := w.generate(w.bob, user())
	w.mustSubject(i.jwt("b", nil), authority.Exchange{})
	w.equal("the roles before", w.accepts(pair(u)).Roles, []token.Role{"reader"})
	w.mustSubject(jwt, authority.Exchange{})
	w.equal("the roles after", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
	p, err := w.root.Provider(background, "corp")
	w.must(err)
	was := p
	p.RoleMap = p.RoleMap[1:]
	p, err = w.root.SetProvider(background, p)
	w.must(err)
	w.equal("the roles with another map", w.accepts(pair(u)).Roles, []token.Role{"reader"})
	was.Revision = p.Revision
	p, err = w.root.SetProvider(background, was)
	w.must(err)
	w.equal("the roles with the map of before", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
	w.wait(90*token.Day + time.Second)
	w.equal("the roles after 90 days", w.accepts(pair(u)).Roles, []token.Role{"reader"})
	w.mustSubject(i.jwt("b", map[string]any{"groups": "ops"}), authority.Exchange{})
	w.equal("the roles anew", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
	w.mustSubject(i.jwt("b", nil), authority.Exchange{})
	w.equal("the roles of one who has left the group", w.accepts(pair(u)).Roles, []token.Role{"reader"})
}

func federatedRoleRules(w *world) {
	i := w.corp()
	w.link("bob", "b")
	w.mustSubject(i.jwt("b", map[string]any{"groups": "ops"}), authority.Exchange{})
	u := w.generate(w.bob, user())
	w.equal("the roles by the first map", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
	p, err := w.root.Provider(background, "corp")
	w.must(err)
	p.RoleMap = []token.RoleMapping{{From: "ops", Role: "reader"}, {From: "dev", Role: "writer"}}
	_, err = w.root.SetProvider(background, p)
	w.must(err)
	w.equal("the roles by another", w.accepts(pair(u)).Roles, []token.Role{"reader"})
}

func federatedOlder(w *world) {
	i := w.corp()
	w.link("bob", "b")
	old := i.jwt("b", map[string]any{"groups": "ops"})
	u := w.generate(w.bob, user())
	w.mustSubject(old, authority.Exchange{})
	w.equal("the roles by the first", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
	w.wait(time.Minute)
	w.mustSubject(i.jwt("b", nil), authority.Exchange{})
	w.equal("the roles by the second", w.accepts(pair(u)).Roles, []token.Role{"reader"})
	w.mustSubject(old, authority.Exchange{})
	w.equal("the roles after the first again", w.accepts(pair(u)).Roles, []token.Role{"reader"})
}

func federatedScope(w *world) {
	i := w.issuer("https://login.example.org")
	i.add("corp", func(p *token.Provider) {
		p.Unlinked, p.RoleClaim = true, "scope"
		p.RoleMap = []token.RoleMapping{{From: "read", Role: "reader"}, {From: "all", Role: token.Admin}}
	})
	w.link("alice", "a")
	id := w.accepts(i.jwt("a", map[string]any{"scope": "read other"}))
	w.equal("what is left of her roles", id.Roles, []token.Role{"reader"})
	if !id.Narrowed || !id.Until.Equal(id.ExpiresAt) {
		w.Errorf("it is not narrowed: %+v", id)
	}
	w.equal("a role that she does not have", w.accepts(i.jwt("a", map[string]any{"scope": "read all"})).Roles, []token.Role{"reader"})
	w.equal("how many roles one without an account has", len(w.accepts(i.jwt("eve", map[string]any{"scope": "read all"})).Roles), 0)
	a := w.mustSubject(i.jwt("a", map[string]any{"scope": "read all"}), authority.Exchange{})
	w.equal("the roles of what came of it", w.accepts(a.Text).Roles, []token.Role{"reader"})
	u := w.generate(w.alice, user())
	w.equal("her own roles", w.accepts(pair(u)).Roles, []token.Role{"reader", "writer"})
}

func federatedLifetime(w *world) {
	i := w.corp()
	w.mustSubject(i.jwt("eve", nil), authority.Exchange{})
	eve := w.As(authority.Caller{Owner: corp("eve"), Via: "test"})
	u := w.generate(eve, user())
	w.equal("the end of a user token", u.Token.ExpiresAt, u.Token.CreatedAt.Add(90*token.Day))
	spec := refresh()
	spec.Lifetime = 91 * token.Day
	_, err := eve.Generate(background, spec)
	w.fails(err, token.ErrUsage)
	w.set(w.root, "federated_token_lifetime", "2d")
	r := w.generate(eve, refresh())
	w.equal("the end of a refresh token", r.Token.ExpiresAt, r.Token.CreatedAt.Add(2*token.Day))
	w.equal("what ends what is made with it", w.accepts(pair(u)).Until, u.Token.ExpiresAt)
	_, err = w.root.AddAccount(background, token.Account{Owner: local("robot"), Kind: token.ServiceAccount, Steward: corp("eve")})
	w.must(err)
	robot := user()
	robot.Owner = local("robot")
	s := w.generate(eve, robot)
	w.equal("the end of what she answers for", s.Token.ExpiresAt, s.Token.CreatedAt.Add(2*token.Day))
	w.equal("what ends what is made with that", w.accepts(pair(s)).Until, s.Token.ExpiresAt)
	w.equal("what is made by an owner of our own", w.generate(w.alice, user()).Token.ExpiresAt.IsZero(), true)
}
