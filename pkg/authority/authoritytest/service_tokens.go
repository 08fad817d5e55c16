package authoritytest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var serviceTokens = []rule{
	{"A password has the form of its service's type, and keeps it", serviceForms},
	{"A second password at a service is a conflict that names the first and the ways out", serviceConflict},
	{"A replacement ends the old one at once, and leaves one", serviceReplace},
	{"Of many at once one is left", serviceAtOnce},
	{"A password is good for its user at its service, and nowhere else", serviceVerify},
	{"It is good while token, owner and service are", serviceStates},
	{"A stranger hears the same for every reason", serviceStranger},
	{"The old password is good as long as the grace says", serviceRotate},
	{"A Generate or Rotate is undone, and what was replaced is as it was", serviceTakeBack},
	{"One for somebody else is in the log with both identities, and without the password", serviceForOther},
	{"A narrowed credential makes none", serviceNarrowed},
	{"A use is noted, and lifetimes follow the policy", serviceUse},
}

// at is what a password at a service is asked for by, replacing one that in the
// place of another.
func at(service string) token.Spec { return token.Spec{Kind: token.Service, Service: service} }

func replacing(service string) token.Spec {
	return token.Spec{Kind: token.Service, Service: service, Replace: true}
}

func (w *world) verifyAt(service, user string, s secret.Secret) (token.Identity, error) {
	return w.stranger().Verify(background, authority.Presented{Credential: s, User: user, Service: service})
}

// acceptsAt sees to it that a password is the user's at a service, and says
// whose it is.
func (w *world) acceptsAt(service, user string, s secret.Secret) token.Identity {
	w.Helper()
	id, err := w.verifyAt(service, user, s)
	if err != nil {
		w.Errorf("the password of %q at %s is not accepted: %v", user, service, err)
	}
	return id
}

// refusesAt sees to it that a password is refused, in words that tell nothing.
func (w *world) refusesAt(service, user string, s secret.Secret) {
	w.Helper()
	id, err := w.verifyAt(service, user, s)
	w.fails(err, token.ErrRefused)
	w.equal("the identity of a refused password", id, token.Identity{})
}

func serviceForms(w *world) {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	w.addService("imap", token.Plain08)
	first := w.generate(w.alice, at("imap"))
	w.equal("the token", first.Token, token.Token{Status: token.Active, Record: token.Record{
		ID: first.Token.ID, Kind: token.Service, Owner: local("alice"), Service: "imap", CreatedAt: w.second(), CreatedBy: local("alice"),
		LastChange: token.Made, Revision: 1,
	}})
	w.equal("what Get shows", w.get(first.Token.ID), first.Token)
	issued := map[token.TokenType]authority.Issued{token.Plain08: first}
	for _, t := range []token.TokenType{token.Plain15, token.Strong} {
		w.setService("imap", func(s *token.ServiceConfig) { s.TokenType = t })
		w.addAccount(token.Account{Owner: local(string(t))})
		issued[t] = w.generate(w.root, owned(at("imap"), string(t)))
	}
	for t, length := range map[token.TokenType]int{token.Plain08: 8, token.Plain15: 15} {
		if text := issued[t].Secret.Reveal(); len(text) != length || strings.Trim(text, letters) != "" {
			w.Errorf("a %s is of %d characters, or of others than letters and digits", t, len(text))
		}
	}
	if !strings.HasPrefix(issued[token.Strong].Secret.Reveal(), "tks_"+issued[token.Strong].Token.ID.String()) {
		w.Error("a strong password does not hold its id")
	}
	// The type of today is nothing to those of yesterday.
	for _, i := range issued {
		w.acceptsAt("imap", i.Token.Owner.String(), i.Secret)
	}
	// A new secret is of today's type.
	second := w.rotate(first, authority.Rotation{})
	if !strings.HasPrefix(second.Secret.Reveal(), "tks_") {
		w.Error("the new secret is of yesterday's type")
	}
	w.acceptsAt("imap", "alice", second.Secret)
}

