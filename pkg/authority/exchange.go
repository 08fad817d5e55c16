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
			if again := s.usedAgain(ctx, c, err, e.From); again != nil {
				err = again
			}
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
		access, err := s.redeem(ctx, &v, c, roles, e.From)
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

// redeem makes the access token, and a new refresh token if the connection
// rotates. The keys of an algorithm are made when it is first used.
func (s *session) redeem(ctx context.Context, v *verdict, c credential, roles []token.Role, from string) (access AccessToken, err error) {
	var conn token.Connection
	attempt := func() error {
		err := s.view(ctx, func(r store.Reader) (err error) {
			access, conn, err = s.sign(r, v, roles)
			return err
		})
		switch {
		case err != nil:
		case v.previous && v.of.record.Family != nil && len(v.of.record.Family.Sealed) > 0:
			var next []byte
			if next, err = secret.OpenUnder(c.secret, sealedSuccessor, v.of.record.Family.Sealed); err == nil {
				access.RefreshToken = secret.FromText(string(next))
			}
		case conn.Rotate && !v.previous:
			access, err = s.rotateFamily(ctx, v, c, roles, from)
		}
		return err
	}
	err = attempt()
	if errors.Is(err, signer.ErrNoKey) {
		if _, err = s.installKeys(ctx, conn.Algorithm); err == nil {
			err = attempt()
		}
	}
	return access, err
}

// sign makes the access token of a refresh token that was judged.
func (s *session) sign(r store.Reader, v *verdict, roles []token.Role) (access AccessToken, conn token.Connection, err error) {
	if err := s.stillGood(r, v); err != nil {
		return access, conn, err
	}
	conn, err = store.Connections.Get(r, v.of.record.Connection)
	if errors.Is(err, store.ErrNotFound) {
		return access, conn, &Refusal{Reason: WrongConnection, Token: v.of.record.ID}
	}
	if err != nil {
		return access, conn, err
	}
	p, err := policy(r)
	if err != nil {
		return access, conn, err
	}
	access, err = s.mint(r, &v.of.record, &conn, &p, roles)
	return access, conn, err
}

// sealedSuccessor separates what is sealed here from all else.
const sealedSuccessor = "rotated refresh token"

// spentKept is how many secrets of a family are known again.
const spentKept = 32

// rotateFamily puts a new secret in the place of the one that was shown, in the
// transaction that signs: if anything fails nothing is used up, and of many at
// once one rotates and the others get what it got.
func (s *session) rotateFamily(ctx context.Context, v *verdict, c credential, roles []token.Role, from string) (access AccessToken, err error) {
	next := secret.New(secret.RefreshToken, c.id)
	sealed, err := secret.SealUnder(c.secret, sealedSuccessor, []byte(next.Reveal()))
	if err != nil {
		return access, err
	}
	verifier := s.hasher.Fast(use(c.kind, c.id), next)
	owner := session{Local: s.Local, caller: Caller{Owner: v.of.record.Owner, Via: "token " + c.id.String(), From: from}}
	err = owner.update(ctx, func(ch *change) (err error) {
		var conn token.Connection
		if access, conn, err = s.sign(ch, v, roles); err != nil {
			return err
		}
		was, err := store.GetToken(ch, c.id)
		if err != nil {
			return err
		}
		rec := was
		rec.Family = &token.Family{Sealed: sealed, Spent: spent(&was)}
		rec.Previous, rec.Verifier, rec.RotatedAt = was.Verifier, verifier, ch.now
		rec.PreviousUntil, rec.PreviousUntilUsed = ch.now.Add(conn.RetryWindow), false
		return ch.put(&was, &rec, token.Other, "token.rotate", "", "by an exchange")
	})
	access.RefreshToken = next
	return access, err
}

// spent are the secrets of a token that an exchange has used up, with the
// present one.
func spent(rec *token.Record) []secret.Verifier {
	var all []secret.Verifier
	if rec.Family != nil {
		all = rec.Family.Spent
	}
	all = append(slices.Clone(all), rec.Verifier)
	return all[max(0, len(all)-spentKept):]
}

// usedAgain finds out whether a secret that was refused is one of the family
// that was rotated away: it, or its successor, is in the wrong hands. The
// connection says what follows.
func (s *session) usedAgain(ctx context.Context, c credential, refused error, from string) error {
	var no *Refusal
	if !errors.As(refused, &no) || no.Reason != WrongSecret {
		return nil
	}
	k, err := s.known(ctx, c.id)
	if err != nil || k.record.Family == nil {
		return nil
	}
	ours := false
	for _, v := range k.record.Family.Spent {
		res, err := s.check(ctx, c, v)
		if err != nil {
			return err
		}
		ours = ours || res.OK
	}
	if !ours {
		return nil
	}
	owner := session{Local: s.Local, caller: Caller{Via: "token endpoint", From: from}}
	err = owner.update(ctx, func(ch *change) error {
		rec, err := store.GetToken(ch, c.id)
		if errors.Is(err, store.ErrNotFound) || err == nil && !rec.RevokedAt.IsZero() {
			return nil
		}
		if err != nil {
			return err
		}
		conn, err := store.Connections.Get(ch, rec.Connection)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		switch conn.Reuse {
		case token.ReuseRevoke:
			return ch.revoke(rec, reusedReason)
		case token.ReuseAlert:
			ch.noteToken("token.reuse", &rec, reusedReason, "")
		}
		return nil
	})
	if err != nil {
		return err
	}
	return &Refusal{Reason: TokenReused, Token: c.id}
}

// reusedReason is why a family is revoked.
const reusedReason = "a refresh token that was rotated away was used again"

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
