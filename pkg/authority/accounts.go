package authority

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func account(r store.Reader, o token.Owner) (token.Account, error) {
	a, err := store.Accounts.Get(r, o.Realm, o.Name)
	if errors.Is(err, store.ErrNotFound) {
		return a, token.Errorf(token.ErrNotFound, "%s has no account", o)
	}
	return a, err
}

// canonical brings what a request says of an account into the form that is
// stored.
func (s *session) canonical(a token.Account) (token.Account, error) {
	o, err := token.NewOwner(a.Owner.Realm, a.Owner.Name)
	if err == nil {
		a.Owner, err = s.canonicalOwner(o)
	}
	if err != nil {
		return a, err
	}
	if a.Steward, err = s.canonicalOwner(a.Steward); err != nil {
		return a, err
	}
	if a.Kind == "" {
		a.Kind = token.Person
	}
	a.Roles = slices.Clone(a.Roles)
	slices.Sort(a.Roles)
	a.Roles = slices.Compact(a.Roles)
	for _, r := range a.Roles {
		if _, err := token.ParseRole(string(r)); err != nil {
			return a, err
		}
	}
	return a, a.Check()
}

// hasSteward makes sure that a service account's steward is a person here.
func (c *change) hasSteward(a *token.Account) error {
	if a.Kind != token.ServiceAccount {
		return nil
	}
	steward, err := account(c, a.Steward)
	if err != nil {
		return err
	}
	if steward.Kind != token.Person {
		return token.Errorf(token.ErrUsage, "%s is no person and cannot be a steward", a.Steward)
	}
	return nil
}

// AddAccount implements [Accounts].
func (s *session) AddAccount(ctx context.Context, a token.Account) (token.Account, error) {
	a, err := s.canonical(a)
	if err != nil {
		return a, err
	}
	err = s.once(ctx, func(c *change) (string, error) {
		if err := c.by.needs(c, "add accounts", token.Admin); err != nil {
			return "", err
		}
		p, err := store.Providers.Get(c, a.Owner.Realm)
		federated := err == nil
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
		if s.realms != nil && a.Owner.Realm != token.LocalRealm && !slices.Contains(s.realms, a.Owner.Realm) && !federated {
			return "", token.Errorf(token.ErrUsage, "no directory or identity provider has the realm %q", a.Owner.Realm).
				WithHint("a bare name is of the realm local; directories are named in the config file")
		}
		has, err := store.Accounts.Has(c, a.Owner.Realm, a.Owner.Name)
		if err != nil {
			return "", err
		}
		if has {
			return "", token.Errorf(token.ErrConflict, "%s has an account already", a.Owner).WithHint("change it: tokenctl admin user set %s", a.Owner)
		}
		if err := c.hasSteward(&a); err != nil {
			return "", err
		}
		a.CreatedAt, a.CreatedBy, a.Revision = c.now, c.by.caller.Owner, 1
		// What a directory says, and a password, come by ways of their own.
		a.EntryID, a.Successor, a.DirectoryRoles, a.RolesAt, a.Password, a.WrongPasswords = "", "", nil, time.Time{}, nil, 0
		if a.Identities = nil; federated { // its subject of this name
			a.Identities = []token.LinkedIdentity{{ExternalIdentity: p.Identity(a.Owner.Name)}}
		}
		c.noteAccount("account.add", &a, accountText(&a))
		return "", c.putAccount(a)
	}, func(c *change, _ string) (err error) {
		c.noteAccount("account.add", &a, replayed)
		a, err = store.Accounts.Get(c, a.Owner.Realm, a.Owner.Name)
		return goneSince(err)
	})
	return shown(a), err
}

func (c *change) noteAccount(action string, a *token.Account, detail string) {
	c.note(audit.Entry{Action: action, Owner: a.Owner, Object: a.Owner.String(), Detail: detail})
}

// accountText is what the audit log says of an account.
func accountText(a *token.Account) string {
	text := string(a.Kind) + ", " + rolesText(a.Roles)
	if !a.Steward.IsZero() {
		text += ", steward " + a.Steward.String()
	}
	return text
}

func rolesText(roles []token.Role) string {
	if len(roles) == 0 {
		return "no roles"
	}
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	return "roles " + strings.Join(names, " ")
}

// Account implements [Accounts].
func (s *session) Account(ctx context.Context, o token.Owner) (a token.Account, err error) {
	if o, err = s.canonicalOwner(o); err != nil {
		return a, err
	}
	err = s.view(ctx, func(r store.Reader) (err error) {
		if o != s.caller.Owner {
			if err := s.needs(r, "see the account of "+o.String(), token.Auditor); err != nil {
				return err
			}
		}
		a, err = account(r, o)
		return err
	})
	return shown(a), err
}

