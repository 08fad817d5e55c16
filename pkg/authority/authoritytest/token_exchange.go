package authoritytest

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var exchangingSubjects = []rule{
	{"A JWT becomes an access token", subjectExchange},
	{"Only what is held and on offer can be asked for", subjectRoles},
	{"An access token becomes a narrower one", subjectNarrower},
	{"What came of a JWT ends with account, link and provider", subjectEnds},
	{"What came of a JWT can be revoked", subjectRevoked},
	{"A token of ours is no subject token", subjectKinds},
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