func serviceConflict(w *world) {
	w.addService("imap", token.Strong)
	w.addService("dav", token.Strong)
	first := w.generate(w.alice, at("imap"))
	w.wait(3 * token.Day)
	w.unchanged("a second password", func() {
		for _, s := range []authority.Service{w.alice, w.root} {
			got, err := s.Generate(background, owned(at("imap"), "alice"))
			w.fails(err, token.ErrConflict)
			if !got.Secret.IsZero() {
				w.Error("a secret comes with the conflict")
			}
			var e *token.Error
			if !errors.As(err, &e) || !strings.Contains(e.Hint, "replace") || !strings.Contains(e.Hint, "rotate") || !strings.Contains(e.Hint, "delete") {
				w.Errorf("the hint does not name the ways out: %#v", err)
			}
			for _, word := range []string{first.Token.ID.String(), "imap", "3 days ago", "never used"} {
				if !strings.Contains(err.Error(), word) {
					w.Errorf("the conflict does not say %q: %v", word, err)
				}
			}
		}
		for _, spec := range []token.Spec{{Kind: token.User, Replace: true}, {Kind: token.Refresh, Replace: true}, {Kind: token.Service}, {Kind: token.User, Service: "imap"}} {
			_, err := w.alice.Generate(background, spec)
			w.fails(err, token.ErrUsage)
		}
		for _, name := range []string{"nowhere", "IMAP"} {
			_, err := w.alice.Generate(background, replacing(name))
			w.fails(err, token.ErrNotFound)
		}
	})
	w.generate(w.alice, at("dav"))
	w.generate(w.bob, at("imap"))
	w.generate(w.alice, user())
	w.must(w.alice.Suspend(background, refs(first), time.Time{})) // which holds the place
	_, err := w.alice.Generate(background, at("imap"))
	w.fails(err, token.ErrConflict)
	w.must(w.alice.Delete(background, refs(first)))
	w.generate(w.alice, at("imap"))
	w.setService("imap", func(s *token.ServiceConfig) { s.Enabled = false })
	for _, s := range []authority.Service{w.bob, w.root} {
		w.unchanged("a service that is off", func() {
			_, err := s.Generate(background, replacing("imap"))
			w.fails(err, token.ErrRefused)
		})
	}
}

func serviceReplace(w *world) {
	for _, t := range []token.TokenType{token.Plain15, token.Strong} {
		w.addService(string(t), t)
		first := w.generate(w.alice, replacing(string(t))) // of nothing
		w.wait(time.Minute)
		before := len(w.actions(0))
		second := w.generate(w.alice, replacing(string(t)))
		w.refusesAt(string(t), "alice", first.Secret)
		w.acceptsAt(string(t), "alice", second.Secret)
		old := w.get(first.Token.ID)
		w.equal("the old one", []any{old.Status, old.RevokedBy, old.RevokedReason}, []any{token.Revoked, local("alice"), "replaced"})
		w.equal("the live ones", ids(w.list(w.alice, token.Selector{Owner: local("alice"), Service: string(t)})), []token.ID{second.Token.ID})
		w.equal("the log", w.actions(before), []string{"token.revoke", "token.generate"})
	}
	whole(w)
}

// whole sees to it that records and indexes agree.
func whole(w *world) {
	w.Helper()
	if rep, err := w.root.Check(background, true); err != nil || len(rep.Problems) > 0 {
		w.Errorf("the store is not whole: %q, %v", rep.Problems, err)
	}
}

func serviceAtOnce(w *world) {
	w.addService("imap", token.Strong)
	for _, spec := range []token.Spec{at("imap"), replacing("imap")} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var made []authority.Issued
		for range 12 {
			wg.Go(func() {
				i, err := w.alice.Generate(background, spec)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					made = append(made, i)
				} else {
					w.fails(err, token.ErrConflict)
				}
			})
		}
		wg.Wait()
		if !spec.Replace && len(made) != 1 || spec.Replace && len(made) != 12 {
			w.Errorf("%d of 12 were made", len(made))
		}
		var live []token.ID
		for _, i := range made {
			if _, err := w.verifyAt("imap", "alice", i.Secret); err == nil {
				live = append(live, i.Token.ID)
			} else {
				w.fails(err, token.ErrRefused)
			}
		}
		listed := ids(w.list(w.alice, token.Selector{Owner: local("alice")}))
		if len(live) != 1 || !slices.Equal(live, listed) {
			w.Errorf("accepted are %v, listed %v", live, listed)
		}
	}
	whole(w)
}

