package authority

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tokenctl/tokenctl/pkg/directory"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// presenceLasts is how long what a directory said of an owner is not asked
// again. A doubt is asked again at once.
const presenceLasts = time.Minute

// presenceKept bounds the memory.
const presenceKept = 1 << 13

// presences are what directories said of owners of late.
type presences struct {
	mu sync.Mutex
	by map[token.Owner]presence
}

type presence struct {
	verdict directory.Verdict
	at      time.Time
}

func (p *presences) get(o token.Owner, now time.Time) (directory.Verdict, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known, has := p.by[o]
	return known.verdict, has && now.Sub(known.at) < presenceLasts
}

func (p *presences) forget(o token.Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.by, o)
}

func (p *presences) put(o token.Owner, v directory.Verdict, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[token.Owner]presence{}
	}
	if len(p.by) >= presenceKept {
		for other := range p.by { // any: the order of a map is random
			delete(p.by, other)
			break
		}
	}
	p.by[o] = presence{v, now}
}

// stillThere asks the directory of a realm whether an owner exists, is the
// person that we know, and may log in; and keeps what it says: the roles that
// they have today, or that it knows them no more. For an owner whom no directory
// ever knew there is nothing to ask.
func (l *Local) stillThere(ctx context.Context, a *token.Account) error {
	d := l.directories[a.Owner.Realm]
	switch {
	case a.Kind == token.ServiceAccount: // whom no directory knows
		return nil
	case d == nil && a.RolesAt.IsZero():
		return nil
	case d == nil:
		return l.unreachable(ctx, a, token.Errorf(token.ErrCannotTell, "the directory %s, which knew %s, is no longer asked", a.Owner.Realm, a.Owner))
	}
	if err := l.oneMeaning(ctx, a.Owner.Realm); err != nil {
		return err
	}
	v, known := l.presences.get(a.Owner, l.now())
	if !known {
		var err error
		if v, err = d.Lookup(ctx, a.Owner); err != nil {
			return l.unreachable(ctx, a, err)
		}
		if v.State != directory.CannotTell {
			l.presences.put(a.Owner, v, l.now())
		}
	}
	v = v.Of(directory.Known{Owner: a.Owner, EntryID: a.EntryID})
	switch {
	case v.State == directory.Absent:
		return l.unlearn(ctx, a, OwnerGone)
	case v.State != directory.Present:
		return l.unreachable(ctx, a, token.Errorf(token.ErrCannotTell, "the directory %s cannot tell of %s: %s", d.Realm(), a.Owner, v.Why))
	case v.Disabled:
		return l.unlearn(ctx, a, OwnerDisabled)
	case known:
		return nil
	}
	_, err := l.learn(ctx, v.Identity, a)
	return err
}

// unlearn refuses somebody whom their directory knows no more, and forgets what
// it said before: its last answer is a no, also when nobody answers later.
func (l *Local) unlearn(ctx context.Context, a *token.Account, why Reason) error {
	if a.RolesAt.IsZero() {
		return &Refusal{Reason: why}
	}
	s := &session{Local: l, caller: Caller{Owner: a.Owner, Via: "directory " + a.Owner.Realm}}
	err := s.update(ctx, func(c *change) error {
		now, err := store.Accounts.Get(c, a.Owner.Realm, a.Owner.Name)
		if errors.Is(err, store.ErrNotFound) || err == nil && now.EntryID != a.EntryID {
			return nil
		}
		if err != nil {
			return err
		}
		now.DirectoryRoles, now.RolesAt = nil, time.Time{}
		now.Revision++
		c.noteAccount("account.roles", &now, "none from the directory: "+string(why))
		return c.putAccount(now)
	})
	if err != nil {
		l.warn(err)
	}
	return &Refusal{Reason: why}
}

// judgeRole demands a role. What only a directory can give is asked for again
// when its answer is old, or when the role is lacking: it may be new.
func (l *Local) judgeRole(ctx context.Context, v verdict, role token.Role, again func() (verdict, error)) (verdict, error) {
	a := v.of.account
	missing := &Refusal{Reason: MissingRole, Token: v.of.record.ID}
	has, own := v.identity.HasRole(role), token.Identity{Roles: v.lasting(l.now())}
	switch {
	case own.HasRole(role) || a.RolesAt.IsZero() || a.Kind == token.ServiceAccount:
		if !has {
			return v, missing
		}
		return v, nil
	}
	var p token.Policy
	err := l.view(ctx, func(r store.Reader) (err error) {
		p, err = policy(r)
		return err
	})
	old := l.now().Sub(a.RolesAt) >= p.DirectoryMemory
	if err != nil || has && !old {
		return v, err
	}
	if old {
		l.presences.forget(a.Owner)
	}
	v, err = l.judgeToday(ctx, v, again)
	switch {
	case !has && !old && errors.Is(err, token.ErrCannotTell):
		return v, missing // as it said not long ago
	case err != nil:
		return v, err
	case !v.identity.HasRole(role):
		return v, missing
	}
	return v, nil
}

// lasting are the roles of a credential's owner that no directory gave.
func (v *verdict) lasting(now time.Time) []token.Role {
	a := *v.of.account
	a.DirectoryRoles = nil
	if v.said != nil {
		return federatedRoles(&a, v.said, now)
	}
	return a.AllRoles(now)
}

// unreachable is what policy says while a directory does not answer: refuse to
// say, or believe its last answer for a time.
func (l *Local) unreachable(ctx context.Context, a *token.Account, cause error) error {
	var p token.Policy
	err := l.view(ctx, func(r store.Reader) (err error) {
		p, err = policy(r)
		return err
	})
	if err != nil {
		return errors.Join(cause, err)
	}
	if p.DirectoryUnreachable == token.LastKnown && !a.RolesAt.IsZero() && l.now().Sub(a.RolesAt) < p.DirectoryMemory {
		l.warn(cause)
		return nil
	}
	return cause
}
