package authoritytest

import (
	"errors"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var ending = []rule{
	{"Revoke leaves a tombstone", revokeTombstone},
	{"Revoking what is revoked changes nothing", revokeTwice},
	{"Each takes all of the tokens or none", allOrNone},
	{"Each holds for what was seen", staleRefs},
	{"A secret is revoked whatever state its token is in", revokeSecret},
	{"Only a secret that is right revokes", revokeWrongSecret},
	{"A suspension lasts until its end or a Resume", suspend},
	{"Only what lives can rest", suspendEnded},
	{"Delete leaves nothing but the log", deleteToken},
	{"A tombstone stays", deleteTombstone},
}

func revokeTombstone(w *world) {
	i := w.generate(w.alice, refresh("reader"))
	w.wait(time.Hour)
	w.must(w.root.Revoke(background, refs(i), "laptop lost"))
	got, want := w.get(i.Token.ID), i.Token
	want.Status, want.Revision, want.LastChange = token.Revoked, 2, token.Other
	want.RevokedAt, want.RevokedBy, want.RevokedReason = w.second(), local("root"), "laptop lost"
	w.equal("the tombstone", got, want)
	w.refuses(i.Secret, authority.TokenRevoked)
	e, err := w.root.Explain(background, i.Secret)
	if err != nil || !strings.Contains(e.Text, "laptop lost") || !strings.Contains(e.Text, "local/root") {
		w.Errorf("the explanation is %q, %v", e.Text, err)
	}
	w.equal("the lists", []int{len(w.list(w.alice, token.Selector{Owner: local("alice")})), len(w.list(w.alice, token.Selector{Owner: local("alice"), Ended: true}))}, []int{0, 1})

	expired := w.generate(w.alice, lasting(refresh(), time.Second))
	w.wait(time.Minute)
	w.must(w.alice.Revoke(background, refs(expired), "late"))
	w.equal("the state", w.get(expired.Token.ID).Status, token.Revoked)

	w.fails(w.alice.Revoke(background, refs(w.generate(w.alice, user())), strings.Repeat("x", 1025)), token.ErrUsage)
}

func revokeTwice(w *world) {
	i := w.generate(w.alice, user())
	w.must(w.root.Revoke(background, refs(i), "first"))
	w.unchanged("a second Revoke", func() { w.must(w.alice.Revoke(background, refs(i), "second")) })
	w.equal("who and why", []string{w.get(i.Token.ID).RevokedBy.Name, w.get(i.Token.ID).RevokedReason}, []string{"root", "first"})
}

// each are the changes that take many tokens.
func (w *world) each(s authority.Tokens) map[string]func([]token.Ref) error {
	return map[string]func([]token.Ref) error{
		"Revoke":  func(r []token.Ref) error { return s.Revoke(background, r, "") },
		"Suspend": func(r []token.Ref) error { return s.Suspend(background, r, time.Time{}) },
		"Resume":  func(r []token.Ref) error { return s.Resume(background, r) },
		"Delete":  func(r []token.Ref) error { return s.Delete(background, r) },
	}
}

func allOrNone(w *world) {
	good, stale, other := w.generate(w.alice, refresh()), w.generate(w.alice, refresh()), w.generate(w.bob, refresh())
	w.must(w.root.Suspend(background, refs(good, stale, other), time.Time{}))
	missing := token.Ref{ID: other.Token.ID}
	missing.ID[9] ^= 1
	for name, do := range w.each(w.alice) {
		for what, c := range map[string]struct {
			ref  token.Ref
			kind error
		}{
			"another's":     {token.Ref{ID: other.Token.ID}, token.ErrRefused},
			"one not there": {missing, token.ErrNotFound},
			"a stale one":   {ref(stale), token.ErrConflict},
		} {
			w.unchanged(name+" of a good one and "+what, func() {
				w.fails(do(append(refs(good), c.ref)), c.kind)
			})
		}
		w.unchanged(name+" of none", func() { w.must(do(nil)) })
	}
	for _, name := range []string{"Resume", "Suspend", "Revoke"} {
		w.must(w.each(w.root)[name](refs(good, other)))
		want := map[string]token.Status{"Resume": token.Active, "Suspend": token.Suspended, "Revoke": token.Revoked}[name]
		w.equal(name+" of both", []token.Status{w.get(good.Token.ID).Status, w.get(other.Token.ID).Status}, []token.Status{want, want})
	}
	both := refs(w.generate(w.alice, user()), w.generate(w.bob, user()))
	w.must(w.root.Delete(background, both))
	w.gone(both[0].ID)
	w.gone(both[1].ID)
}

func staleRefs(w *world) {
	for name := range w.each(w.alice) {
		i := w.generate(w.alice, refresh())
		w.rotate(i, authority.Rotation{})
		w.unchanged(name, func() { w.fails(w.each(w.alice)[name]([]token.Ref{ref(i)}), token.ErrConflict) })
		now := w.seen(i)
		w.must(w.each(w.alice)[name]([]token.Ref{now}))
	}
}

func revokeSecret(w *world) {
	for what, prepare := range map[string]func(authority.Issued){
		"active":         func(authority.Issued) {},
		"suspended":      func(i authority.Issued) { w.must(w.root.Suspend(background, refs(i), time.Time{})) },
		"expired":        func(i authority.Issued) { w.until(i.Token.ExpiresAt) },
		"owner disabled": func(authority.Issued) { w.disable("bot") },
	} {
		i := w.generate(w.root, owned(refresh(), "bot"))
		prepare(i)
		got, err := w.bob.RevokeSecret(background, i.Secret, "pasted")
		w.must(err)
		w.equal(what, got, w.get(i.Token.ID))
		w.equal(what, []any{got.Status, got.RevokedBy, got.RevokedReason}, []any{token.Revoked, local("bob"), "pasted"})
		w.setAccount("bot", func(a *token.Account) { a.Disabled = false })
	}
	// A secret in its grace is the token's as well, and so is Basic's pair.
	first := w.generate(w.alice, user())
	w.rotate(first, authority.Rotation{Grace: time.Hour})
	_, err := w.alice.RevokeSecret(background, pair(first), "")
	w.must(err)
	w.equal("the state", w.get(first.Token.ID).Status, token.Revoked)
}

func revokeWrongSecret(w *world) {
	i, revoked := w.generate(w.alice, user()), w.generate(w.bob, user())
	rotated := w.generate(w.alice, refresh())
	w.rotate(rotated, authority.Rotation{})
	w.must(w.root.Revoke(background, refs(revoked), ""))
	w.unchanged("a wrong secret", func() {
		for what, s := range map[string]secret.Secret{
			"wrong": secret.New(secret.Passcode, i.Token.ID), "unknown": secret.New(secret.Passcode, secret.NewID(w.now())),
			"garbage": secret.FromText("garbage"), "nothing": {}, "of another kind": disguised(i.Secret, "tkr_"),
			"revoked before": revoked.Secret, "before the rotation": rotated.Secret,
		} {
			if _, err := w.root.RevokeSecret(background, s, ""); !errors.Is(err, token.ErrRefused) {
				w.Errorf("%s: %v", what, err)
			}
		}
		_, err := w.root.RevokeSecret(background, i.Secret, strings.Repeat("x", 1025))
		w.fails(err, token.ErrUsage)
	})
}

func suspend(w *world) {
	i := w.generate(w.alice, user())
	w.unchanged("a Resume of what does not rest", func() { w.must(w.alice.Resume(background, refs(i))) })
	until := w.now().Add(time.Hour) // with a part of a second, which is dropped
	w.must(w.alice.Suspend(background, refs(i), until))
	got := w.get(i.Token.ID)
	w.equal("it rests", []any{got.Status, got.SuspendedAt, got.SuspendedUntil}, []any{token.Suspended, w.second(), until.Truncate(time.Second)})
	w.until(until.Truncate(time.Second))
	w.accepts(i.Secret)

	w.must(w.alice.Suspend(background, refs(i), time.Time{}))
	w.wait(1000 * token.Day)
	w.refuses(i.Secret, authority.TokenSuspended)
	w.must(w.alice.Suspend(background, refs(i), w.now().Add(time.Minute))) // shorter now
	w.must(w.alice.Suspend(background, refs(i), w.now().Add(time.Hour).In(time.FixedZone("x", 7200))))
	w.wait(time.Minute)
	w.refuses(i.Secret, authority.TokenSuspended)
	w.must(w.alice.Resume(background, refs(i)))
	w.accepts(i.Secret)
	got = w.get(i.Token.ID)
	w.equal("nothing is left of it", []any{got.Status, got.SuspendedAt, got.SuspendedUntil}, []any{token.Active, time.Time{}, time.Time{}})

	w.unchanged("an end that is no future", func() {
		for _, until := range []time.Time{w.now(), w.second(), w.now().Add(-time.Hour), w.second().Add(time.Second - 1)} {
			w.fails(w.alice.Suspend(background, refs(i), until), token.ErrUsage)
		}
	})
}

func suspendEnded(w *world) {
	revoked, expired := w.generate(w.alice, refresh()), w.generate(w.alice, lasting(refresh(), time.Second))
	w.must(w.alice.Revoke(background, refs(revoked), ""))
	w.wait(time.Second)
	w.unchanged("what has ended", func() {
		for _, i := range []authority.Issued{revoked, expired} {
			w.fails(w.alice.Suspend(background, refs(i), time.Time{}), token.ErrConflict)
			w.fails(w.alice.Resume(background, refs(i)), token.ErrConflict)
		}
	})
}

func deleteToken(w *world) {
	for _, spec := range []token.Spec{user(), named("ci"), lasting(refresh(), time.Second)} {
		i := w.generate(w.alice, spec)
		w.use(i.Secret, "")
		w.wait(time.Second)
		w.must(w.alice.Delete(background, refs(i)))
		w.gone(i.Token.ID)
		w.refuses(i.Secret, authority.UnknownToken)
		log := w.audit(audit.Filter{Token: i.Token.ID})
		if len(log) != 2 || log[1].Action != "token.delete" {
			w.Errorf("the log says %+v", log)
		}
		w.fails(w.alice.Delete(background, refs(i)), token.ErrNotFound)
	}
	w.equal("what is left", len(w.list(w.root, token.Selector{Ended: true})), 0)
}

func deleteTombstone(w *world) {
	i := w.generate(w.alice, user())
	w.must(w.alice.Revoke(background, refs(i), ""))
	w.unchanged("a tombstone", func() {
		for _, s := range []authority.Service{w.alice, w.root} {
			w.fails(s.Delete(background, refs(i)), token.ErrConflict)
		}
	})
}