// shown is an account without what nobody is shown.
func shown(a token.Account) token.Account {
	a.HasPassword, a.Password = len(a.Password) > 0, nil
	return a
}

// ListAccounts implements [Accounts].
func (s *session) ListAccounts(ctx context.Context, realm string, after token.Owner) iter.Seq2[token.Account, error] {
	return func(yield func(token.Account, error) bool) {
		err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "list accounts", token.Auditor) })
		if err != nil {
			yield(token.Account{}, err)
			return
		}
		var under []string
		if realm != "" {
			under = []string{realm}
		}
		var from []string
		if !after.IsZero() {
			from = []string{after.Realm, after.Name}
		}
		for a, err := range store.Accounts.PagesAfter(ctx, s.store, from, under...) {
			if !yield(shown(a), err) {
				return
			}
		}
	}
}

// SetAccount implements [Accounts].
func (s *session) SetAccount(ctx context.Context, a token.Account) (token.Account, error) {
	a, err := s.canonical(a)
	if err != nil {
		return a, err
	}
	var now token.Account
	err = s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "change accounts", token.Admin); err != nil {
			return err
		}
		was, err := account(c, a.Owner)
		if err != nil {
			return err
		}
		if a.Revision != 0 && a.Revision != was.Revision {
			return token.Errorf(token.ErrConflict, "the account %s has changed meanwhile", a.Owner).WithHint("look again: tokenctl admin user show %s", a.Owner)
		}
		if err := c.hasSteward(&a); err != nil {
			return err
		}
		now = a // fn may run again: the request stays as it is
		now.CreatedAt, now.CreatedBy, now.Revision = was.CreatedAt, was.CreatedBy, was.Revision+1
		now.EntryID, now.Successor, now.DirectoryRoles, now.RolesAt = was.EntryID, was.Successor, was.DirectoryRoles, was.RolesAt
		now.Identities = was.Identities
		if now.Password, now.WrongPasswords = was.Password, was.WrongPasswords; !a.Disabled {
			now.WrongPasswords = 0
		}
		c.noteAccount("account"+turned(was.Disabled, a.Disabled), &now, accountText(&now))
		return c.putAccount(now)
	})
	return shown(now), err
}

// DeleteAccount implements [Accounts].
func (s *session) DeleteAccount(ctx context.Context, o token.Owner) error {
	o, err := s.canonicalOwner(o)
	if err != nil {
		return err
	}
	err = s.view(ctx, func(r store.Reader) error {
		if err := s.needs(r, "delete accounts", token.Admin); err != nil {
			return err
		}
		_, err := account(r, o)
		return err
	})
	if err != nil {
		return err
	}
	// The account is disabled first, so that nothing is made for it while its
	// tokens go, in as many transactions as it takes.
	var ending uint64
	if err := s.endAccount(ctx, o, func(c *change, a token.Account) error {
		if !a.Disabled {
			c.noteAccount("account.disable", &a, "about to be deleted")
		}
		a.Disabled = true
		a.Revision++
		ending = a.Revision
		return c.putAccount(a)
	}); err != nil {
		return err
	}
	var refs []token.Ref
	for t, err := range store.WalkOwner(ctx, s.store, o, token.ID{}) {
		if err != nil {
			return err
		}
		if t.RevokedAt.IsZero() {
			refs = append(refs, token.Ref{ID: t.ID})
		}
	}
	err = s.each(ctx, refs, func(c *change, rec token.Record) error { return c.revoke(rec, "account deleted") })
	if err != nil {
		return err
	}
	return s.endAccount(ctx, o, func(c *change, a token.Account) error {
		if a.Revision != ending {
			return token.Errorf(token.ErrConflict, "the account %s has changed meanwhile; its tokens are revoked", o).WithHint("look again: tokenctl admin user show %s", o)
		}
		c.noteAccount("account.delete", &a, "")
		if err := c.putIdentities(&a, &token.Account{}); err != nil {
			return err
		}
		return store.Accounts.Delete(c, o.Realm, o.Name)
	})
}

func (s *session) endAccount(ctx context.Context, o token.Owner, step func(*change, token.Account) error) error {
	return s.update(ctx, func(c *change) error {
		if err := c.by.needs(c, "delete accounts", token.Admin); err != nil {
			return err
		}
		a, err := account(c, o)
		if err != nil {
			return err
		}
		return step(c, a)
	})
}
