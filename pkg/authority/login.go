package authority

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Login is a name and a password, as somebody shows them.
type Login struct {
	// Name is realm/name; a bare name is of the realm local.
	Name     string
	Password secret.Secret
	// From is the address that shows it.
	From string
}

// The reasons why a log-in is refused.
const (
	UnknownAccount Reason = "unknown_account"
	WrongPassword  Reason = "wrong_password"
	AccountOff     Reason = "account_disabled"
)

// LogIn says whose name and password these are. The error is a [*Refusal],
// whose text is the same for every reason, or says that nobody can tell. Wrong
// passwords cost time, more with each, and never anybody's account: else a
// stranger could take it from its owner.
//
// A person of a directory who was never here before gets an account, and one
// who was gets the roles that the directory gives today. A log-in never enables
// an account that is disabled.
func (l *Local) LogIn(ctx context.Context, in Login) (token.Identity, error) {
	owner, dir, err := l.canonicalLogin(in.Name, token.LocalRealm)
	if err != nil || in.Password.IsZero() || len(in.Password.Reveal()) > maxPassword {
		return token.Identity{}, &Refusal{Reason: UnknownAccount}
	}
	at := door{owner: owner}
	if err := l.knock(ctx, at, in.From); err != nil {
		return token.Identity{}, err
	}
	var a token.Account
	if dir != nil {
		if err := l.oneMeaning(ctx, owner.Realm); err != nil {
			return token.Identity{}, err
		}
		a, err = l.logInAt(ctx, dir, in)
	} else {
		a, err = l.logInHere(ctx, owner, in.Password)
	}
	if err == nil && a.Off() {
		err = &Refusal{Reason: AccountOff}
	}
	var no *Refusal
	if errors.As(err, &no) {
		// Names that nobody has count too: else the delay would tell them.
		l.attempts.failed(at, l.now())
		if l.serving {
			l.noted.refusal(audit.Entry{Time: l.clock(), Action: credentialRefused, Owner: owner, Reason: string(no.Reason), Detail: no.why, Source: in.From}, false)
		}
		return token.Identity{}, err
	}
	if err != nil {
		l.attempts.nobodyKnows(at)
		return token.Identity{}, err
	}
	l.attempts.succeeded(at)
	if dir != nil { // what the directory said is kept beside what providers said
		if err := l.view(ctx, func(r store.Reader) (err error) {
			a, err = readAccount(r, a.Owner)
			return err
		}); err != nil {
			return token.Identity{}, err
		}
	}
	return token.Identity{Owner: a.Owner, Roles: a.AllRoles(l.now())}, nil
}

// canonicalLogin is the one form of an owner whom somebody names, and the
// directory of the realm if it has one. A bare name is of the given realm.
func (l *Local) canonicalLogin(name, realmOfBare string) (token.Owner, directory.Directory, error) {
	realm, rest, has := strings.Cut(name, "/")
	if !has {
		realm, rest = realmOfBare, name
	}
	if d := l.directories[realm]; d != nil {
		o, err := d.Canonical(rest)
		return o, d, err
	}
	o, err := token.NewOwner(realm, rest)
	return o, nil, err
}

// canonicalOwner brings an owner into the one form of its realm.
func (l *Local) canonicalOwner(o token.Owner) (token.Owner, error) {
	if d := l.directories[o.Realm]; d != nil && !o.IsZero() {
		return d.Canonical(o.Name)
	}
	return o, nil
}

// logInHere checks the password of a local account.
func (l *Local) logInHere(ctx context.Context, o token.Owner, password secret.Secret) (a token.Account, err error) {
	err = l.view(ctx, func(r store.Reader) (err error) {
		a, err = readAccount(r, o)
		return err
	})
	missing := errors.Is(err, store.ErrNotFound)
	if err != nil && !missing {
		return a, err
	}
	if missing || len(a.Password) == 0 {
		// The same work as for an account that is there.
		if err := l.hasher.Waste(ctx); err != nil {
			return a, token.Errorf(token.ErrCannotTell, "the password cannot be checked: %w", err)
		}
		return a, &Refusal{Reason: UnknownAccount}
	}
	right, err := l.checkPassword(ctx, &a, password)
	if err == nil && !right {
		err = &Refusal{Reason: WrongPassword}
	}
	return a, err
}

