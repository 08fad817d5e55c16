package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
	if e.ClientID != "" {
		if err := s.admitClient(ctx, &e, nil); err != nil {
			return AccessToken{}, err
		}
	}
	if !e.SubjectToken.IsZero() {
		return s.exchangeSubject(ctx, e)
	}
	c, err := parseCredential(e.RefreshToken)
	if err != nil {
		return AccessToken{}, err
	}
	if c.kind != token.Refresh {
		return AccessToken{}, &Refusal{Reason: WrongKind}
	}
	for {
		v, err := s.judgeFamily(ctx, c, e.From)
		if err != nil {
			s.noteRefusal(err, e.From)
			return AccessToken{}, err
		}
		if e.ClientID == "" {
			if err := s.admitClient(ctx, &e, &v.of.record); err != nil {
				return AccessToken{}, err
			}
		}
		if v, err = s.judgeToday(ctx, v, func() (verdict, error) { return s.judgeFamily(ctx, c, e.From) }); err != nil {
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
		case !v.successor.IsZero():
			access.RefreshToken = v.successor
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
	access, err = s.mint(r, &v.of.record, &conn, &p, roles, voucher{})
	return access, conn, err
}

// sealedSuccessor separates what is sealed here from all else.
const sealedSuccessor = "rotated refresh token"

// retriesKept is how many secrets that were used up are good for a retry at once.
const retriesKept = 64

// family separates the tags of one token's secrets from all others, and those of
// before a rotation by hand from those of after it.
func family(id token.ID, tag string) secret.Use {
	return secret.Use{Kind: "refresh family", ID: id, Name: tag}
}

func familyTag(rec *token.Record) string {
	if rec.Family == nil {
		return ""
	}
	return rec.Family.Tag
}

// rotateFamily puts a new secret in the place of the one that was shown, in the
// transaction that signs: if anything fails nothing is used up, and of many at
// once one rotates and the others get what it got. The token's revision stays:
// a job that exchanges all the time keeps nobody from ending what they saw.
func (s *session) rotateFamily(ctx context.Context, v *verdict, c credential, roles []token.Role, from string) (access AccessToken, err error) {
	tag := familyTag(&v.of.record)
	next := s.hasher.NewTagged(secret.RefreshToken, family(c.id, tag))
	sealed, err := secret.SealUnder(c.secret, sealedSuccessor, []byte(next.Reveal()))
	if err != nil {
		return access, err
	}
	sealed = s.keys.Seal(sealedSuccessor, sealed, c.id[:]) // a stolen store and an old secret give no new one
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
		if string(was.Verifier) != string(v.of.record.Verifier) || familyTag(&was) != tag {
			return errChanged
		}
		rec := was
		rec.Verifier, rec.RotatedAt, rec.LastChange, rec.Undo = verifier, ch.now, token.Other, nil
		rec.Family = &token.Family{Tag: tag, Retries: retries(&was, ch.now)}
		if conn.RetryWindow > 0 {
			until := ch.now.Add(conn.RetryWindow + time.Second) // times are rounded down
			rec.Family.Retries = append(rec.Family.Retries, token.Retry{Verifier: was.Verifier, Until: until, Sealed: sealed})
		}
		ch.noteToken("token.rotate", &rec, "", "by an exchange")
		return store.PutToken(ch, &was, &rec)
	})
	access.RefreshToken = next
	return access, err
}

// retries are those of a token that are good still, and have room for one more.
func retries(rec *token.Record, now time.Time) (left []token.Retry) {
	if rec.Family == nil {
		return nil
	}
	for _, t := range rec.Family.Retries {
		if now.Before(t.Until) {
			left = append(left, t)
		}
	}
	return left[max(0, len(left)-retriesKept+1):]
}

