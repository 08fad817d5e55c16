package authoritytest

import (
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var providers = []rule{
	{"A provider is added, shown, changed and deleted", providerLife},
	{"A provider that could not be used is not taken", providerBad},
	{"Two providers have two names and two issuers", providerConflicts},
	{"Providers are an administrator's", providerRights},
	{"Who may log in at a provider is told to everybody", providerLogins},
}

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
	{"A JWT becomes an access token", subjectExchange},
	{"Only what is held and on offer can be asked for", subjectRoles},
	{"An access token becomes a narrower one", subjectNarrower},
	{"What came of a JWT ends with account, link and provider", subjectEnds},
	{"What came of a JWT can be revoked", subjectRevoked},
	{"A token of ours is no subject token", subjectKinds},
	{"What every check finds can be asked", explainJWT},
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

func providerLife(w *world) {
	i := w.issuer("https://login.example.org")
	p := i.Provider("corp")
	p.RoleClaim, p.RoleMap, p.ClientID = "groups", []token.RoleMapping{{From: "a=b", Role: "reader"}}, "cli"
	p.Require = []token.ClaimValue{{Claim: "owner", Value: "7"}, {Claim: "owner", Value: "a=b"}}
	got, err := w.root.AddProvider(background, p)
	w.must(err)
	p.CreatedAt, p.CreatedBy, p.Revision = w.second(), local("root"), 1
	w.equal("the provider that was added", got, p)
	got, err = w.bob.Provider(background, "corp")
	w.must(err)
	w.equal("the provider that is shown", got, p)
	got.Issuer, got.Disabled, got.Leeway = "https://other.example.org", true, 0
	done := w.changes(func() {
		now, err := w.admin.SetProvider(background, got)
		w.must(err)
		got.Revision = 2
		w.equal("the provider that was changed", now, got)
	})
	w.equal("what the log says", done, []string{"provider.disable"})
	stale := got
	stale.Revision = 1
	_, err = w.admin.SetProvider(background, stale)
	w.fails(err, token.ErrConflict)
	var names []string
	for p, err := range w.bob.ListProviders(background) {
		w.must(err)
		names = append(names, p.Name)
	}
	w.equal("the list", names, []string{"corp"})
	w.must(w.admin.DeleteProvider(background, "corp"))
	_, err = w.root.Provider(background, "corp")
	w.fails(err, token.ErrNotFound)
	w.fails(w.root.DeleteProvider(background, "corp"), token.ErrNotFound)
	_, err = w.root.SetProvider(background, got)
	w.fails(err, token.ErrNotFound)
}

func providerBad(w *world) {
	i := w.issuer("https://login.example.org")
	for what, change := range map[string]func(*token.Provider){
		"no name":               func(p *token.Provider) { p.Name = "" },
		"the name local":        func(p *token.Provider) { p.Name = "local" },
		"the name Local":        func(p *token.Provider) { p.Name = "Local" },
		"no issuer":             func(p *token.Provider) { p.Issuer = "" },
		"no audience":           func(p *token.Provider) { p.Audiences = nil },
		"a symmetric algorithm": func(p *token.Provider) { p.Algorithms = []token.Algorithm{"HS256"} },
		"no signature":          func(p *token.Provider) { p.Algorithms = []token.Algorithm{"none"} },
		"six certificates": func(p *token.Provider) {
			p.Certificates = [][]byte{i.Certificate, i.Certificate, i.Certificate, i.Certificate, i.Certificate, i.Certificate}
		},
		"keys over http":      func(p *token.Provider) { p.Certificates, p.JWKSURL = nil, "http://login.example.org/keys" },
		"no claim":            func(p *token.Provider) { p.Claim = "" },
		"a leeway of an hour": func(p *token.Provider) { p.Leeway = time.Hour },
	} {
		p := i.Provider("corp")
		change(&p)
		if _, err := w.root.AddProvider(background, p); err == nil {
			w.Errorf("%s: it is taken", what)
		} else {
			w.fails(err, token.ErrUsage)
		}
	}
}

func providerConflicts(w *world) {
	i := w.issuer("https://login.example.org")
	i.add("corp", nil)
	_, err := w.root.AddProvider(background, i.Provider("corp"))
	w.fails(err, token.ErrConflict)
	_, err = w.root.AddProvider(background, i.Provider("other"))
	w.fails(err, token.ErrConflict)
	second := w.issuer("https://two.example.org").add("two", nil)
	_, err = w.root.AddProvider(background, w.issuer("https://three.example.org").Provider("CORP"))
	w.fails(err, token.ErrConflict)
	second.Issuer = i.URL
	_, err = w.root.SetProvider(background, second)
	w.fails(err, token.ErrConflict)
	_, err = w.root.AddProvider(background, w.issuer("http://127.0.0.1:8470").Provider("self"))
	w.fails(err, token.ErrConflict)
	_, err = w.root.SetPolicy(background, map[string]string{"issuer": i.URL})
	w.fails(err, token.ErrConflict)
	w.addAccount(token.Account{Owner: token.Owner{Realm: "staff", Name: "eve"}})
	_, err = w.root.AddProvider(background, w.issuer("https://three.example.org").Provider("staff"))
	w.fails(err, token.ErrConflict)
}

func providerRights(w *world) {
	i := w.issuer("https://login.example.org")
	p := i.add("corp", nil)
	for _, s := range []authority.Service{w.bob, w.auditor} {
		_, err := s.AddProvider(background, w.issuer("https://two.example.org").Provider("two"))
		w.fails(err, token.ErrRefused)
		_, err = s.SetProvider(background, p)
		w.fails(err, token.ErrRefused)
		w.fails(s.DeleteProvider(background, "corp"), token.ErrRefused)
		_, err = s.LinkIdentity(background, local("bob"), "corp", "b")
		w.fails(err, token.ErrRefused)
		_, err = s.UnlinkIdentity(background, local("bob"), "corp", "b")
		w.fails(err, token.ErrRefused)
	}
	_, err := w.bob.ExplainJWT(background, i.jwt("alice", nil))
	w.fails(err, token.ErrRefused)
	_, err = w.auditor.ExplainJWT(background, i.jwt("alice", nil))
	w.must(err)
}

func providerLogins(w *world) {
	i := w.issuer("https://login.example.org")
	i.add("corp", func(p *token.Provider) { p.ClientID, p.Audiences = "cli", []string{"a", "b"} })
	w.issuer("https://two.example.org").add("two", nil)
	w.issuer("https://off.example.org").add("off", func(p *token.Provider) { p.ClientID, p.Disabled = "cli", true })
	got, err := w.stranger().LoginProviders(background)
	w.must(err)
	w.equal("the providers to log in at", got, []token.Provider{{Name: "corp", Issuer: i.URL, ClientID: "cli", Audiences: []string{"a"}}})
}

func federatedLinked(w *world) {
	i := w.corp()
	w.link("alice", "a-4711")
	jwt := i.jwt("a-4711", map[string]any{"jti": "j1"})
	w.equal("the identity", w.accepts(jwt), token.Identity{
		Kind: token.Federated, Owner: local("alice"), Roles: []token.Role{"reader", "writer"}, Provider: "corp", Issuer: i.URL, JWTID: "j1",
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

func subjectExchange(w *world) {
	i := w.corp()
	w.link("alice", "a")
	jwt := i.jwt("a", nil)
	a := w.mustSubject(jwt, authority.Exchange{ClientID: "default"})
	id := w.accepts(a.Text)
	w.equal("the identity", id, token.Identity{
		Kind: token.Access, ID: id.ID, Owner: local("alice"), Roles: []token.Role{"reader", "writer"}, Connection: "default", Provider: "corp",
		ExpiresAt: w.second().Add(time.Hour), Until: w.second().Add(time.Hour),
		Issuer: "http://127.0.0.1:8470", Audience: "urn:tokenctl:default", JWTID: id.JWTID, IssuedAt: w.second(),
	})
	w.equal("how long it lives", a.ExpiresIn, time.Hour)
	if id.ID.IsZero() || id.JWTID == "" {
		w.Error("the access token has no id")
	}
	w.mustSubject(jwt, authority.Exchange{Resource: "urn:tokenctl:default"})
	_, err := w.subject(jwt, authority.Exchange{Resource: "urn:other"})
	w.fails(err, authority.ErrInvalidTarget)
	_, err = w.subject(jwt, authority.Exchange{ClientID: "nowhere"})
	w.fails(err, token.ErrRefused)
	_, err = w.subject(i.jwt("a", map[string]any{"aud": "other"}), authority.Exchange{})
	w.fails(err, token.ErrRefused)
	late := i.jwt("a", map[string]any{"exp": w.now().Add(-30 * time.Second).Unix()})
	w.accepts(late) // clocks differ
	_, err = w.subject(late, authority.Exchange{})
	w.fails(err, token.ErrRefused)
	_, err = w.root.Exchange(background, authority.Exchange{SubjectToken: jwt, RefreshToken: w.generate(w.alice, refresh()).Secret})
	w.fails(err, token.ErrUsage)
	w.wait(time.Hour + time.Second)
	w.refuses(a.Text, authority.TokenExpired)
}

func subjectRoles(w *world) {
	i := w.corp()
	w.link("alice", "a")
	a := w.mustSubject(i.jwt("a", nil), authority.Exchange{Roles: []token.Role{"reader"}})
	w.equal("the chosen role", w.accepts(a.Text).Roles, []token.Role{"reader"})
	_, err := w.subject(i.jwt("a", nil), authority.Exchange{Roles: []token.Role{"reader", "boss"}})
	w.fails(err, authority.ErrInvalidScope)
	c := token.NewConnection("narrow")
	c.Roles = []token.Role{"reader", "boss"}
	_, err = w.root.AddConnection(background, c)
	w.must(err)
	a = w.mustSubject(i.jwt("a", nil), authority.Exchange{ClientID: "narrow"})
	w.equal("what is on offer", w.acceptsOf("narrow", a.Text).Roles, []token.Role{"reader"})
	_, err = w.subject(i.jwt("a", nil), authority.Exchange{ClientID: "narrow", Roles: []token.Role{"writer"}})
	w.fails(err, authority.ErrInvalidScope)
	w.link("admin", "boss")
	a = w.mustSubject(i.jwt("boss", nil), authority.Exchange{ClientID: "narrow"})
	w.equal("what an administrator has of it", w.acceptsOf("narrow", a.Text).Roles, []token.Role{"reader", "boss"})
}

// acceptsOf is accepts where a connection is demanded.
func (w *world) acceptsOf(connection string, s secret.Secret) token.Identity {
	w.Helper()
	id, err := w.root.Verify(background, authority.Presented{Credential: s, Connection: connection})
	w.must(err)
	return id
}

func subjectNarrower(w *world) {
	r := w.generate(w.alice, refresh("reader", "writer"))
	a := w.exchange(r.Secret)
	was := w.accepts(a.Text)
	w.wait(10 * time.Minute)
	n := w.mustSubject(a.Text, authority.Exchange{Roles: []token.Role{"reader"}})
	id := w.accepts(n.Text)
	w.equal("the roles", id.Roles, []token.Role{"reader"})
	w.equal("the parent", id.ID, was.ID)
	w.equal("the end", id.ExpiresAt, was.ExpiresAt)
	_, err := w.subject(n.Text, authority.Exchange{Roles: []token.Role{"writer"}})
	w.fails(err, authority.ErrInvalidScope)
	_, err = w.root.AddConnection(background, token.NewConnection("other"))
	w.must(err)
	_, err = w.subject(a.Text, authority.Exchange{ClientID: "other"})
	w.fails(err, token.ErrRefused)
	w.must(w.alice.Revoke(background, refs(r), ""))
	w.refuses(n.Text, authority.TokenRevoked)
	_, err = w.subject(a.Text, authority.Exchange{})
	w.fails(err, token.ErrRefused)
}

func subjectEnds(w *world) {
	i := w.corp()
	w.link("alice", "a")
	a := w.mustSubject(i.jwt("a", nil), authority.Exchange{})
	w.disable("alice")
	w.refuses(a.Text, authority.OwnerDisabled)
	w.setAccount("alice", func(a *token.Account) { a.Disabled = false })
	w.accepts(a.Text)
	p, err := w.root.Provider(background, "corp")
	w.must(err)
	p.Disabled = true
	p, err = w.root.SetProvider(background, p)
	w.must(err)
	w.refuses(a.Text, authority.ProviderOff)
	p.Disabled = false
	_, err = w.root.SetProvider(background, p)
	w.must(err)
	w.accepts(a.Text)
	w.link("alice", "a2")
	_, err = w.root.UnlinkIdentity(background, local("alice"), "corp", "a")
	w.must(err)
	w.refuses(a.Text, authority.UnlinkedSubject) // another of hers does not count
	w.link("alice", "a")
	w.accepts(a.Text)
	_, err = w.root.UnlinkIdentity(background, local("alice"), "corp", "a")
	w.must(err)
	_, err = w.stranger().RevokeSecret(background, a.Text, "") // for good, though it is refused now
	w.must(err)
	w.link("alice", "a")
	w.refuses(a.Text, authority.TokenRevoked)
	e := w.mustSubject(i.jwt("eve", nil), authority.Exchange{})
	w.must(w.root.DeleteAccount(background, corp("eve")))
	w.refuses(e.Text, authority.OwnerGone)
}

func subjectRevoked(w *world) {
	i := w.corp()
	a := w.mustSubject(i.jwt("eve", nil), authority.Exchange{})
	other := w.mustSubject(i.jwt("eve", nil), authority.Exchange{})
	n := w.mustSubject(a.Text, authority.Exchange{})
	got, err := w.stranger().RevokeSecret(background, n.Text, "leaked")
	w.must(err)
	w.equal("whose it was", got.Owner, corp("eve"))
	w.refuses(a.Text, authority.TokenRevoked)
	w.refuses(n.Text, authority.TokenRevoked)
	w.accepts(other.Text)
	_, err = w.subject(a.Text, authority.Exchange{})
	w.fails(err, token.ErrRefused)
	entries := w.audit(audit.Filter{})
	w.equal("what the log says last", entries[len(entries)-1].Action, "token.revoke")
	_, err = w.stranger().RevokeSecret(background, i.jwt("eve", nil), "leaked")
	w.fails(err, token.ErrUsage)
}

func subjectKinds(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	for _, s := range []secret.Secret{pair(u), u.Secret, r.Secret} {
		_, err := w.subject(s, authority.Exchange{})
		w.fails(err, token.ErrRefused)
	}
	_, err := w.subject(secret.FromText("a.b.c"), authority.Exchange{})
	w.fails(err, token.ErrRefused)
}

func explainJWT(w *world) {
	i := w.corp()
	w.link("alice", "a")
	e, err := w.root.ExplainJWT(background, i.jwt("a", nil))
	w.must(err)
	if !e.Accepted || e.Owner != local("alice") || e.Provider != "corp" || len(e.Findings) < 9 {
		w.Errorf("the explanation of one that is accepted is %+v", e)
	}
	for _, f := range e.Findings {
		if !f.OK || f.Text == "" {
			w.Errorf("of one that is accepted a check finds %+v", f)
		}
	}
	e, err = w.root.ExplainJWT(background, i.jwt("a", map[string]any{"aud": "other", "nonce": "n"}))
	w.must(err)
	failed := map[string]bool{}
	for _, f := range e.Findings {
		failed[f.Check] = !f.OK
	}
	if e.Accepted || !e.Owner.IsZero() || !failed["audience"] || !failed["kind"] || failed["issuer"] {
		w.Errorf("the explanation of one for others is %+v", e)
	}
	_, err = w.root.ExplainJWT(background, w.generate(w.alice, user()).Secret)
	w.fails(err, token.ErrUsage)
}
