package authoritytest

import (
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var verifying = []rule{
	{"An accepted credential says whose it is", verifyIdentity},
	{"Only the very text is accepted", verifyText},
	{"No secret of one kind passes for another", verifyKinds},
	{"A token ends and rests at the very moment", verifyBoundaries},
	{"Each state has its reason", verifyStates},
	{"A stranger hears the same for every reason", verifyStranger},
	{"A token dies with its owner's account and comes back with it", verifyOwner},
	{"Roles are those that the owner has now", verifyRoles},
	{"A role may be demanded", verifyDemandsRole},
}

func verifyIdentity(w *world) {
	u := w.generate(w.alice, user())
	want := token.Identity{Kind: token.User, ID: u.Token.ID, Owner: local("alice"), Roles: []token.Role{"reader", "writer"}}
	w.equal("the passcode", w.accepts(u.Secret), want)
	w.equal("code and passcode", w.accepts(pair(u)), want)

	r := w.generate(w.alice, refresh("reader", "operator"))
	w.equal("the refresh token", w.accepts(r.Secret), token.Identity{
		Kind: token.Refresh, ID: r.Token.ID, Owner: local("alice"), Roles: []token.Role{"reader"}, Connection: "default", ExpiresAt: r.Token.ExpiresAt,
	})
}

func verifyText(w *world) {
	mine, other := w.generate(w.alice, user()), w.generate(w.bob, user())
	r := w.generate(w.alice, refresh())
	good, code := mine.Secret.Reveal(), mine.Token.ID.String()
	for what, text := range map[string]string{
		"nothing":                    "",
		"a space before":             " " + good,
		"a line break after":         good + "\n",
		"one character less":         good[:len(good)-1],
		"one character more":         good + "0",
		"upper case":                 strings.ToUpper(good),
		"the code alone":             code,
		"the code twice":             code + ":" + code,
		"an empty passcode":          code + ":",
		"an empty code":              ":" + good,
		"another's code":             other.Token.ID.String() + ":" + good,
		"a code in upper case":       strings.ToUpper(code) + ":" + good,
		"a space after the colon":    code + ": " + good,
		"two colons":                 code + "::" + good,
		"a refresh token as half":    code + ":" + r.Secret.Reveal(),
		"a refresh token, its code":  r.Token.ID.String() + ":" + r.Secret.Reveal(),
		"the name as code":           "alice:" + good,
		"two periods":                "..",
		"a JWT of nobody":            "eyJhbGciOiJub25lIn0.e30.",
		"an API key of another kind": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
	} {
		if _, err := w.verify(secret.FromText(text)); !errors.Is(err, token.ErrRefused) {
			w.Errorf("%s: %v", what, err)
		}
	}
	for i := range good {
		changed := good[:i] + string(rune(good[i])^1) + good[i+1:]
		if _, err := w.verify(secret.FromText(changed)); !errors.Is(err, token.ErrRefused) {
			w.Errorf("character %d changed: %v", i, err)
		}
	}
	w.accepts(mine.Secret)
}

// disguised is a secret with another prefix, and the checksum that goes with
// it: what a thief would make of it who knows the form.
func disguised(s secret.Secret, prefix string) secret.Secret {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	text := []byte(prefix + s.Reveal()[len(prefix):])
	sum := crc32.ChecksumIEEE(text[:len(text)-6])
	for i := len(text) - 1; i >= len(text)-6; i-- {
		text[i] = alphabet[sum%62]
		sum /= 62
	}
	return secret.FromText(string(text))
}

func verifyKinds(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh("reader"))
	a := w.exchange(r.Secret)
	if same := disguised(u.Secret, "tkp_"); same.Reveal() != u.Secret.Reveal() {
		w.Fatal("the test does not know the form of a secret")
	}
	kinds := map[token.Kind]secret.Secret{token.User: u.Secret, token.Refresh: r.Secret, token.Access: a.Text}
	for kind, s := range kinds {
		for accepted := range kinds {
			_, err := w.root.Verify(background, authority.Presented{Credential: s, Kinds: []token.Kind{accepted, token.Service}})
			if (err == nil) != (kind == accepted) || err != nil && !errors.Is(err, token.ErrRefused) {
				w.Errorf("a %s token where %s tokens are accepted: %v", kind, accepted, err)
			}
		}
	}
	for _, s := range []secret.Secret{disguised(u.Secret, "tkr_"), disguised(u.Secret, "tks_"), disguised(r.Secret, "tkp_"), disguised(r.Secret, "tks_")} {
		w.refuses(s, authority.UnknownToken)
		_, err := w.root.Exchange(background, authority.Exchange{RefreshToken: s})
		w.fails(err, token.ErrRefused)
	}
	// The secret of a client stands for nobody, whatever goes with it.
	client := secret.New(secret.ClientSecret, u.Token.ID)
	w.refuses(client, authority.WrongKind)
	w.refuses(disguised(u.Secret, "tkc_"), authority.WrongKind)
	w.refuses(secret.FromText(u.Token.ID.String()+":"+client.Reveal()), authority.Malformed)
	strong := secret.New(secret.StrongPassword, secret.NewID(w.now()))
	for _, kinds := range [][]token.Kind{nil, {token.Service}} { // no service is named at which it could be good
		_, err := w.root.Verify(background, authority.Presented{Credential: strong, Kinds: kinds})
		w.fails(err, token.ErrRefused)
	}
	for _, s := range []secret.Secret{u.Secret, pair(u), a.Text} {
		_, err := w.root.Exchange(background, authority.Exchange{RefreshToken: s})
		w.fails(err, token.ErrRefused)
	}
}

