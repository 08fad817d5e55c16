package authoritytest

import (
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var uses = []rule{
	{"What counts as a use is noted, with its address", useIsNoted},
	{"Looking does not count", lookingIsNoUse},
	{"What is refused does not count", refusedIsNoUse},
	{"A last use is known to 30 seconds", usePrecision},
	{"The use of an access token is its parent's, to 30 seconds too", accessUse},
	{"A use is no change", useIsNoChange},
}

// lastUse is when and from where a token was last used.
func (w *world) lastUse(i authority.Issued) token.Use {
	w.Helper()
	t := w.get(i.Token.ID)
	return token.Use{At: t.LastUsedAt, From: t.LastUsedFrom}
}

func useIsNoted(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	w.equal("at first", w.lastUse(u), token.Use{})
	w.wait(time.Hour)
	w.use(pair(u), "192.0.2.1")
	w.equal("after a verification that counts", w.lastUse(u), token.Use{At: w.second(), From: "192.0.2.1"})
	w.wait(time.Hour)
	_, err := w.stranger().Exchange(background, authority.Exchange{RefreshToken: r.Secret, From: "192.0.2.2"})
	w.must(err)
	w.equal("after an exchange", w.lastUse(r), token.Use{At: w.second(), From: "192.0.2.2"})
}

func lookingIsNoUse(w *world) {
	u := w.generate(w.alice, user())
	w.accepts(u.Secret) // Verify without CountsAsUse, and Explain
	w.list(w.alice, token.Selector{Owner: local("alice")})
	w.equal("the last use", w.lastUse(u), token.Use{})
}

func refusedIsNoUse(w *world) {
	u := w.generate(w.alice, user())
	for _, p := range []authority.Presented{
		{Credential: secret.New(secret.Passcode, u.Token.ID)},
		{Credential: u.Secret, Role: "operator"},
		{Credential: u.Secret, Kinds: []token.Kind{token.Refresh}},
	} {
		p.CountsAsUse = true
		_, err := w.root.Verify(background, p)
		w.fails(err, token.ErrRefused)
	}
	w.must(w.alice.Suspend(background, refs(u), time.Time{}))
	_, err := w.root.Verify(background, authority.Presented{Credential: u.Secret, CountsAsUse: true})
	w.fails(err, token.ErrRefused)
	w.equal("the last use", w.lastUse(u), token.Use{})
}

func usePrecision(w *world) {
	u := w.generate(w.alice, user())
	w.until(w.second())
	first := token.Use{At: w.second(), From: "192.0.2.1"}
	w.use(u.Secret, first.From)
	w.wait(30*time.Second - 1)
	w.use(u.Secret, "192.0.2.2")
	w.equal("within 30 seconds", w.lastUse(u), first)
	w.wait(1)
	w.use(u.Secret, "192.0.2.3")
	w.equal("after 30 seconds", w.lastUse(u), token.Use{At: first.At.Add(30 * time.Second), From: "192.0.2.3"})
}

func accessUse(w *world) {
	r := w.generate(w.alice, refresh("reader"))
	a := w.exchange(r.Secret)
	w.wait(time.Minute)
	first := token.Use{At: w.second(), From: "192.0.2.1"}
	w.use(a.Text, first.From)
	w.equal("the parent's last use", w.lastUse(r), first)
	w.wait(29 * time.Second)
	w.use(a.Text, "192.0.2.2")
	w.equal("within 30 seconds", w.lastUse(r), first)
	w.wait(time.Second)
	w.use(a.Text, "192.0.2.3")
	w.equal("after 30 seconds", w.lastUse(r), token.Use{At: w.second(), From: "192.0.2.3"})
}

func useIsNoChange(w *world) {
	u := w.generate(w.alice, user())
	done := w.changes(func() { w.use(u.Secret, "192.0.2.1") })
	w.equal("what the log says", len(done), 0)
	w.equal("the revision", w.get(u.Token.ID).Revision, u.Token.Revision)
	w.must(w.alice.Revoke(background, []token.Ref{ref(u)}, "")) // as it was seen before its use
}
