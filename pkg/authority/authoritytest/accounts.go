package authoritytest

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

var accounts = []rule{
	{"An account is kept in its canonical form", addAccount},
	{"There is one account of an owner", accountConflict},
	{"A service account has a steward who is a person here", stewards},
	{"An account that makes no sense changes nothing", accountNonsense},
	{"Accounts are listed by realm and name", listAccounts},
	{"A change holds for what was seen", setAccount},
	{"Deleting an account revokes the owner's tokens", deleteAccount},
	{"The file's owner has an account from the first change on", fileOwner},
}

func corp(name string) token.Owner { return token.Owner{Realm: "corp", Name: name} }

func addAccount(w *world) {
	got := w.addAccount(token.Account{Owner: token.Owner{Realm: "local", Name: " Zoë\u0301 "}, DisplayName: "Zoë", Roles: []token.Role{"writer", "reader", "writer"}})
	want := token.Account{
		Owner: local("zoë\u0301"), Kind: token.Person, DisplayName: "Zoë", Roles: []token.Role{"reader", "writer"},
		CreatedAt: w.second(), CreatedBy: local("root"), Revision: 1,
	}
	want.Owner, _ = token.NewOwner("local", want.Owner.Name)
	w.equal("what AddAccount gives", got, want)
	kept, err := w.root.Account(background, want.Owner)
	w.must(err)
	w.equal("what is kept", kept, want)
	w.equal("a name in another realm", w.addAccount(token.Account{Owner: corp("Alice")}).Owner, corp("Alice"))
}

func accountConflict(w *world) {
	for _, name := range []string{"alice", "ALICE", " alice "} {
		_, err := w.root.AddAccount(background, token.Account{Owner: local(name), Roles: []token.Role{token.Admin}})
		w.fails(err, token.ErrConflict)
	}
	a, err := w.root.Account(background, local("alice"))
	w.must(err)
	w.equal("her roles", a.Roles, []token.Role{"reader", "writer"})
	for _, name := range []string{"nobody", ""} {
		_, err = w.root.Account(background, local(name))
		w.fails(err, token.ErrNotFound)
	}
	_, err = w.root.SetAccount(background, token.Account{Owner: local("nobody")})
	w.fails(err, token.ErrNotFound)
	w.fails(w.root.DeleteAccount(background, local("nobody")), token.ErrNotFound)
}

func stewards(w *world) {
	for what, c := range map[string]struct {
		steward token.Owner
		kind    error
	}{
		"nobody": {local("nobody"), token.ErrNotFound}, "another service account": {local("bot"), token.ErrUsage},
		"itself": {local("robot"), token.ErrUsage}, "none": {token.Owner{}, token.ErrUsage},
	} {
		_, err := w.root.AddAccount(background, token.Account{Owner: local("robot"), Kind: token.ServiceAccount, Steward: c.steward})
		if !errors.Is(err, c.kind) {
			w.Errorf("the steward is %s: %v", what, err)
		}
	}
	// Rights go with the stewardship, and with the steward's own account.
	i := w.generate(w.alice, owned(refresh(), "bot"))
	w.setAccount("bot", func(a *token.Account) { a.Steward = local("bob") })
	w.fails(w.alice.Revoke(background, refs(i), ""), token.ErrRefused)
	w.disable("bob")
	w.fails(w.bob.Revoke(background, refs(i), ""), token.ErrRefused)
	w.setAccount("bob", func(a *token.Account) { a.Disabled = false })
	w.must(w.bob.Revoke(background, refs(i), ""))
	w.equal("made by", i.Token.CreatedBy, local("alice"))
}

func accountNonsense(w *world) {
	w.unchanged("an account that makes no sense", func() {
		for what, a := range map[string]token.Account{
			"no name":                 {Owner: local("")},
			"no realm":                {Owner: token.Owner{Name: "x"}},
			"bad realm":               {Owner: token.Owner{Realm: "a b", Name: "x"}},
			"a name with a control":   {Owner: local("a\nb")},
			"a name without width":    {Owner: local("a\u200bb")},
			"bad role":                {Owner: local("x"), Roles: []token.Role{"two words"}},
			"unknown kind":            {Owner: local("x"), Kind: "robot"},
			"a person with a steward": {Owner: local("x"), Steward: local("alice")},
			"a long display name":     {Owner: local("x"), DisplayName: strings.Repeat("x", 1025)},
		} {
			if _, err := w.root.AddAccount(background, a); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s: %v", what, err)
			}
			if a.Owner == local("x") {
				a.Owner = local("bob") // who is there
			}
			if _, err := w.root.SetAccount(background, a); !errors.Is(err, token.ErrUsage) {
				w.Errorf("%s, set: %v", what, err)
			}
		}
	})
}