func serviceVerify(w *world) {
	w.addAccount(token.Account{Owner: corp("alice")})
	corpService := token.NewService("corp-mail")
	corpService.Enabled, corpService.Realm = true, "corp"
	_, err := w.root.AddService(background, corpService)
	w.must(err)
	for _, t := range []token.TokenType{token.Plain08, token.Plain15, token.Strong} {
		w.addService(string(t), t)
		i := w.generate(w.alice, at(string(t)))
		want := token.Identity{Kind: token.Service, ID: i.Token.ID, Owner: local("alice"), Service: string(t), Roles: []token.Role{"reader", "writer"}}
		for _, user := range []string{"alice", "local/alice", "Alice"} {
			w.equal("the identity of "+user, w.acceptsAt(string(t), user, i.Secret), want)
		}
		for _, user := range []string{"", "bob", "nobody", "corp/alice", "alice ,", "local/", "/alice", "a\nb", i.Token.ID.String()} {
			w.refusesAt(string(t), user, i.Secret)
		}
		for _, service := range []string{"corp-mail", "nowhere", strings.ToUpper(string(t))} {
			w.refusesAt(service, "alice", i.Secret)
		}
		text := i.Secret.Reveal()
		for _, wrong := range []string{swapCase(text), text + "x", text[1:], " " + text, "alice:" + text, ""} {
			w.refusesAt(string(t), "alice", secret.FromText(wrong))
		}
		// Without a service it is no credential, whatever else is shown.
		for _, s := range []secret.Secret{i.Secret, secret.FromText("alice:" + text)} {
			_, err := w.verify(s)
			w.fails(err, token.ErrRefused)
		}
	}
	// A bare name is of the service's realm.
	theirs := w.generate(w.root, token.Spec{Kind: token.Service, Service: "corp-mail", Owner: corp("alice")})
	w.equal("whose it is", w.acceptsAt("corp-mail", "alice", theirs.Secret).Owner, corp("alice"))
	w.acceptsAt("corp-mail", "corp/alice", theirs.Secret)
	w.refusesAt("corp-mail", "local/alice", theirs.Secret)
	// No other kind of credential is good at a service.
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	for _, s := range []secret.Secret{u.Secret, pair(u), r.Secret, w.exchange(r.Secret).Text, disguised(u.Secret, "tks_")} {
		w.refusesAt("strong", "alice", s)
		w.refusesAt("plain08", u.Token.ID.String(), s)
	}
	// A role may be demanded.
	mine := w.generate(w.alice, replacing("strong"))
	for role, ok := range map[token.Role]bool{"writer": true, "operator": false} {
		_, err := w.root.Verify(background, authority.Presented{Credential: mine.Secret, User: "alice", Service: "strong", Role: role})
		if (err == nil) != ok || err != nil && !errors.Is(err, token.ErrRefused) {
			w.Errorf("demanded %s: %v", role, err)
		}
	}
}

// swapCase is a text in the other case.
func swapCase(s string) string {
	return strings.Map(func(c rune) rune {
		if up := []rune(strings.ToUpper(string(c)))[0]; up != c {
			return up
		}
		return []rune(strings.ToLower(string(c)))[0]
	}, s)
}

func serviceStates(w *world) {
	for _, t := range []token.TokenType{token.Plain15, token.Strong} {
		name := string(t)
		w.addService(name, t)
		i := w.generate(w.alice, lasting(at(name), time.Hour))
		for what, c := range map[string]struct{ off, on func() }{
			"suspended": {
				func() { w.must(w.alice.Suspend(background, refs(i), time.Time{})) },
				func() { w.must(w.alice.Resume(background, refs(i))) },
			},
			"service disabled": {
				func() { w.setService(name, func(s *token.ServiceConfig) { s.Enabled = false }) },
				func() { w.setService(name, func(s *token.ServiceConfig) { s.Enabled = true }) },
			},
			"owner disabled": {
				func() { w.disable("alice") },
				func() { w.setAccount("alice", func(a *token.Account) { a.Disabled = false }) },
			},
		} {
			w.acceptsAt(name, "alice", i.Secret)
			c.off()
			if _, err := w.verifyAt(name, "alice", i.Secret); !errors.Is(err, token.ErrRefused) {
				w.Errorf("%s: %v", what, err)
			}
			c.on()
			w.acceptsAt(name, "alice", i.Secret)
		}
		w.until(i.Token.ExpiresAt.Add(-1))
		w.acceptsAt(name, "alice", i.Secret)
		w.until(i.Token.ExpiresAt)
		w.refusesAt(name, "alice", i.Secret)
		revoked := w.generate(w.alice, at(name)) // in the place of the expired one
		w.acceptsAt(name, "alice", revoked.Secret)
		w.must(w.alice.Revoke(background, refs(revoked), ""))
		w.refusesAt(name, "alice", revoked.Secret)
		deleted := w.generate(w.alice, at(name))
		w.must(w.alice.Delete(background, refs(deleted)))
		w.refusesAt(name, "alice", deleted.Secret)
		orphan := w.generate(w.bob, at(name))
		w.acceptsAt(name, "bob", orphan.Secret)
		w.must(w.root.DeleteAccount(background, local("bob")))
		w.refusesAt(name, "bob", orphan.Secret)
		w.addAccount(token.Account{Owner: local("bob")})
		w.refusesAt(name, "bob", orphan.Secret)
	}
}