func (l *Local) checkPassword(ctx context.Context, a *token.Account, password secret.Secret) (bool, error) {
	res, err := l.hasher.Check(ctx, passwordUse(a.Owner), password, a.Password)
	if err != nil {
		return false, token.Errorf(token.ErrCannotTell, "the password cannot be checked: %w", err)
	}
	return res.OK, nil
}

// refusedAfter is how long a directory's refusal takes at least: whether a name
// is known there must not be told by the time of an answer.
const refusedAfter = 250 * time.Millisecond

// logInAt asks a directory, and keeps what it says.
func (l *Local) logInAt(ctx context.Context, d directory.Directory, in Login) (a token.Account, err error) {
	_, name, _ := strings.Cut(in.Name, "/")
	earliest := time.After(refusedAfter)
	id, err := d.Authenticate(ctx, name, in.Password)
	if errors.Is(err, token.ErrRefused) {
		select {
		case <-earliest:
		case <-ctx.Done():
		}
		return a, &Refusal{Reason: WrongPassword, why: err.Error()}
	}
	if err != nil {
		return a, err
	}
	a, err = l.meet(ctx, id)
	l.presences.forget(id.Owner) // what it said before may be of another person
	return a, err
}

// meet keeps what a directory says of a person who has proved to be them.
// Whoever has the name of another person, who is gone, begins anew: what that
// one had ends here.
func (l *Local) meet(ctx context.Context, id directory.Identity) (token.Account, error) {
	var a token.Account
	read := func(r store.Reader) (err error) {
		a, err = store.Accounts.Get(r, id.Owner.Realm, id.Owner.Name)
		return err
	}
	switch err := l.view(ctx, read); {
	case errors.Is(err, store.ErrNotFound):
		return l.learn(ctx, id, &token.Account{})
	case err != nil:
		return a, err
	case a.Kind == token.ServiceAccount:
		return a, &Refusal{Reason: AccountOff}
	case a.EntryID != "" && id.EntryID == "":
		return a, token.Errorf(token.ErrCannotTell, "the directory %s does not say any more whether this is the %s that we know", id.Owner.Realm, id.Owner)
	case a.EntryID != "" && a.EntryID != id.EntryID:
		s := &session{Local: l, caller: Caller{Owner: id.Owner, Via: "directory " + id.Owner.Realm}}
		// It is begun once, and then goes on without the one who asks.
		if err := s.succeed(context.WithoutCancel(ctx), a.EntryID, id); err != nil {
			return a, err
		}
		if err := l.view(ctx, read); err != nil {
			return a, err
		}
	}
	return l.learn(ctx, id, &a)
}

