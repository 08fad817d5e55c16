package authority

import (
	"context"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Get implements [Tokens].
func (s *session) Get(ctx context.Context, id token.ID) (t token.Token, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		rec, err := store.GetToken(r, id)
		if err != nil {
			return noToken(err, id)
		}
		if err := s.maySee(r, rec.Owner, "token "+id.String()); err != nil {
			return err
		}
		t, err = s.show(r, rec)
		return err
	})
	return t, err
}

// show completes a record with its state and its last use.
func (s *session) show(r store.Reader, rec token.Record) (token.Token, error) {
	t := token.NewToken(rec, s.now())
	u, err := store.GetUse(r, rec.ID)
	u = s.noted.lastUse(rec.ID, u)
	t.LastUsedAt, t.LastUsedFrom = u.At, u.From
	return t, err
}

// List implements [Tokens].
func (s *session) List(ctx context.Context, sel token.Selector) iter.Seq2[token.Token, error] {
	return func(yield func(token.Token, error) bool) {
		err := sel.Check()
		if err == nil {
			sel.Owner, err = s.canonicalOwner(sel.Owner)
		}
		if err == nil {
			err = s.view(ctx, func(r store.Reader) error {
				if sel.Owner.IsZero() {
					return s.needs(r, "see tokens of others", token.Auditor)
				}
				return s.maySee(r, sel.Owner, "tokens of "+sel.Owner.String())
			})
		}
		if err != nil {
			yield(token.Token{}, err)
			return
		}
		walk := store.WalkTokens(ctx, s.store, sel.CreatedAfter, sel.CreatedBefore, sel.After)
		if !sel.Owner.IsZero() {
			walk = store.WalkOwner(ctx, s.store, sel.Owner, sel.After)
		}
		now := s.now()
		for t, err := range walk {
			if err != nil {
				yield(token.Token{}, err)
				return
			}
			t.Status = t.StatusAt(now)
			if s.serving {
				u := s.noted.lastUse(t.ID, token.Use{At: t.LastUsedAt, From: t.LastUsedFrom})
				t.LastUsedAt, t.LastUsedFrom = u.At, u.From
			}
			if !sel.Match(t) {
				continue
			}
			if !yield(*t, nil) {
				return
			}
		}
	}
}