// serviceStranger compares everything that the answer shows.
func serviceStranger(w *world) {
	w.addService("imap", token.Plain08)
	w.addService("off", token.Plain08)
	w.addService("strong", token.Strong)
	good, suspended, off := w.generate(w.alice, at("imap")), w.generate(w.bob, at("imap")), w.generate(w.alice, at("off"))
	strong := w.generate(w.alice, at("strong"))
	w.must(w.root.Suspend(background, refs(suspended), time.Time{}))
	w.setService("off", func(s *token.ServiceConfig) { s.Enabled = false })
	answers := map[string][]string{}
	for what, p := range map[string]authority.Presented{
		"unknown service": {Service: "nowhere", User: "alice", Credential: good.Secret}, "unknown user": {Service: "imap", User: "nobody", Credential: good.Secret},
		"wrong": {Service: "imap", User: "alice", Credential: off.Secret}, "service disabled": {Service: "off", User: "alice", Credential: off.Secret},
		"suspended": {Service: "imap", User: "bob", Credential: suspended.Secret}, "strong": {Service: "imap", User: "alice", Credential: strong.Secret},
	} {
		p.CountsAsUse = true
		id, err := w.stranger().Verify(background, p)
		w.fails(err, token.ErrRefused)
		answer := fmt.Sprintf("%+v %v %t", id, err, errors.Is(err, token.ErrMalformed))
		answers[answer] = append(answers[answer], what)
	}
	if len(answers) != 1 {
		w.Errorf("there are %d answers: %q", len(answers), answers)
	}
	w.acceptsAt("imap", "alice", good.Secret)
}

func serviceRotate(w *world) {
	for _, t := range []token.TokenType{token.Plain15, token.Strong} {
		name := string(t)
		w.addService(name, t)
		first := w.generate(w.alice, at(name))
		w.until(w.second())
		second := w.rotate(first, authority.Rotation{Grace: time.Hour})
		w.equal("the id", second.Token.ID, first.Token.ID)
		w.acceptsAt(name, "alice", second.Secret)
		w.wait(time.Hour - 1)
		w.acceptsAt(name, "alice", first.Secret)
		w.wait(1)
		w.refusesAt(name, "alice", first.Secret)
		third := w.rotate(second, authority.Rotation{})
		w.refusesAt(name, "alice", second.Secret)
		w.acceptsAt(name, "alice", third.Secret)
		fourth := w.rotate(third, authority.Rotation{UntilUsed: true})
		w.acceptsAt(name, "alice", third.Secret)
		_, err := w.root.Verify(background, authority.Presented{Credential: fourth.Secret, User: "alice", Service: name, CountsAsUse: true})
		w.must(err)
		w.refusesAt(name, "alice", third.Secret)
		w.acceptsAt(name, "alice", fourth.Secret)
	}
}

func serviceTakeBack(w *world) {
	for _, t := range []token.TokenType{token.Plain15, token.Strong} {
		name := string(t)
		w.addService(name, t)
		none := w.generate(w.alice, at(name))
		w.must(w.alice.TakeBack(background, ref(none)))
		w.refusesAt(name, "alice", none.Secret)
		w.gone(none.Token.ID)

		first := w.generate(w.alice, at(name))
		w.wait(time.Hour)
		second := w.rotate(first, authority.Rotation{})
		w.must(w.alice.TakeBack(background, ref(second)))
		w.acceptsAt(name, "alice", first.Secret)
		w.refusesAt(name, "alice", second.Secret)

		before := w.get(first.Token.ID)
		third := w.generate(w.alice, replacing(name))
		w.refusesAt(name, "alice", first.Secret)
		w.wait(time.Minute)
		w.must(w.alice.TakeBack(background, ref(third)))
		w.gone(third.Token.ID)
		after := w.get(first.Token.ID)
		after.Revision = before.Revision
		w.equal("the token", after, before)
		w.acceptsAt(name, "alice", first.Secret)
		w.refusesAt(name, "alice", third.Secret)
		_, err := w.alice.Generate(background, at(name)) // it has its place back
		w.fails(err, token.ErrConflict)
		w.fails(w.alice.TakeBack(background, ref(third)), token.ErrNotFound)

		// What rested goes on resting.
		w.must(w.alice.Suspend(background, refs(first), time.Time{}))
		fourth := w.generate(w.alice, replacing(name))
		w.acceptsAt(name, "alice", fourth.Secret)
		w.must(w.alice.TakeBack(background, ref(fourth)))
		w.refusesAt(name, "alice", first.Secret)
		w.equal("the state", w.get(first.Token.ID).Status, token.Suspended)
		w.must(w.alice.Resume(background, refs(first)))
		w.acceptsAt(name, "alice", first.Secret)

		late := w.generate(w.alice, replacing(name))
		w.wait(10*time.Minute + time.Second)
		w.unchanged("what was handed over long ago", func() { w.fails(w.alice.TakeBack(background, ref(late)), token.ErrConflict) })
		w.acceptsAt(name, "alice", late.Secret)
		w.refusesAt(name, "alice", first.Secret)
	}
	whole(w)
}