// learn keeps what a directory says of a person whom we know as was; as nobody,
// if they were never here.
func (l *Local) learn(ctx context.Context, id directory.Identity, was *token.Account) (a token.Account, err error) {
	a = *was
	if a.EntryID == id.EntryID && a.DisplayName == id.DisplayName && slices.Equal(a.DirectoryRoles, id.Roles) && l.now().Sub(a.RolesAt) < rolesPrecision {
		return a, nil
	}
	s := &session{Local: l, caller: Caller{Owner: id.Owner, Via: "directory " + id.Owner.Realm}}
	err = s.update(ctx, func(c *change) error {
		now, err := store.Accounts.Get(c, id.Owner.Realm, id.Owner.Name)
		fresh := errors.Is(err, store.ErrNotFound)
		switch {
		case err != nil && !fresh:
			return err
		case fresh && !was.Owner.IsZero():
			return &Refusal{Reason: OwnerGone}
		case !fresh && (now.Successor != "" || now.Kind != token.Person || now.EntryID != was.EntryID && now.EntryID != id.EntryID):
			return token.Errorf(token.ErrCannotTell, "the account %s has changed meanwhile", id.Owner).WithHint("try again")
		case fresh:
			now = token.Account{Owner: id.Owner, Kind: token.Person, CreatedAt: c.now, CreatedBy: id.Owner}
			c.noteAccount("account.add", &now, "first log-in")
		case !slices.Equal(now.DirectoryRoles, id.Roles):
			c.noteAccount("account.roles", &now, rolesText(id.Roles)+" from the directory")
		}
		now.EntryID, now.DisplayName, now.DirectoryRoles, now.RolesAt = id.EntryID, id.DisplayName, id.Roles, c.now
		now.Revision++
		a = now
		return c.putAccount(a)
	})
	return a, err
}

// rolesPrecision is how exactly it is known when a directory gave its roles: a
// log-in that changes nothing else does not cost a write each time.
const rolesPrecision = usePrecision

// succeed ends what another person had under the same name. The account is
// theirs, and refused, until all of it is done: then it is a new one. A process
// that ends in between leaves the rest to the next log-in.
func (s *session) succeed(ctx context.Context, was string, id directory.Identity) error {
	step := func(do func(*change, token.Account) error) error {
		return s.update(ctx, func(c *change) error {
			a, err := store.Accounts.Get(c, id.Owner.Realm, id.Owner.Name)
			switch {
			case err != nil:
				return err
			case a.EntryID == id.EntryID: // another log-in has done it
				return nil
			case a.EntryID != was:
				return token.Errorf(token.ErrCannotTell, "the account %s has changed meanwhile", id.Owner).WithHint("log in again")
			}
			return do(c, a)
		})
	}
	if err := step(func(c *change, a token.Account) error {
		c.note(audit.Entry{Action: "account.replace", Owner: id.Owner, Object: id.Owner.String(), Detail: "another person has the name now"})
		a.Successor = id.EntryID
		a.Revision++
		return c.putAccount(a)
	}); err != nil {
		return err
	}
	for t, err := range store.WalkOwner(ctx, s.store, id.Owner, token.ID{}) {
		if err != nil {
			return err
		}
		if !t.RevokedAt.IsZero() {
			continue
		}
		if err := step(func(c *change, _ token.Account) error {
			rec, err := store.GetToken(c, t.ID)
			if errors.Is(err, store.ErrNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			return c.revoke(rec, "the name belongs to another person now")
		}); err != nil {
			return err
		}
	}
	if err := s.endStewardship(ctx, id.Owner); err != nil {
		return err
	}
	return step(func(c *change, a token.Account) error {
		return c.putAccount(token.Account{
			Owner: id.Owner, Kind: token.Person, CreatedAt: c.now, CreatedBy: id.Owner, EntryID: id.EntryID, Disabled: a.Disabled, Revision: a.Revision + 1,
		})
	})
}

// endStewardship disables the service accounts whose steward is gone: whoever
// has the name now did not ask for them.
func (s *session) endStewardship(ctx context.Context, steward token.Owner) error {
	for bot, err := range store.Accounts.Pages(ctx, s.store) {
		if err != nil {
			return err
		}
		if bot.Steward != steward {
			continue
		}
		if err := s.update(ctx, func(c *change) error {
			a, err := store.Accounts.Get(c, bot.Owner.Realm, bot.Owner.Name)
			if err != nil || a.Steward != steward {
				return err
			}
			a.Disabled, a.Steward = true, token.Owner{}
			a.Revision++
			c.noteAccount("account.disable", &a, "its steward "+steward.String()+" is gone, and the name is another person's")
			return c.putAccount(a)
		}); err != nil {
			return err
		}
	}
	return nil
}
