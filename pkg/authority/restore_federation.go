package authority

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// keepProviders takes every identity provider as it is now: what is accepted of
// it may have been narrowed since. One that is gone is disabled.
func (s *session) keepProviders(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for was, err := range store.Providers.Pages(ctx, s.store) {
		if err != nil {
			return err
		}
		var now token.Provider
		err := present.View(ctx, func(r store.Reader) (err error) {
			now, err = store.Providers.Get(r, was.Name)
			return err
		})
		if errors.Is(err, store.ErrNotFound) {
			now, err = was, nil
			now.Disabled = true
		}
		if err != nil {
			return err
		}
		if reflect.DeepEqual(now, was) {
			continue
		}
		now.Revision = max(now.Revision, was.Revision) + 1
		rep.Kept++
		if err := s.store.Update(ctx, func(w store.Writer) error { return store.Providers.Put(w, now) }); err != nil {
			return err
		}
	}
	return nil
}

// keepEndedAccess takes over which access tokens were revoked since.
func (s *session) keepEndedAccess(ctx context.Context, present store.Store) error {
	for e, err := range endedAccesses.Pages(ctx, present) {
		if err != nil {
			return err
		}
		if err := s.store.Update(ctx, func(w store.Writer) error { return endedAccesses.Put(w, e) }); err != nil {
			return err
		}
	}
	return nil
}

// stillLinked are the identities of an account that it has now, too, with the
// roles that their providers gave last. One that is refused now keeps those that
// came later, or whose they are would come in as somebody new.
func stillLinked(was, now *token.Account) []token.LinkedIdentity {
	var kept []token.LinkedIdentity
	for _, i := range now.Identities {
		if now.Off() || was.Identity(i.ExternalIdentity) != nil {
			kept = append(kept, i)
		}
	}
	return kept
}

func sameIdentities(a, b *token.Account) bool {
	return slices.EqualFunc(a.Identities, b.Identities, func(x, y token.LinkedIdentity) bool {
		return x.ExternalIdentity == y.ExternalIdentity && slices.Equal(x.Roles, y.Roles) && x.RolesUntil.Equal(y.RolesUntil)
	})
}

// keepRefused takes over the accounts that were made since and are refused now:
// whoever they are of would come in anew.
func (s *session) keepRefused(ctx context.Context, present store.Store, rep *RestoreReport) error {
	for now, err := range store.Accounts.Pages(ctx, present) {
		if err != nil {
			return err
		}
		if !now.Off() {
			continue
		}
		kept := false
		if err := s.store.Update(ctx, func(w store.Writer) error {
			has, err := store.Accounts.Has(w, now.Owner.Realm, now.Owner.Name)
			if kept = err == nil && !has; !kept {
				return err
			}
			return putRestored(w, &token.Account{}, &now)
		}); err != nil {
			return err
		}
		rep.count(kept)
	}
	return nil
}

// putRestored writes an account, and has the index of identities agree with it.
func putRestored(w store.Writer, was, then *token.Account) error {
	for _, i := range was.Identities {
		if then.Identity(i.ExternalIdentity) != nil {
			continue
		}
		h, err := store.Identities.Get(w, i.Issuer, i.Claim, i.Subject)
		if err == nil && h.Owner == then.Owner {
			err = store.Identities.Delete(w, i.Issuer, i.Claim, i.Subject)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	for _, i := range then.Identities {
		h := store.IdentityHolder{ExternalIdentity: i.ExternalIdentity, Owner: then.Owner}
		if err := store.Identities.Put(w, h); err != nil {
			return err
		}
	}
	return store.Accounts.Put(w, *then)
}