func serviceForOther(w *world) {
	w.addService("imap", token.Plain08)
	w.unchanged("one for bob by others", func() {
		for _, s := range []authority.Service{w.alice, w.auditor, w.stranger(), w.narrowed("admin", "reader")} {
			_, err := s.Generate(background, owned(at("imap"), "bob"))
			w.fails(err, token.ErrRefused)
		}
	})
	before := len(w.actions(0))
	first := w.generate(w.admin, owned(at("imap"), "bob"))
	second := w.generate(w.admin, owned(replacing("imap"), "bob"))
	w.equal("who made it", second.Token.CreatedBy, local("admin"))
	w.acceptsAt("imap", "bob", second.Secret)
	entries := w.audit(audit.Filter{})[before:]
	w.equal("the log", w.actions(before), []string{"token.generate", "token.revoke", "token.generate"})
	for i, e := range entries {
		id := []token.ID{first.Token.ID, first.Token.ID, second.Token.ID}[i]
		w.equal("the entry", []any{e.Actor, e.Owner, e.Object, e.Kind, e.Token}, []any{local("admin"), local("bob"), "imap", "service", id})
	}
	if log := fmt.Sprintf("%+v", entries); strings.Contains(log, first.Secret.Reveal()) || strings.Contains(log, second.Secret.Reveal()) {
		w.Error("a password is in the log")
	}
}

func serviceNarrowed(w *world) {
	w.addService("imap", token.Strong)
	old := w.generate(w.alice, at("imap"))
	mine := w.generate(w.alice, replacing("imap"))
	for _, s := range []authority.Service{w.narrowed("alice"), w.narrowed("alice", "reader"), w.narrowed("alice", "reader", "writer"), w.narrowed("admin", token.Admin)} {
		w.unchanged("a password with all roles of alice", func() {
			for _, spec := range []token.Spec{at("imap"), replacing("imap")} {
				_, err := s.Generate(background, owned(spec, "alice"))
				w.fails(err, token.ErrRefused)
			}
			_, err := s.Rotate(background, token.Ref{ID: mine.Token.ID}, authority.Rotation{})
			w.fails(err, token.ErrRefused)
			w.fails(s.TakeBack(background, ref(mine)), token.ErrRefused) // which would give the old one back
		})
	}
	w.acceptsAt("imap", "alice", mine.Secret)
	w.refusesAt("imap", "alice", old.Secret)
	w.must(w.narrowed("alice", "reader").Revoke(background, refs(mine), "ending is no widening"))
	w.refusesAt("imap", "alice", mine.Secret)
}

func serviceUse(w *world) {
	w.addService("imap", token.Plain15)
	w.set(w.root, "service_token_lifetime", "30d")
	i := w.generate(w.alice, at("imap"))
	w.equal("its life", i.Token.ExpiresAt.Sub(i.Token.CreatedAt), 30*token.Day)
	_, err := w.bob.Generate(background, lasting(at("imap"), 31*token.Day))
	w.fails(err, token.ErrUsage)
	w.wait(time.Hour)
	w.acceptsAt("imap", "alice", i.Secret) // looked at, not used
	p := authority.Presented{Credential: secret.FromText("wrongone"), User: "alice", Service: "imap", CountsAsUse: true, From: "192.0.2.1"}
	_, err = w.root.Verify(background, p)
	w.fails(err, token.ErrRefused)
	w.equal("the last use", w.lastUse(i), token.Use{})
	p.Credential = i.Secret
	id, err := w.root.Verify(background, p)
	w.must(err)
	w.equal("what it says of its end", id.ExpiresAt, i.Token.ExpiresAt)
	w.equal("the last use", w.lastUse(i), token.Use{At: w.second(), From: "192.0.2.1"})
}