func verifyBoundaries(w *world) {
	u := w.generate(w.alice, lasting(user(), time.Hour))
	w.must(w.alice.Suspend(background, refs(u), w.second().Add(time.Minute)))
	until := w.second().Add(time.Minute)
	w.refuses(u.Secret, authority.TokenSuspended)
	w.until(until.Add(-1))
	w.refuses(u.Secret, authority.TokenSuspended)
	w.equal("the state", w.get(u.Token.ID).Status, token.Suspended)
	w.until(until)
	w.accepts(u.Secret)
	w.equal("the state", w.get(u.Token.ID).Status, token.Active)

	w.until(u.Token.ExpiresAt.Add(-1))
	w.accepts(u.Secret)
	w.equal("the state", w.list(w.root, token.Selector{})[0].Status, token.Active)
	w.until(u.Token.ExpiresAt)
	w.refuses(u.Secret, authority.TokenExpired)
	w.equal("the state", w.get(u.Token.ID).Status, token.Expired)
}

func verifyStates(w *world) {
	u := w.generate(w.alice, lasting(user(), time.Hour))
	w.must(w.alice.Suspend(background, refs(u), time.Time{}))
	w.refuses(u.Secret, authority.TokenSuspended)
	w.wait(59 * time.Minute)
	w.refuses(u.Secret, authority.TokenSuspended)
	w.must(w.alice.Resume(background, refs(u)))
	w.accepts(u.Secret)
	w.wait(time.Minute)
	w.refuses(u.Secret, authority.TokenExpired)
	w.must(w.alice.Revoke(background, refs(u), ""))
	w.refuses(u.Secret, authority.TokenRevoked)

	u = w.generate(w.alice, user())
	other := w.generate(w.alice, refresh())
	w.refuses(secret.New(secret.Passcode, u.Token.ID), authority.WrongSecret)
	w.refuses(secret.New(secret.RefreshToken, other.Token.ID), authority.WrongSecret)
	w.must(w.alice.Delete(background, refs(u)))
	w.refuses(u.Secret, authority.UnknownToken)
	w.refuses(secret.New(secret.Passcode, secret.NewID(w.now())), authority.UnknownToken)
	w.refuses(secret.FromText("nonsense"), authority.Malformed)
}

