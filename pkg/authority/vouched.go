package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// endedAccess is an access token without a refresh token, or rather all that
// come of the same exchange, that was revoked before its time.
type endedAccess struct {
	id    token.ID
	until time.Time // when all of them have expired
}

var endedAccesses = store.NewTable("ended-access", 1,
	func(e *endedAccess) []string { return []string{e.id.String()} },
	func(e *store.Encoder, v *endedAccess) {
		e.Bytes(v.id[:])
		e.Time(v.until)
	},
	func(d *store.Decoder, v *endedAccess) {
		copy(v.id[:], d.Bytes())
		v.until = d.Time()
	})

// voucher is a provider, and what it calls somebody.
type voucher struct{ provider, identity string }

// vouchedBy is who vouches for a subject token: nobody, if it has a parent.
func (v *verdict) vouchedBy() voucher {
	switch {
	case v.said != nil:
		return voucher{v.said.Provider, v.said.Identity().Print()}
	case v.claims != nil:
		return voucher{v.claims.Provider, v.claims.Identity}
	}
	return voucher{}
}

// forgetEndedAccess forgets those that would have expired by now.
func (s *session) forgetEndedAccess(ctx context.Context) (more bool, err error) {
	var old []endedAccess
	for e, err := range endedAccesses.Pages(ctx, s.store) {
		if err != nil {
			return false, err
		}
		if e.until.Before(s.now()) {
			old = append(old, e)
		}
		if more = len(old) == s.store.Limit(); more {
			break
		}
	}
	if len(old) == 0 {
		return false, nil
	}
	return more, s.write(ctx, func(w store.Writer) error {
		for _, e := range old {
			if err := endedAccesses.Delete(w, e.id.String()); err != nil {
				return err
			}
		}
		return nil
	})
}

// readVouched reads what an access token is judged by for which a provider has
// vouched: it has no refresh token, and ends with its account, the account's
// link and the provider.
func (l *Local) readVouched(r store.Reader, claims *signer.Claims) (*known, error) {
	refuse := func(why Reason) (*known, error) { return nil, &Refusal{Reason: why, Token: claims.Parent} }
	ended, err := endedAccesses.Has(r, claims.Parent.String())
	if err != nil {
		return nil, err
	}
	if ended {
		return refuse(TokenRevoked)
	}
	p, err := store.Providers.Get(r, claims.Provider)
	if errors.Is(err, store.ErrNotFound) || err == nil && p.Disabled {
		return refuse(ProviderOff)
	}
	if err != nil {
		return nil, err
	}
	owner, err := token.ParseOwner(claims.Subject)
	if err != nil {
		return refuse(WrongSignature)
	}
	a, err := readAccount(r, owner)
	if errors.Is(err, store.ErrNotFound) {
		return refuse(OwnerGone)
	}
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(a.Identities, func(i token.LinkedIdentity) bool { return i.Issuer == p.Issuer && i.Print() == claims.Identity }) {
		return refuse(UnlinkedSubject)
	}
	return vouched(claims, owner, &a), nil
}

// pastedVouched is what an access token of ours is that a provider vouches for,
// whatever state provider, link and account are in; nil: it is another.
func (s *session) pastedVouched(ctx context.Context, jwt string) (k *known, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		claims, err := s.signer.Check(r, jwt, s.now())
		if err != nil || claims.Provider == "" {
			return nil // it is judged like all others
		}
		owner, err := token.ParseOwner(claims.Subject)
		if err != nil {
			return nil
		}
		k = vouched(&claims, owner, &token.Account{})
		return nil
	})
	return k, err
}

// vouched is an access token without a parent as if it were a token.
func vouched(claims *signer.Claims, owner token.Owner, a *token.Account) *known {
	return &known{account: a, record: token.Record{
		ID: claims.Parent, Kind: token.Access, Owner: owner, Connection: claims.ClientID, Audience: claims.Audience,
		CreatedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt,
	}}
}

// endAccess revokes what came of one exchange of a provider's JWT.
func (s *session) endAccess(ctx context.Context, k *known, reason string) (token.Record, error) {
	rec := k.record
	err := s.update(ctx, func(c *change) error {
		p, err := policy(c)
		if err != nil {
			return err
		}
		rec = k.record
		rec.RevokedAt, rec.RevokedBy, rec.RevokedReason = c.now, s.caller.Owner, reason
		c.note(audit.Entry{Action: "token.revoke", Token: rec.ID, Kind: rec.Kind.String(), Owner: rec.Owner, Object: rec.Connection, Reason: reason, Detail: "made of a provider's JWT"})
		return endedAccesses.Put(c, endedAccess{rec.ID, c.now.Add(p.LongestAccessLifetime)})
	})
	return rec, err
}
