package store

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/tokenctl/tokenctl/pkg/token"
)

// Providers are the identity providers by name.
var Providers = NewTable("provider", 1,
	func(p *token.Provider) []string { return []string{p.Name} },
	func(e *Encoder, p *token.Provider) {
		e.String(p.Name)
		e.String(p.Issuer)
		e.Uint(uint64(len(p.Audiences)))
		for _, a := range p.Audiences {
			e.String(a)
		}
		e.String(p.JWKSURL)
		e.Uint(uint64(len(p.Certificates)))
		for _, c := range p.Certificates {
			e.Bytes(c)
		}
		e.Uint(uint64(len(p.Algorithms)))
		for _, a := range p.Algorithms {
			e.String(string(a))
		}
		e.String(p.Claim)
		e.String(p.RoleClaim)
		e.Uint(uint64(len(p.RoleMap)))
		for _, m := range p.RoleMap {
			e.String(m.From)
			e.String(string(m.Role))
		}
		e.Bool(p.Unlinked)
		e.String(p.ClientID)
		e.Duration(p.Leeway)
		e.Bool(p.Disabled)
		e.Time(p.CreatedAt)
		e.Owner(p.CreatedBy)
		e.Uint(p.Revision)
		e.Uint(uint64(len(p.Require)))
		for _, r := range p.Require {
			e.String(r.Claim)
			e.String(r.Value)
		}
	},
	func(d *Decoder, p *token.Provider) {
		p.Name = d.String()
		p.Issuer = d.String()
		for range min(d.Uint(), maxListed) {
			p.Audiences = append(p.Audiences, d.String())
		}
		p.JWKSURL = d.String()
		for range min(d.Uint(), maxListed) {
			p.Certificates = append(p.Certificates, d.Bytes())
		}
		for range min(d.Uint(), maxListed) {
			p.Algorithms = append(p.Algorithms, token.Algorithm(d.String()))
		}
		p.Claim = d.String()
		p.RoleClaim = d.String()
		for range min(d.Uint(), maxListed) {
			p.RoleMap = append(p.RoleMap, token.RoleMapping{From: d.String(), Role: token.Role(d.String())})
		}
		p.Unlinked = d.Bool()
		p.ClientID = d.String()
		p.Leeway = d.Duration()
		p.Disabled = d.Bool()
		p.CreatedAt = d.Time()
		p.CreatedBy = d.Owner()
		p.Revision = d.Uint()
		for range min(d.Uint(), maxListed) {
			p.Require = append(p.Require, token.ClaimValue{Claim: d.String(), Value: d.String()})
		}
	})

// An IdentityHolder says whose account an external identity stands for.
type IdentityHolder struct {
	token.ExternalIdentity
	Owner token.Owner
}

// Identities are the external identities that stand for accounts. A key of its
// own for each keeps it from standing for two.
var Identities = NewTable("identity", 1,
	func(h *IdentityHolder) []string { return []string{h.Issuer, h.Claim, h.Subject} },
	func(e *Encoder, h *IdentityHolder) {
		e.String(h.Issuer)
		e.String(h.Claim)
		e.String(h.Subject)
		e.Owner(h.Owner)
	},
	func(d *Decoder, h *IdentityHolder) {
		h.Issuer = d.String()
		h.Claim = d.String()
		h.Subject = d.String()
		h.Owner = d.Owner()
	})

// InspectIdentities yields what is wrong with the external identities: every one
// of an account leads to it, and every one that leads to an account is its. At a
// record that cannot be read it ends.
func InspectIdentities(ctx context.Context, s Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := inspectIdentities(ctx, s, func(format string, args ...any) bool { return yield(fmt.Sprintf(format, args...), nil) })
		switch {
		case errors.Is(err, ErrDamaged):
			yield(err.Error(), nil)
		case err != nil && !errors.Is(err, errEnough):
			yield("", err)
		}
	}
}

// errEnough ends an inspection whose findings nobody wants any more.
var errEnough = errors.New("enough")

func inspectIdentities(ctx context.Context, s Store, tell func(format string, args ...any) bool) error {
	read := func(fn func(Reader) error) error {
		if err := s.View(ctx, fn); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	}
	for a, err := range Accounts.Pages(ctx, s) {
		if err != nil {
			return err
		}
		for _, i := range a.Identities {
			var h IdentityHolder
			if err := read(func(r Reader) (err error) {
				h, err = Identities.Get(r, i.Issuer, i.Claim, i.Subject)
				return err
			}); err != nil {
				return err
			}
			if h.Owner != a.Owner && !tell("account %s: the identity %q of %s does not lead to it", a.Owner, i.Subject, i.Issuer) {
				return errEnough
			}
		}
	}
	for h, err := range Identities.Pages(ctx, s) {
		if err != nil {
			return err
		}
		var a token.Account
		if err := read(func(r Reader) (err error) {
			a, err = Accounts.Get(r, h.Owner.Realm, h.Owner.Name)
			return err
		}); err != nil {
			return err
		}
		if a.Identity(h.ExternalIdentity) == nil && !tell("identity %q of %s: it leads to %s, which does not have it", h.Subject, h.Issuer, h.Owner) {
			return errEnough
		}
	}
	return nil
}