// verifyStranger compares everything that the answer shows.
func verifyStranger(w *world) {
	u := w.generate(w.alice, lasting(user(), time.Hour))
	suspended, revoked, ownerless := w.generate(w.bob, user()), w.generate(w.auditor, user()), w.generate(w.admin, user())
	expired := w.generate(w.root, owned(lasting(user(), time.Second), "bot"))
	w.must(w.root.Suspend(background, refs(suspended), time.Time{}))
	w.must(w.root.Revoke(background, refs(revoked), ""))
	w.disable("admin")
	w.wait(time.Second)
	answers := map[string][]string{}
	for what, s := range map[string]secret.Secret{
		"unknown": secret.New(secret.Passcode, secret.NewID(w.now())), "wrong": secret.New(secret.Passcode, u.Token.ID),
		"expired": expired.Secret, "suspended": suspended.Secret, "revoked": revoked.Secret, "owner disabled": ownerless.Secret,
		"wrong kind": disguised(w.generate(w.alice, refresh()).Secret, "tkp_"),
	} {
		id, err := w.stranger().Verify(background, authority.Presented{Credential: s, CountsAsUse: true})
		w.fails(err, token.ErrRefused)
		answer := fmt.Sprintf("%+v %v %t", id, err, errors.Is(err, token.ErrMalformed))
		answers[answer] = append(answers[answer], what)
	}
	if len(answers) != 1 {
		w.Errorf("there are %d answers: %q", len(answers), answers)
	}
	if _, err := w.stranger().Verify(background, authority.Presented{Credential: u.Secret}); err != nil {
		w.Errorf("what is good: %v", err)
	}
}

func verifyOwner(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh())
	w.disable("alice")
	w.refuses(u.Secret, authority.OwnerDisabled)
	w.refuses(r.Secret, authority.OwnerDisabled)
	w.equal("the state of the token itself", w.get(u.Token.ID).Status, token.Active)
	w.setAccount("alice", func(a *token.Account) { a.Disabled = false })
	w.accepts(u.Secret)
	w.accepts(r.Secret)
	w.must(w.root.DeleteAccount(background, local("alice")))
	w.refuses(u.Secret, authority.TokenRevoked)
	w.refuses(r.Secret, authority.TokenRevoked)

	// Another person of the same name has none of this.
	w.addAccount(token.Account{Owner: local("alice")})
	w.refuses(u.Secret, authority.TokenRevoked)
	w.generate(w.as("alice"), user())
}

func verifyRoles(w *world) {
	u, r := w.generate(w.alice, user()), w.generate(w.alice, refresh("reader", "operator"))
	roles := func(names ...token.Role) {
		w.setAccount("alice", func(a *token.Account) { a.Roles = names })
	}
	roles("operator")
	w.equal("the user token's", w.accepts(u.Secret).Roles, []token.Role{"operator"})
	w.equal("the refresh token's", w.accepts(r.Secret).Roles, []token.Role{"operator"})
	roles(token.Admin)
	w.equal("an administrator's refresh token's", w.accepts(r.Secret).Roles, []token.Role{"reader", "operator"})
	roles()
	w.equal("the refresh token's of nobody", len(w.accepts(r.Secret).Roles), 0)
}

func verifyDemandsRole(w *world) {
	u, admin := w.generate(w.alice, user()), w.generate(w.admin, user())
	r := w.generate(w.alice, refresh("reader"))
	for _, c := range []struct {
		s    secret.Secret
		role token.Role
		ok   bool
	}{
		{u.Secret, "writer", true}, {u.Secret, "operator", false}, {u.Secret, token.Admin, false},
		{r.Secret, "reader", true}, {r.Secret, "writer", false},
		{admin.Secret, "anything", true}, {admin.Secret, token.Admin, true},
	} {
		_, err := w.root.Verify(background, authority.Presented{Credential: c.s, Role: c.role})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, token.ErrRefused) {
			w.Errorf("demanded %s: %v", c.role, err)
		}
	}
}
