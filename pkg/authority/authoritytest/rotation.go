package authoritytest

import (
	"errors"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var rotation = []rule{
	{"An exchange rotates, and the old one gets the same new one again for a moment", rotates},
	{"After that the old one, and older ones, end the family if the connection says so", reuse},
	{"Of many exchanges at once one rotates, and all get what it got", rotatesOnce},
	{"An exchange that fails uses nothing up", rotatesNothing},
	{"Within the window each old one gets what took its place, however often that went on", retriesEach},
	{"The family is known again after many rotations, and an old one may end it", longFamily},
	{"Rotation by hand and by exchanges leave each other alone", rotatesByHand},
	{"Exchanges keep nobody from ending what they saw", endsWhatWasSeen},
	{"With a newer key in the key file the new one stays the one that is good", rotatesWithANewKey},
	{"Whatever has ended the family, or holds it up, counts within the window too", endsInTheWindow},
	{"An old one is no credential; who has it may end the family", oldOneElsewhere},
}

// rotating makes a connection that rotates, and says its name.
func (w *world) rotating(reuse token.Reuse) string {
	w.Helper()
	c := token.NewConnection("rotating-" + string(reuse))
	c.Rotate, c.Reuse = true, reuse
	_, err := w.root.AddConnection(background, c)
	w.must(err)
	return c.Name
}

// family makes a connection that rotates and a refresh token of it.
func (w *world) family(reuse token.Reuse) authority.Issued {
	w.Helper()
	return w.generate(w.root, token.Spec{Kind: token.Refresh, Connection: w.rotating(reuse), Name: "family-" + string(reuse)})
}

func (w *world) redeem(s secret.Secret) (authority.AccessToken, error) {
	return w.root.Exchange(background, authority.Exchange{RefreshToken: s})
}

func rotates(w *world) {
	first := w.family(token.ReuseRevoke)
	got, err := w.redeem(first.Secret)
	w.must(err)
	if got.RefreshToken.IsZero() || got.RefreshToken.Equal(first.Secret) {
		w.Fatal("there is no new refresh token")
	}
	again, err := w.redeem(first.Secret)
	w.must(err)
	if !again.RefreshToken.Equal(got.RefreshToken) {
		w.Error("the retry gets another refresh token")
	}
	next, err := w.redeem(got.RefreshToken)
	w.must(err)
	if next.RefreshToken.Equal(got.RefreshToken) {
		w.Error("the new one is not rotated")
	}
	t, err := w.root.Get(background, first.Token.ID)
	w.must(err)
	if t.Status != token.Active || t.Name != first.Token.Name || !t.ExpiresAt.Equal(first.Token.ExpiresAt) {
		w.Errorf("the family is %+v", t)
	}
	plain, err := w.redeem(w.generate(w.root, token.Spec{Kind: token.Refresh}).Secret)
	w.must(err)
	if !plain.RefreshToken.IsZero() {
		w.Error("a connection that does not rotate gives a refresh token")
	}
}

func reuse(w *world) {
	for _, policy := range []token.Reuse{token.ReuseOff, token.ReuseAlert, token.ReuseRevoke} {
		first := w.family(policy)
		second, err := w.redeem(first.Secret)
		w.must(err)
		w.wait(31 * time.Second)
		// What is not of the family is no reuse, whoever knows the id.
		_, err = w.redeem(secret.New(secret.RefreshToken, first.Token.ID))
		w.fails(err, token.ErrRefused)
		third, err := w.redeem(second.RefreshToken)
		w.must(err)
		w.wait(31 * time.Second)
		log := w.changes(func() {
			_, err = w.redeem(first.Secret)
			w.fails(err, token.ErrRefused)
		})
		_, err = w.redeem(third.RefreshToken)
		_, verify := w.verify(third.Text)
		switch policy {
		case token.ReuseRevoke:
			w.fails(err, token.ErrRefused)
			w.fails(verify, token.ErrRefused)
			w.equal("the log", log, []string{"token.revoke"})
		case token.ReuseAlert:
			w.must(err)
			w.must(verify)
		default:
			w.must(err)
			w.equal("the log", log, []string(nil))
		}
	}
}

func rotatesOnce(w *world) {
	first := w.family(token.ReuseRevoke)
	var mu sync.Mutex
	var group sync.WaitGroup
	got := map[string]int{}
	for range 50 {
		group.Go(func() {
			a, err := w.redeem(first.Secret)
			if err != nil {
				w.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.RefreshToken.Reveal()]++
		})
	}
	group.Wait()
	if len(got) != 1 {
		w.Errorf("50 exchanges at once gave %d refresh tokens", len(got))
	}
	for text := range got {
		_, err := w.redeem(secret.FromText(text))
		w.must(err)
	}
}

func rotatesNothing(w *world) {
	first := w.family(token.ReuseRevoke)
	for _, e := range []authority.Exchange{{Resource: "urn:example:other"}, {ClientID: "other"}, {Roles: []token.Role{"unheard-of"}}} {
		e.RefreshToken = first.Secret
		if _, err := w.root.Exchange(background, e); err == nil || errors.Is(err, token.ErrCannotTell) {
			w.Errorf("%+v: %v", e, err)
		}
	}
	got, err := w.redeem(first.Secret)
	w.must(err)
	if got.RefreshToken.IsZero() {
		w.Error("it was used up before")
	}
}

func retriesEach(w *world) {
	first := w.family(token.ReuseRevoke)
	second, err := w.redeem(first.Secret)
	w.must(err)
	third, err := w.redeem(second.RefreshToken)
	w.must(err)
	again, err := w.redeem(first.Secret)
	w.must(err)
	if !again.RefreshToken.Equal(second.RefreshToken) {
		w.Error("the first one gets another than the second")
	}
	again, err = w.redeem(second.RefreshToken)
	w.must(err)
	if !again.RefreshToken.Equal(third.RefreshToken) {
		w.Error("the second one gets another than the third")
	}
	w.must(w.root.Suspend(background, []token.Ref{{ID: first.Token.ID}}, time.Time{}))
	_, err = w.redeem(first.Secret)
	w.fails(err, token.ErrRefused)
}

func longFamily(w *world) {
	first := w.family(token.ReuseOff)
	now := first.Secret
	for range 100 {
		got, err := w.redeem(now)
		w.must(err)
		now = got.RefreshToken
	}
	w.wait(time.Minute)
	_, err := w.redeem(first.Secret)
	w.fails(err, token.ErrRefused)
	_, err = w.root.RevokeSecret(background, first.Secret, "found")
	w.must(err)
	_, err = w.redeem(now)
	w.fails(err, token.ErrRefused)
}

func rotatesByHand(w *world) {
	first := w.family(token.ReuseRevoke)
	second, err := w.redeem(first.Secret)
	w.must(err)
	by, err := w.root.Rotate(background, token.Ref{ID: first.Token.ID}, authority.Rotation{Grace: time.Hour})
	w.must(err)
	third, err := w.redeem(by.Secret)
	w.must(err)
	if third.RefreshToken.IsZero() {
		w.Error("after a rotation by hand exchanges rotate no more")
	}
	w.wait(time.Minute)
	if got, err := w.redeem(second.RefreshToken); err != nil || !got.RefreshToken.IsZero() {
		w.Errorf("in its grace the one before: %v", err)
	}
	// What was replaced by hand is refused, and is no sign of theft.
	_, err = w.redeem(first.Secret)
	w.fails(err, token.ErrRefused)
	w.wait(time.Hour)
	_, err = w.redeem(second.RefreshToken)
	w.fails(err, token.ErrRefused)
	_, err = w.redeem(third.RefreshToken)
	w.must(err)
	w.wait(time.Minute)
	_, err = w.redeem(by.Secret)
	w.fails(err, token.ErrRefused)
	_, err = w.redeem(third.RefreshToken)
	w.fails(err, token.ErrRefused)

	taken := w.family(token.ReuseAlert)
	next, err := w.redeem(taken.Secret)
	w.must(err)
	by, err = w.root.Rotate(background, token.Ref{ID: taken.Token.ID}, authority.Rotation{})
	w.must(err)
	w.must(w.root.TakeBack(background, by.Token.Ref()))
	_, err = w.redeem(next.RefreshToken)
	w.must(err)
}

func endsWhatWasSeen(w *world) {
	first := w.family(token.ReuseRevoke)
	seen := w.seen(first)
	got, err := w.redeem(first.Secret)
	w.must(err)
	w.must(w.root.Revoke(background, []token.Ref{seen}, ""))
	for _, s := range []secret.Secret{first.Secret, got.RefreshToken} {
		_, err := w.redeem(s)
		w.fails(err, token.ErrRefused)
	}
}

func rotatesWithANewKey(w *world) {
	first := w.family(token.ReuseOff)
	_, err := w.root.RotateKeyFile(background)
	w.must(err)
	second, err := w.redeem(first.Secret)
	w.must(err)
	w.accepts(second.RefreshToken)
	w.refuses(first.Secret, authority.WrongSecret)
	w.wait(time.Minute)
	third, err := w.redeem(second.RefreshToken)
	w.must(err)
	if third.RefreshToken.IsZero() {
		w.Error("it is not rotated")
	}
	_, err = w.redeem(first.Secret)
	w.fails(err, token.ErrRefused)
}

func endsInTheWindow(w *world) {
	connection := w.rotating(token.ReuseRevoke)
	for what, c := range map[string]struct {
		owner string
		end   func(authority.Issued)
		mend  func(authority.Issued) // nil: it has ended
	}{
		"it is revoked":     {"alice", func(i authority.Issued) { w.must(w.root.Revoke(background, refs(i), "")) }, nil},
		"it is deleted":     {"alice", func(i authority.Issued) { w.must(w.root.Delete(background, refs(i))) }, nil},
		"it expires":        {"alice", func(authority.Issued) { w.wait(10 * time.Second) }, nil},
		"its owner is gone": {"bob", func(authority.Issued) { w.must(w.root.DeleteAccount(background, local("bob"))) }, nil},
		"it is suspended": {
			"alice",
			func(i authority.Issued) { w.must(w.root.Suspend(background, refs(i), time.Time{})) },
			func(i authority.Issued) { w.must(w.root.Resume(background, refs(i))) },
		},
		"its owner is disabled": {
			"alice",
			func(authority.Issued) { w.disable("alice") },
			func(authority.Issued) { w.setAccount("alice", func(a *token.Account) { a.Disabled = false }) },
		},
	} {
		first := w.generate(w.root, token.Spec{Kind: token.Refresh, Owner: local(c.owner), Connection: connection, Lifetime: 10 * time.Second})
		second, err := w.redeem(first.Secret)
		w.must(err)
		c.end(first)
		for _, s := range []secret.Secret{first.Secret, second.RefreshToken} {
			if got, err := w.redeem(s); !errors.Is(err, token.ErrRefused) || !got.RefreshToken.IsZero() {
				w.Errorf("%s: %+v, %v", what, got, err)
			}
		}
		if c.mend == nil {
			continue
		}
		c.mend(first)
		again, err := w.redeem(first.Secret)
		if err != nil || !again.RefreshToken.Equal(second.RefreshToken) {
			w.Errorf("%s, and no longer: %v", what, err)
		}
		w.accepts(second.RefreshToken)
	}
}

func oldOneElsewhere(w *world) {
	first := w.family(token.ReuseRevoke)
	second, err := w.redeem(first.Secret)
	w.must(err)
	// An exchange may be tried again; nothing else takes the old one.
	w.unchanged("the old one is verified", func() { w.refuses(first.Secret, authority.WrongSecret) })
	w.wait(time.Minute)
	w.unchanged("and once more after the window", func() { w.refuses(first.Secret, authority.WrongSecret) })
	w.accepts(second.RefreshToken)
	t, err := w.root.RevokeSecret(background, first.Secret, "found")
	if err != nil || t.ID != first.Token.ID || t.Status != token.Revoked {
		w.Errorf("it ends %+v, %v", t, err)
	}
	w.refuses(second.RefreshToken, authority.TokenRevoked)
	w.refuses(second.Text, authority.TokenRevoked)
}