// judgeFamily is judge of a refresh token that is exchanged. One that an exchange
// has used up is good for a moment more, and gets what took its place. Later it
// is in the wrong hands, or what took its place is: the connection says what
// follows.
func (s *session) judgeFamily(ctx context.Context, c credential, from string) (verdict, error) {
	v, err := s.judge(ctx, c)
	var no *Refusal
	if !errors.As(err, &no) || no.Reason != WrongSecret {
		return v, err
	}
	k, knownErr := s.known(ctx, c.id)
	if errors.Is(knownErr, store.ErrNotFound) {
		return v, err
	}
	if knownErr != nil {
		return v, knownErr
	}
	if k.record.Family != nil {
		for _, t := range k.record.Family.Retries {
			if !s.now().Before(t.Until) {
				continue
			}
			res, checkErr := s.check(ctx, c, t.Verifier)
			if checkErr != nil {
				return v, checkErr
			}
			if res.OK {
				return s.judgeRetry(c, k, &t)
			}
		}
	}
	if !s.hasher.Tagged(family(c.id, familyTag(&k.record)), c.secret) {
		return v, err
	}
	return v, s.reused(ctx, c.id, from)
}

// judgeRetry judges a secret that an exchange has used up a moment ago.
func (s *session) judgeRetry(c credential, k *known, t *token.Retry) (v verdict, err error) {
	v.of = k
	if err := v.admit(s.now()); err != nil {
		return v, err
	}
	sealed, err := s.unsealSuccessor(c.id, t)
	var next []byte
	if err == nil {
		next, err = secret.OpenUnder(c.secret, sealedSuccessor, sealed)
	}
	if err != nil {
		return v, token.Errorf(token.ErrCannotTell, "the refresh token that took this one's place cannot be read: %w", err)
	}
	v.successor = secret.FromText(string(next))
	return v, nil
}

// unsealSuccessor opens the outer seal, which is the store's; the inner one is
// under the secret that was used up.
func (s *session) unsealSuccessor(id token.ID, t *token.Retry) (sealed []byte, err error) {
	err = s.withKeys(func() (err error) {
		sealed, err = s.keys.Unseal(sealedSuccessor, t.Sealed, id[:])
		return err
	})
	return sealed, err
}

// usedUp says whether a secret was one of the token's until an exchange rotated
// it away.
func (s *session) usedUp(ctx context.Context, c credential) bool {
	if c.kind != token.Refresh {
		return false
	}
	k, err := s.known(ctx, c.id)
	return err == nil && s.hasher.Tagged(family(c.id, familyTag(&k.record)), c.secret)
}

// reused refuses a secret that was used up, and does what the connection says.
func (s *session) reused(ctx context.Context, id token.ID, from string) error {
	refusal := &Refusal{Reason: TokenReused, Token: id}
	var rec token.Record
	reuse := token.ReuseOff
	err := s.view(ctx, func(r store.Reader) (err error) {
		if rec, err = store.GetToken(r, id); err != nil {
			return err
		}
		conn, err := store.Connections.Get(r, rec.Connection)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		reuse = conn.Reuse
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return refusal
	}
	if err != nil {
		return err
	}
	server := session{Local: s.Local, caller: Caller{Via: "token endpoint", From: from}}
	switch {
	case !rec.RevokedAt.IsZero():
	case reuse == token.ReuseAlert && s.serving: // anybody with an old one can come as often as they like
		s.noted.refusal(audit.Entry{Time: s.clock(), Action: tokenReused, Token: id, Owner: rec.Owner, Reason: reusedReason, Source: from}, true)
	case reuse == token.ReuseAlert:
		err = server.update(ctx, func(c *change) error {
			c.noteToken(tokenReused, &rec, reusedReason, "")
			return nil
		})
	case reuse == token.ReuseRevoke:
		err = server.update(ctx, func(c *change) error {
			now, err := store.GetToken(c, id)
			if err != nil {
				return noToken(err, id)
			}
			return c.revoke(now, reusedReason)
		})
	}
	if err != nil {
		return err
	}
	return refusal
}

// tokenReused is the action in the audit log, and reusedReason why a family is
// revoked.
const (
	tokenReused  = "token.reuse"
	reusedReason = "a refresh token that was rotated away was used again"
)

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
// parent. by is the provider that vouches for its subject in a parent's place.
func (s *session) mint(r store.Reader, rec *token.Record, conn *token.Connection, p *token.Policy, roles []token.Role, by voucher) (AccessToken, error) {
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
		RoleClaim: conn.RoleClaim, Roles: roles, Scope: strings.Join(scope, " "), Parent: rec.ID, Provider: by.provider, Identity: by.identity,
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
