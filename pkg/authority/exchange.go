package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Errors of an exchange that RFC 6749 §5.2 and RFC 8707 §2 give names of their
// own.
var (
	// ErrInvalidTarget: the resource is not the token's audience.
	ErrInvalidTarget = fmt.Errorf("invalid target: %w", token.ErrRefused)
	// ErrInvalidScope: a role is asked for that the token does not have.
	ErrInvalidScope = fmt.Errorf("invalid scope: %w", token.ErrRefused)
)

// Exchange implements [Tokens].
func (s *session) Exchange(ctx context.Context, e Exchange) (AccessToken, error) {
	c, err := parseCredential(e.RefreshToken)
	if err != nil {
		return AccessToken{}, err
	}
	if c.kind != token.Refresh {
		return AccessToken{}, &Refusal{Reason: WrongKind}
	}
	for {
		v, err := s.judge(ctx, c)
		if err != nil {
			s.noteRefusal(err, e.From)
			return AccessToken{}, err
		}
		if v, err = s.judgeToday(ctx, v, func() (verdict, error) { return s.judge(ctx, c) }); err != nil {
			s.noteRefusal(err, e.From)
			return AccessToken{}, err
		}
		roles, err := exchangeRoles(&v, e)
		if err != nil {
			return AccessToken{}, err
		}
		access, err := s.sign(ctx, &v, roles)
		if errors.Is(err, errChanged) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return AccessToken{}, err
		}
		s.used(ctx, v.of, v.outdated, v.renewed, c, e.From)
		return access, nil
	}
}

// errChanged: the token is no longer the one that was judged.
var errChanged = token.Errorf(token.ErrConflict, "the token has changed meanwhile")

// exchangeRoles checks what the request says against the refresh token.
func exchangeRoles(v *verdict, e Exchange) ([]token.Role, error) {
	rec := &v.of.record
	if e.ClientID != "" && e.ClientID != rec.Connection {
		return nil, &Refusal{Reason: WrongConnection, Token: rec.ID}
	}
	if e.Resource != "" && e.Resource != rec.Audience {
		return nil, token.Errorf(ErrInvalidTarget, "the refresh token is not for resource %q", e.Resource).WithHint("it is for %s", rec.Audience)
	}
	if e.Roles == nil {
		return v.identity.Roles, nil
	}
	for _, r := range e.Roles {
		if !slices.Contains(rec.Roles, r) {
			return nil, token.Errorf(ErrInvalidScope, "the refresh token does not have the role %q", r)
		}
	}
	return token.IntersectRoles(e.Roles, v.identity.Roles), nil
}

// sign makes the access token. The keys of an algorithm are made when it is
// first used.
func (s *session) sign(ctx context.Context, v *verdict, roles []token.Role) (AccessToken, error) {
	var conn token.Connection
	var access AccessToken
	attempt := func() error {
		return s.view(ctx, func(r store.Reader) (err error) {
			if err := s.stillGood(r, v); err != nil {
				return err
			}
			conn, err = store.Connections.Get(r, v.of.record.Connection)
			if errors.Is(err, store.ErrNotFound) {
				return &Refusal{Reason: WrongConnection, Token: v.of.record.ID}
			}
			if err != nil {
				return err
			}
			p, err := policy(r)
			if err != nil {
				return err
			}
			access, err = s.mint(r, &v.of.record, &conn, &p, roles)
			return err
		})
	}
	err := attempt()
	if errors.Is(err, signer.ErrNoKey) {
		if _, err = s.installKeys(ctx, conn.Algorithm); err == nil {
			err = attempt()
		}
	}
	return access, err
}

// stillGood looks again at a token that was judged in an earlier transaction: a
// revocation that was acknowledged meanwhile counts.
func (s *session) stillGood(r store.Reader, v *verdict) error {
	rec, err := store.GetToken(r, v.of.record.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && rec.Revision != v.of.record.Revision {
		return errChanged
	}
	if err != nil {
		return err
	}
	a, err := store.Accounts.Get(r, rec.Owner.Realm, rec.Owner.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if why := state(&rec, &a, s.now()); why != "" {
		return &Refusal{Reason: why, Token: rec.ID}
	}
	return nil
}

// mint signs the claims of RFC 9068 §2.2. An access token never outlives its
// parent.
func (s *session) mint(r store.Reader, rec *token.Record, conn *token.Connection, p *token.Policy, roles []token.Role) (AccessToken, error) {
	now := s.clock()
	expires := now.Add(min(conn.AccessLifetime, p.AccessTokenMaxLifetime))
	if !rec.ExpiresAt.IsZero() && rec.ExpiresAt.Before(expires) {
		expires = rec.ExpiresAt
	}
	scope := make([]string, len(roles))
	for i, role := range roles {
		scope[i] = string(role)
	}
	text, err := s.signer.Sign(r, conn.Algorithm, signer.Claims{
		Issuer: p.Issuer, Subject: rec.Owner.String(), Audience: rec.Audience, ID: rand.Text(), ClientID: conn.Name,
		IssuedAt: now, NotBefore: now, ExpiresAt: expires,
		RoleClaim: conn.RoleClaim, Roles: roles, Scope: strings.Join(scope, " "), Parent: rec.ID,
	})
	if err != nil {
		return AccessToken{}, err
	}
	return AccessToken{Text: secret.FromText(text), ExpiresIn: expires.Sub(now), Roles: roles}, nil
}

// installKeys makes the first keys of an algorithm. Making them takes long and
// happens outside of the transaction; whoever comes second uses those of the
// first.
func (s *session) installKeys(ctx context.Context, a token.Algorithm) (installed bool, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		there, err := s.signer.Has(r, a)
		installed = !there
		return err
	})
	if err != nil || !installed {
		return false, err
	}
	first, next, err := s.newKeys(a)
	if err != nil {
		return false, err
	}
	err = s.update(ctx, func(c *change) (err error) {
		installed, err = c.install(first, next)
		return err
	})
	return installed, err
}

func (l *Local) newKeys(a token.Algorithm) (first, next *signer.Pair, err error) {
	if first, err = l.signer.Generate(a, l.clock()); err != nil {
		return nil, nil, err
	}
	next, err = l.signer.Generate(a, l.clock())
	return first, next, err
}

func (c *change) install(first, next *signer.Pair) (bool, error) {
	installed, err := c.by.signer.Install(c, first, next, c.now)
	if err == nil && installed {
		c.note(audit.Entry{Action: "key.create", Object: first.ID(), Detail: string(first.Algorithm())})
	}
	return installed, err
}
