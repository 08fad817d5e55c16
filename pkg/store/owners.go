package store

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// ownersPage is how many owners a walk finds in one transaction.
const ownersPage = 1024

// WalkOwners yields the owners of a realm who have a token that lives at now,
// by name: their account or, of those without one, an account that has nothing
// but the owner. It leaps from owner to owner in the index, so its price is
// that of owners and not of tokens, but for those whose tokens have all ended.
// It reads page by page: the loop's body may use the store. Of somebody whose
// tokens come or go meanwhile it may tell or not.
func WalkOwners(ctx context.Context, s Store, realm string, now time.Time) iter.Seq2[token.Account, error] {
	return func(yield func(token.Account, error) bool) {
		w := ownersWalk{realm: NewKey(tableOwners).Text(realm), now: now}
		for more := true; more; {
			start := w.after
			err := s.View(ctx, func(r Reader) (err error) {
				w.page, w.after = w.page[:0], start
				if more, err = w.fill(r); err != nil {
					return err
				}
				return ended(ctx)
			})
			if err != nil {
				yield(token.Account{}, err)
				return
			}
			for i := range w.page {
				if !yield(w.page[i], nil) {
					return
				}
			}
		}
	}
}

// ownersWalk reads one page after the other.
type ownersWalk struct {
	realm Key
	after Key // behind all tokens of the last owner
	now   time.Time
	page  []token.Account
}

// fill reads a page. more says that there may be another one.
func (w *ownersWalk) fill(r Reader) (more bool, err error) {
	for seen := 0; seen < ownersPage; seen++ {
		o, found, err := w.next(r)
		if err != nil || !found {
			return false, err
		}
		lives, err := w.hasLive(r, o)
		if err != nil {
			return false, err
		}
		// Behind the greatest id that there can be.
		w.after = append(NewKey(tableOwners).Owner(o), bytes.Repeat([]byte{0xFF}, len(token.ID{})+1)...)
		if !lives {
			continue
		}
		a, err := Accounts.Get(r, o.Realm, o.Name)
		if errors.Is(err, ErrNotFound) {
			a, err = token.Account{Owner: o}, nil
		}
		if err != nil {
			return false, err
		}
		w.page = append(w.page, a)
	}
	return true, nil
}

// next is the owner of the first token behind after.
func (w *ownersWalk) next(r Reader) (o token.Owner, found bool, err error) {
	for e, err := range r.Scan(w.realm, w.after) {
		if err != nil {
			return o, false, err
		}
		k := ReadKey(e.Key)
		o = token.Owner{Realm: k.Text(), Name: k.Text()}
		k.ID()
		return o, true, k.Err()
	}
	return o, false, nil
}

// hasLive reports whether an owner has a token that lives. The newest ones
// stand last, but a store is read forwards alone.
func (w *ownersWalk) hasLive(r Reader, o token.Owner) (bool, error) {
	for e, err := range r.Scan(NewKey(tableOwners).Owner(o), nil) {
		if err != nil {
			return false, err
		}
		k := ReadKey(e.Key)
		k.Text()
		k.Text()
		id := k.ID()
		if err := k.Err(); err != nil {
			return false, err
		}
		rec, err := GetToken(r, id)
		if err != nil || rec.Live(w.now) {
			return err == nil, err
		}
	}
	return false, nil
}
