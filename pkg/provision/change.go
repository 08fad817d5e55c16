package provision

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// maxValues is how many values of one token a provisioner may have to
// withdraw: who rotates on while it cannot be reached comes to an end.
const maxValues = 32

// Made is what one provisioner is to have of a new secret.
type Made struct {
	Provisioner string
	Order       int
	Target      Target
	Sealed      []byte // what [Provisioner.Prepare] made, sealed for [SealedFor]
}

// Renew gives a token a new secret, in the transaction that makes or rotates
// it; revision is the token's from then on. The old one stays until oldUntil;
// zero: it goes now. That is so everywhere, also where nothing was made for.
func Renew(w store.Writer, id token.ID, revision uint64, made []Made, oldUntil, now time.Time) error {
	all, err := States(w, id)
	if err != nil {
		return err
	}
	for _, was := range all {
		s := was
		s.Values = nil
		for _, v := range was.Values {
			if v.Until.IsZero() {
				v.Until, v.EndedBy = second(later(now, oldUntil)), revision
			}
			s.Values = append(s.Values, v)
		}
		if i := slices.IndexFunc(made, func(m Made) bool { return m.Provisioner == s.Provisioner }); i >= 0 {
			if len(s.Values) >= maxValues {
				return token.Errorf(token.ErrConflict, "%s has not withdrawn %d older secrets of token %s yet", s.Provisioner, maxValues, id).
					WithHint("see what is wrong there: tokenctl admin provision status")
			}
			s.add(&made[i], revision)
		}
		s.renew(now)
		if err := put(w, &was, &s); err != nil {
			return err
		}
	}
	for i := range made {
		m := &made[i]
		if slices.ContainsFunc(all, func(s State) bool { return s.Provisioner == m.Provisioner }) {
			continue
		}
		fresh := State{Token: id, Provisioner: m.Provisioner}
		fresh.add(m, revision)
		fresh.renew(now)
		if err := put(w, nil, &fresh); err != nil {
			return err
		}
	}
	return nil
}

// add is what a new secret changes. Who the owner is may have become known since.
func (s *State) add(m *Made, revision uint64) {
	s.Target, s.Order = m.Target, m.Order
	s.Values = append(s.Values, Value{Sealed: m.Sealed, Revision: revision})
}

// TakeBack makes the secret before the one of a revision the token's again: at
// all provisioners that one goes, and what it had ended stays.
func TakeBack(w store.Writer, id token.ID, revision uint64, now time.Time) error {
	_, err := edit(w, id, func(s *State) (changed bool) {
		for i := range s.Values {
			switch v := &s.Values[i]; revision {
			case v.Revision:
				v.Until, v.EndedBy, changed = second(now), revision, true
			case v.EndedBy:
				v.Until, v.EndedBy, changed = time.Time{}, 0, true
			}
		}
		if changed {
			s.renew(now)
		}
		return changed
	})
	return err
}

// Retire has the values that were replaced go now, whatever grace they had.
func Retire(w store.Writer, id token.ID, now time.Time) error {
	_, err := edit(w, id, func(s *State) (changed bool) {
		for i := range s.Values {
			if v := &s.Values[i]; v.Until.After(now) {
				v.Until, changed = second(now), true
			}
		}
		if changed {
			s.renew(now)
		}
		return changed
	})
	return err
}

// Reconcile has every provisioner of a token told anew, in the transaction that
// changes the token: suspend, resume, revoke, delete. What it is told is found
// out when it is.
func Reconcile(w store.Writer, id token.ID, now time.Time) error {
	_, err := edit(w, id, func(s *State) bool {
		s.renew(now)
		return true
	})
	return err
}

// ReconcileOwner is [Reconcile] for the service tokens of an owner that hold
// their slots, in the transaction that disables or enables the account.
func ReconcileOwner(w store.Writer, o token.Owner, now time.Time) error {
	ids, err := store.ServiceTokens(w, o)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := Reconcile(w, id, now); err != nil {
			return err
		}
	}
	return nil
}

// Keep takes over what a present store knows of other systems into one that was
// restored from a backup: what they were told since is out there, whatever the
// backup knows. present may be nil, if nobody can read it. All is looked at
// again.
func Keep(ctx context.Context, present, restored store.Store, now time.Time) error {
	if present != nil {
		if err := eachBatch(ctx, present, restored, keep); err != nil {
			return err
		}
	}
	return eachBatch(ctx, restored, restored, func(w store.Writer, s State) error {
		was, err := states.Get(w, s.Token.String(), s.Provisioner)
		if err != nil {
			return err
		}
		again := was
		again.renew(now)
		return put(w, &was, &again)
	})
}

// eachBatch changes one store by the States of another, as many at once as an
// Update holds.
func eachBatch(ctx context.Context, from, to store.Store, do func(store.Writer, State) error) error {
	size := max(1, to.Limit()/writesPerState)
	var batch []State
	flush := func() error {
		err := to.Update(ctx, func(w store.Writer) error {
			for _, s := range batch {
				if err := do(w, s); err != nil {
					return err
				}
			}
			return nil
		})
		batch = batch[:0]
		return err
	}
	for s, err := range states.Pages(ctx, from) {
		if err != nil {
			return err
		}
		if batch = append(batch, s); len(batch) == size {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(batch) == 0 {
		return nil
	}
	return flush()
}

// keep puts a State in the place of what there is of it.
func keep(w store.Writer, s State) error {
	was, err := states.Get(w, s.Token.String(), s.Provisioner)
	if errors.Is(err, store.ErrNotFound) {
		return put(w, nil, &s)
	}
	if err != nil {
		return err
	}
	return put(w, &was, &s)
}