func listAccounts(w *world) {
	for _, o := range []token.Owner{corp("b"), corp("a"), {Realm: "corp2", Name: "a"}} {
		w.addAccount(token.Account{Owner: o})
	}
	names := func(realm string) (all []string) {
		for a, err := range w.root.ListAccounts(background, realm, token.Owner{}) {
			w.must(err)
			all = append(all, a.Owner.String())
		}
		return all
	}
	w.equal("those of corp", names("corp"), []string{"corp/a", "corp/b"})
	all := names("")
	if !slices.IsSorted(all) || !slices.Contains(all, "local/root") || len(all) != 9 {
		w.Errorf("all accounts are %q", all)
	}
	w.equal("those of none", len(names("none")), 0)
}

func setAccount(w *world) {
	seen, err := w.root.Account(background, local("alice"))
	w.must(err)
	w.wait(time.Hour)
	changed := seen
	changed.DisplayName, changed.Roles, changed.Disabled = "Alice", []token.Role{"writer"}, true
	changed.CreatedAt, changed.CreatedBy = w.now(), local("mallory") // which are not for setting
	got, err := w.root.SetAccount(background, changed)
	w.must(err)
	want := seen
	want.DisplayName, want.Roles, want.Disabled, want.Revision = "Alice", []token.Role{"writer"}, true, seen.Revision+1
	w.equal("what SetAccount gives", got, want)
	kept, err := w.root.Account(background, local("alice"))
	w.must(err)
	w.equal("what is kept", kept, want)
	_, err = w.root.SetAccount(background, changed)
	w.fails(err, token.ErrConflict)
	changed.Revision = 0 // whatever it is now
	_, err = w.root.SetAccount(background, changed)
	w.must(err)
}

func deleteAccount(w *world) {
	live, suspended, expired, before := w.generate(w.alice, user()), w.generate(w.alice, refresh()), w.generate(w.alice, lasting(refresh(), time.Second)), w.generate(w.alice, refresh())
	bobs := w.generate(w.bob, user())
	w.must(w.alice.Suspend(background, refs(suspended), time.Time{}))
	w.must(w.alice.Revoke(background, refs(before), "earlier"))
	w.wait(time.Second)
	seen := len(w.actions(0))
	w.must(w.root.DeleteAccount(background, local("alice")))
	_, err := w.root.Account(background, local("alice"))
	w.fails(err, token.ErrNotFound)
	for _, i := range []authority.Issued{live, suspended, expired} {
		t := w.get(i.Token.ID)
		w.equal("the tombstone", []any{t.Status, t.RevokedBy, t.RevokedReason}, []any{token.Revoked, local("root"), "account deleted"})
	}
	w.equal("a tombstone from before", w.get(before.Token.ID).RevokedReason, "earlier")
	w.accepts(bobs.Secret)
	// From the first step on the log says what is going on.
	w.equal("the log", w.actions(seen), []string{"account.disable", "token.revoke", "token.revoke", "token.revoke", "account.delete"})
	for _, e := range w.audit(audit.Filter{})[seen:] {
		w.equal("actor and owner", []token.Owner{e.Actor, e.Owner}, []token.Owner{local("root"), local("alice")})
	}
	_, err = w.as("alice").Generate(background, user())
	w.fails(err, token.ErrRefused)
}

func fileOwner(w *world) {
	a, err := w.root.Account(background, local("root"))
	w.must(err)
	w.equal("the account", a, token.Account{
		Owner: local("root"), Kind: token.Person, Roles: []token.Role{token.Admin}, CreatedAt: w.second(), CreatedBy: local("root"), Revision: 1,
	})
	w.equal("the roles of a token", w.accepts(w.generate(w.root, user()).Secret).Roles, []token.Role{token.Admin})
	// The rights come from the file, the tokens' from the account.
	w.setAccount("root", func(a *token.Account) { a.Disabled = true })
	_, err = w.root.Generate(background, refresh())
	w.fails(err, token.ErrRefused)
	w.setAccount("root", func(a *token.Account) { a.Disabled = false })
	w.generate(w.root, refresh())
}
