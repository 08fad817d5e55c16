package authority

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// sealedValue separates what is sealed here from all else.
const sealedValue = "provision"

// prepare makes what the provisioners of a service need of a secret, while it is
// at hand.
func (s *session) prepare(ctx context.Context, svc *token.ServiceConfig, a *token.Account, id token.ID, plain secret.Secret) (all []provision.Made, err error) {
	for _, name := range svc.Provisioners {
		p := s.provisioners[name]
		if p == nil {
			return nil, token.Errorf(token.ErrCannotTell, "the provisioner %q of the service %q is not configured here", name, svc.Name).
				WithHint("the config file names them, in the list provisioners; tokenctl config check says what is wrong with one")
		}
		if !p.Serves(a.Owner) {
			continue
		}
		target := provision.Target{Owner: a.Owner, Service: svc.Name, EntryID: a.EntryID}
		value, err := p.Prepare(ctx, target, plain)
		if err != nil {
			return nil, token.Errorf(token.ErrCannotTell, "the password cannot be made ready for the provisioner %q: %w", name, err)
		}
		sealed := s.keys.Seal(sealedValue, value, []byte(provision.SealedFor(id, name)))
		all = append(all, provision.Made{Provisioner: name, Order: p.Order(), Target: target, Sealed: sealed})
	}
	return all, nil
}

// renew has other systems told of a new secret of a token. One old secret is good
// at a time: a grace that was given before has ended.
func (c *change) renew(rec *token.Record, made []provision.Made, oldUntil time.Time) error {
	if rec.Kind != token.Service {
		return nil
	}
	if err := provision.Retire(c, rec.ID, c.now); err != nil {
		return err
	}
	return provision.Renew(c, rec.ID, rec.Revision, made, oldUntil, c.now)
}

// open unseals a value for its delivery.
func (l *Local) open(sealed []byte, about string) (plain []byte, err error) {
	err = l.withKeys(func() (err error) {
		plain, err = l.keys.Unseal(sealedValue, sealed, []byte(about))
		return err
	})
	return plain, err
}

// wanted says what is to be true of a token at a provisioner, for the deliverer.
func (l *Local) wanted(r store.Reader, s *provision.State) (present bool, until time.Time, forgotten bool, err error) {
	rec, err := store.GetToken(r, s.Token)
	if errors.Is(err, store.ErrNotFound) {
		return false, time.Time{}, true, nil
	}
	if err != nil {
		return false, time.Time{}, false, err
	}
	now := l.clock()
	switch rec.StatusAt(now) {
	case token.Revoked:
		// The one that took its place may still be taken back.
		if end := rec.RevokedAt.Add(takeBackWindow); rec.RevokedReason == replacedReason && now.Before(end) {
			return false, end, false, nil
		}
		return false, time.Time{}, true, nil
	case token.Expired:
		return false, time.Time{}, true, nil
	case token.Suspended:
		return false, sooner(rec.SuspendedUntil, rec.ExpiresAt), false, nil
	}
	a, err := store.Accounts.Get(r, rec.Owner.Realm, rec.Owner.Name)
	if errors.Is(err, store.ErrNotFound) || err == nil && a.Off() {
		return false, rec.ExpiresAt, false, nil
	}
	if err != nil {
		return false, time.Time{}, false, err
	}
	svc, err := store.Services.Get(r, rec.Service)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!svc.Enabled || !slices.Contains(svc.Provisioners, s.Provisioner)) {
		return false, rec.ExpiresAt, false, nil
	}
	return err == nil, rec.ExpiresAt, false, err
}

// sooner is the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// DeliverDue delivers what is due now, for a process that ends soon, and returns
// what is still pending of it.
func (l *Local) DeliverDue(ctx context.Context) ([]Delivery, error) {
	states, err := l.deliverer.Once(ctx)
	return deliveries(states), err
}

func deliveries(states []provision.State) []Delivery {
	all := make([]Delivery, len(states))
	for i := range states {
		all[i] = delivery(&states[i])
	}
	return all
}

func delivery(s *provision.State) Delivery {
	return Delivery{
		Token: s.Token, Provisioner: s.Provisioner, Owner: s.Owner, Service: s.Service, Pending: s.Pending(),
		Event: s.Event, Attempts: s.Attempts, LastTry: s.LastTry, Error: s.LastError, Due: s.Due, AcknowledgedAt: s.AcknowledgedAt,
	}
}

// filter is a request in the form of the package that answers it.
func (s *session) filter(f DeliveryFilter) (provision.Filter, error) {
	o, err := s.canonicalOwner(f.Owner)
	return provision.Filter{Token: f.Token, Owner: o, Service: f.Service, Provisioner: f.Provisioner, Pending: f.Pending}, err
}

// ListDeliveries implements [Provisioning].
func (s *session) ListDeliveries(ctx context.Context, f DeliveryFilter) iter.Seq2[Delivery, error] {
	return func(yield func(Delivery, error) bool) {
		want, err := s.filter(f)
		if err == nil {
			err = s.view(ctx, func(r store.Reader) error { return s.maySeeDeliveries(r, want) })
		}
		if err != nil {
			yield(Delivery{}, err)
			return
		}
		for state, err := range provision.List(ctx, s.store, want) {
			if err != nil {
				yield(Delivery{}, err)
				return
			}
			if !yield(delivery(&state), nil) {
				return
			}
		}
	}
}

// maySeeDeliveries lets owners see their own, and auditors all.
func (s *session) maySeeDeliveries(r store.Reader, f provision.Filter) error {
	const what = "how far other systems have been told"
	o := f.Owner
	if f.Token != (token.ID{}) {
		rec, err := store.GetToken(r, f.Token)
		if err == nil {
			o = rec.Owner
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	if o.IsZero() {
		return s.needs(r, "see "+what, token.Auditor)
	}
	return s.maySee(r, o, what)
}

// RetryDeliveries implements [Provisioning].
func (s *session) RetryDeliveries(ctx context.Context, f DeliveryFilter) (n int, err error) {
	want, err := s.filter(f)
	if err != nil {
		return 0, err
	}
	if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "retry deliveries", token.Admin) }); err != nil {
		return 0, err
	}
	want.Pending = true
	n, err = provision.RetryAll(ctx, s.store, want, s.clock())
	s.deliverer.Wake()
	s.wrote.Store(true)
	return n, err
}

// deliverPatience is how long Deliver waits for what another process or
// goroutine is delivering.
const deliverPatience = provision.ApplyTimeout + 5*time.Second

// Deliver implements [Provisioning].
func (s *session) Deliver(ctx context.Context, id token.ID) ([]Delivery, error) {
	if err := s.view(ctx, func(r store.Reader) error { return s.maySeeDeliveries(r, provision.Filter{Token: id}) }); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, deliverPatience)
	defer cancel()
	for {
		states, err := s.deliverer.Once(ctx, id)
		if err != nil {
			return deliveries(states), err
		}
		// Somebody else delivers just now.
		underWay := slices.ContainsFunc(states, func(st provision.State) bool { return st.LeasedUntil.After(s.now()) })
		if !underWay {
			return deliveries(states), nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return deliveries(states), nil
		}
	}
}
