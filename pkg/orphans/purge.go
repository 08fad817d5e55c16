package orphans

import (
	"context"
	"errors"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Purge implements [Service].
func (l *Local) Purge(ctx context.Context, p Plan, c Consent) (Report, error) {
	if err := l.mayPurge(ctx); err != nil {
		return Report{}, err
	}
	if c.MaxOrphans < 0 {
		return Report{}, token.Errorf(token.ErrUsage, "%d orphans at most make no sense", c.MaxOrphans)
	}
	if err := p.Check(); err != nil {
		return Report{}, err
	}
	rep := Report{Plan: p.Digest, Realms: []Purged{}, Stewardless: p.Stewardless}
	// All is asked and looked at before the first token goes.
	var work []removal
	gone := map[token.Owner]bool{}
	for _, r := range p.Realms {
		d := l.directory(r.Name)
		if d == nil {
			return Report{}, token.Errorf(token.ErrCannotTell, "there is no directory of the realm %q to ask again; nothing was removed", r.Name)
		}
		now, absent, err := l.survey(ctx, d, nil)
		if err == nil {
			err = breaker(now, c)
		}
		if err != nil {
			return Report{}, err
		}
		for _, v := range absent {
			gone[v.Owner] = true
		}
		rep.Realms = append(rep.Realms, Purged{Realm: r.Name, Asked: now.Asked})
	}
	for batch := range slices.Chunk(p.Orphans, batchSize) {
		left, err := l.left(ctx, p.reason(), batch)
		if err != nil {
			return Report{}, err
		}
		for _, o := range left {
			if !gone[o.owner] {
				return Report{}, l.backAgain(o.owner)
			}
		}
		work = append(work, left...)
	}
	err := l.remove(ctx, work, p.reason(), &rep, c.Progress)
	return rep, err
}

// backAgain is the conflict of somebody in a plan who is an orphan no more.
func (l *Local) backAgain(o token.Owner) error {
	return token.Errorf(token.ErrConflict, "the directory knows %s now, or they are a service account; nothing was removed", o).
		WithHint("look again, and make a new plan: tokenctl purge-orphans --dry-run")
}

// removal is what is left to be removed of an owner.
type removal struct {
	owner token.Owner
	refs  []token.Ref
}

// left finds what is still to be removed of orphans, and fails if a token is
// not what the plan has seen. What has expired since has gone by itself, and
// what this same plan has removed before is done.
func (l *Local) left(ctx context.Context, reason string, orphans []Orphan) (work []removal, err error) {
	now := l.Now()
	err = l.Store.View(ctx, func(r store.Reader) error {
		work = nil
		for _, o := range orphans {
			todo := removal{owner: o.Owner}
			for _, t := range o.Tokens {
				rec, err := store.GetToken(r, t.ID)
				switch {
				case errors.Is(err, store.ErrNotFound):
					return changed(t.ID)
				case err != nil:
					return err
				case rec.Owner == o.Owner && rec.Revision == t.Revision+1 && !rec.RevokedAt.IsZero() && rec.RevokedReason == reason:
					continue
				case rec.Owner != o.Owner || rec.Revision != t.Revision:
					return changed(t.ID)
				case rec.Live(now):
					todo.refs = append(todo.refs, rec.Ref())
				}
			}
			if len(todo.refs) > 0 {
				work = append(work, todo)
			}
		}
		return nil
	})
	return work, err
}

func changed(id token.ID) error {
	return token.Errorf(token.ErrConflict, "the token %s has changed since the plan was made; nothing was removed", id).
		WithHint("look again, and make a new plan: tokenctl purge-orphans --dry-run")
}

// remove revokes, in batches; that of one owner stays together if it can.
func (l *Local) remove(ctx context.Context, work []removal, reason string, rep *Report, progress func(int)) error {
	total := 0
	for _, w := range work {
		total += len(w.refs)
	}
	for at := 0; at < len(work); {
		var refs []token.Ref
		from := at
		for at < len(work) && (len(refs) == 0 || len(refs)+len(work[at].refs) <= batchSize) {
			refs = append(refs, work[at].refs...)
			at++
		}
		if err := l.service.Revoke(ctx, refs, reason); err != nil {
			if rep.Tokens == 0 {
				return err
			}
			return token.Errorf(err, "%d of %d tokens were removed, then: %w", rep.Tokens, total, err).WithHint("the same command again goes on with the others")
		}
		rep.count(work[from:at])
		if progress != nil {
			progress(len(refs))
		}
	}
	return nil
}

func (rep *Report) count(done []removal) {
	for _, w := range done {
		rep.Owners++
		rep.Tokens += len(w.refs)
		i := slices.IndexFunc(rep.Realms, func(r Purged) bool { return r.Realm == w.owner.Realm })
		rep.Realms[i].Owners++
		rep.Realms[i].Tokens += len(w.refs)
	}
}
