package provision

import (
	"context"
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// maxValues is how many values of one token a provisioner may have to
// withdraw: who rotates on while it cannot be reached comes to an end.
const maxValues = 32

// Add begins to provision a token, in the transaction that makes it. Of s it
// takes Token, Provisioner, Target, Order, and of Values the last one's Sealed.
// If there is a State already, it is replaced as by [Replace], with no grace.
func Add(w store.Writer, s State, now time.Time) error {
	sealed := s.Values[len(s.Values)-1].Sealed
	err := Replace(w, s.Token, s.Provisioner, sealed, time.Time{}, now)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	fresh := State{Token: s.Token, Provisioner: s.Provisioner, Target: s.Target, Order: s.Order, Values: []Value{{Sealed: sealed}}}
	fresh.renew(now)
	return put(w, nil, &fresh)
}

// Replace gives a token another value at a provisioner, in the transaction
// that rotates it. The old one stays until oldUntil; zero: it goes now. The
// error is store.ErrNotFound if the token is not provisioned there.
func Replace(w store.Writer, id token.ID, provisioner string, sealed []byte, oldUntil, now time.Time) error {
	was, err := states.Get(w, id.String(), provisioner)
	if err != nil {
		return err
	}
	s := was
	s.Values = nil
	for _, v := range was.Values {
		if v.Until.IsZero() {
			v.Until = second(later(now, oldUntil))
		} else if v.At == Gone && v.over(now) {
			continue
		}
		s.Values = append(s.Values, v)
	}
	if len(s.Values) == maxValues {
		return token.Errorf(token.ErrConflict, "%s has not withdrawn %d older secrets of token %s yet", provisioner, maxValues, id).
			WithHint("see what is wrong there: tokenctl admin provision status")
	}
	s.Values = append(s.Values, Value{Sealed: sealed})
	s.renew(now)
	return put(w, &was, &s)
}

// TakeBack makes the value before the last [Replace] the token's again, at all
// provisioners: the last one goes. Where there is none before, nothing changes.
func TakeBack(w store.Writer, id token.ID, now time.Time) error {
	_, err := edit(w, id, func(s *State) bool {
		last := len(s.Values) - 1
		if last < 1 {
			return false
		}
		s.Values[last].Until = second(now)
		s.Values[last-1].Until = time.Time{}
		s.Values[last-1], s.Values[last] = s.Values[last], s.Values[last-1]
		s.renew(now)
		return true
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
		for s, err := range states.Pages(ctx, present) {
			if err == nil {
				err = restored.Update(ctx, func(w store.Writer) error { return keep(w, s) })
			}
			if err != nil {
				return err
			}
		}
	}
	for s, err := range states.Pages(ctx, restored) {
		if err == nil {
			err = restored.Update(ctx, func(w store.Writer) error { return Reconcile(w, s.Token, now) })
		}
		if err != nil {
			return err
		}
	}
	return nil
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

// Forget gives a provisioner up that nobody will ever speak to again: what is
// known of a token there is deleted, and the values stay where they are. The
// error is store.ErrNotFound if there is nothing.
func Forget(w store.Writer, id token.ID, provisioner string) error {
	s, err := states.Get(w, id.String(), provisioner)
	if err != nil {
		return err
	}
	return remove(w, &s)
}
