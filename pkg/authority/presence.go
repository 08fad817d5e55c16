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
// person that we know, and may log in; and keeps the roles that they have today.
// For an owner whom no directory knows there is nothing to ask.
func (l *Local) stillThere(ctx context.Context, a *token.Account) error {
	d := l.directories[a.Owner.Realm]
	if d == nil || a.Kind == token.ServiceAccount { // whom no directory knows
		return nil
	}
	v, known := l.presences.get(a.Owner, l.now())
	if !known {
		var err error
		if v, err = d.Lookup(ctx, a.Owner); err != nil {
			return l.unreachable(ctx, a, err)
		}
		if v.State == directory.CannotTell {
			return l.unreachable(ctx, a, token.Errorf(token.ErrCannotTell, "the directory %s cannot tell of %s: %s", d.Realm(), a.Owner, v.Why))
		}
		l.presences.put(a.Owner, v, l.now())
	}
	v = v.Of(directory.Known{Owner: a.Owner, EntryID: a.EntryID})
	switch {
	case v.State == directory.Absent:
		return &Refusal{Reason: OwnerGone}
	case v.State != directory.Present:
		return l.unreachable(ctx, a, token.Errorf(token.ErrCannotTell, "the directory %s cannot tell of %s: %s", d.Realm(), a.Owner, v.Why))
	case v.Disabled:
		return &Refusal{Reason: OwnerDisabled}
	case known:
		return nil
	}
	_, err := l.learn(ctx, v.Identity)
	return err
}

// freshRole asks the directory again when a role is demanded that only it gave,
// too long ago.
func (l *Local) freshRole(ctx context.Context, a *token.Account, role token.Role) error {
	own := token.Identity{Roles: a.Roles}
	if a.RolesAt.IsZero() || a.Kind == token.ServiceAccount || own.HasRole(role) {
		return nil
	}
	var p token.Policy
	err := l.view(ctx, func(r store.Reader) (err error) {
		p, err = policy(r)
		return err
	})
	if err != nil || l.now().Sub(a.RolesAt) < p.DirectoryMemory {
		return err
	}
	d := l.directories[a.Owner.Realm]
	if d == nil {
		return token.Errorf(token.ErrCannotTell, "the role %s of %s is from a directory that is no longer asked", role, a.Owner)
	}
	v, err := d.Lookup(ctx, a.Owner)
	if err != nil {
		return err
	}
	v = v.Of(directory.Known{Owner: a.Owner, EntryID: a.EntryID})
	switch {
	case v.State == directory.Absent:
		return &Refusal{Reason: OwnerGone}
	case v.Disabled:
		return &Refusal{Reason: OwnerDisabled}
	case v.State != directory.Present:
		return token.Errorf(token.ErrCannotTell, "whether %s still has the role %s the directory does not say: %s", a.Owner, role, v.Why)
	}
	now, err := l.learn(ctx, v.Identity)
	if err != nil {
		return err
	}
	if has := (&token.Identity{Roles: now.AllRoles()}); !has.HasRole(role) {
		return &Refusal{Reason: MissingRole}
	}
	return nil
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
