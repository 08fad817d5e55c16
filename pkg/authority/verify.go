package authority

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// verdict is all that was found out about a credential.
type verdict struct {
	of       *known // the token, or an access token's parent
	identity token.Identity
	outdated bool           // right, but hashed in a way that has been replaced
	renewed  bool           // the secret of the last rotation, not the one before
	previous bool           // the one before, in its grace
	claims   *signer.Claims // of an access token
	// said is what an identity provider says; nil: the credential is one of ours.
	said *token.Verdict
	// successor took the place of the secret, which an exchange has used up.
	successor secret.Secret
}

// nobody is whom a verdict is of when no token is meant.
var nobody = &known{account: &token.Account{}}

// Verify implements [Verifier].
func (l *Local) Verify(ctx context.Context, p Presented) (token.Identity, error) {
	if p.Service != "" {
		id, err := l.verifyAt(ctx, p)
		if p.CountsAsUse {
			l.noteAttempt(err, &p)
		}
		return id, err
	}
	if p.User != "" {
		return token.Identity{}, token.Errorf(token.ErrUsage, "the user %q is named, and no service", p.User)
	}
	id, err := l.verify(ctx, p)
	if p.CountsAsUse {
		l.noteRefusal(err, p.From)
	}
	return id, err
}

func (l *Local) verify(ctx context.Context, p Presented) (token.Identity, error) {
	c, err := l.parse(ctx, p.Credential)
	if err != nil {
		return token.Identity{}, err
	}
	if len(p.Kinds) > 0 && !slices.Contains(p.Kinds, c.kind) {
		return token.Identity{}, &Refusal{Reason: WrongKind}
	}
	if c.kind == token.Service {
		// It is good at one service only, and none is named.
		return token.Identity{}, &Refusal{Reason: WrongKind}
	}
	v, err := l.judge(ctx, c)
	if err != nil {
		return token.Identity{}, err
	}
	if p.Connection != "" && c.kind == token.Access && v.identity.Connection != p.Connection {
		return token.Identity{}, &Refusal{Reason: WrongConnection, Token: v.of.record.ID}
	}
	if p.AskDirectory && v.said != nil {
		if v, err = l.acquaint(ctx, v, p.From); err != nil {
			return token.Identity{}, err
		}
	}
	if p.AskDirectory {
		if v, err = l.judgeToday(ctx, v, func() (verdict, error) { return l.judge(ctx, c) }); err != nil {
			return token.Identity{}, err
		}
	}
	if p.Role != "" {
		if v, err = l.judgeRole(ctx, v, p.Role, func() (verdict, error) { return l.judge(ctx, c) }); err != nil {
			return token.Identity{}, err
		}
	}
	if p.CountsAsUse {
		l.used(ctx, v.of, v.outdated, v.renewed, c, p.From)
	}
	return v.identity, nil
}

// judgeToday asks the owner's directory whether they are still there. It may
// have given or taken roles: what was judged is judged again.
func (l *Local) judgeToday(ctx context.Context, v verdict, again func() (verdict, error)) (verdict, error) {
	if err := l.stillThere(ctx, v.of.account); err != nil || l.directories[v.of.account.Owner.Realm] == nil {
		return v, err
	}
	return again()
}

// verifyAt is verify of a user's password at a service.
func (l *Local) verifyAt(ctx context.Context, p Presented) (token.Identity, error) {
	if len(p.Kinds) > 0 && !slices.Contains(p.Kinds, token.Service) {
		return token.Identity{}, &Refusal{Reason: WrongKind}
	}
	v, c, err := l.judgeAt(ctx, &p)
	if err != nil {
		return token.Identity{}, err
	}
	if p.Role != "" {
		again := func() (verdict, error) {
			v, _, err := l.judgeAt(ctx, &p)
			return v, err
		}
		if v, err = l.judgeRole(ctx, v, p.Role, again); err != nil {
			return token.Identity{}, err
		}
	}
	if p.CountsAsUse {
		l.used(ctx, v.of, v.outdated, v.renewed, c, p.From)
	}
	return v.identity, nil
}

// judge finds out whether a credential is good. The error is a [*Refusal], or
// says that nobody can tell.
func (l *Local) judge(ctx context.Context, c credential) (v verdict, err error) {
	v.of = nobody
	switch c.kind {
	case token.Access:
		return l.judgeAccess(ctx, c.jwt)
	case token.Federated:
		return l.judgeFederated(ctx, c.jwt)
	}
	// The secret is checked outside of the transaction: it may take long.
	k, err := l.known(ctx, c.id)
	if errors.Is(err, store.ErrNotFound) {
		// The same work as for a token that is there.
		l.hasher.Fast(use(c.kind, c.id), c.secret)
		return v, &Refusal{Reason: UnknownToken}
	}
	if err != nil {
		return v, err
	}
	v.of = k
	if err = l.judgeSecret(ctx, c, &v); err == nil {
		err = l.judgeService(ctx, &v)
	}
	return v, err
}

// judgeSecret checks secret, state and owner. The secret comes first: what
// state a token is in is not for those who do not have it.
func (l *Local) judgeSecret(ctx context.Context, c credential, v *verdict) error {
	rec, now := &v.of.record, l.now()
	refuse := func(why Reason) error { return &Refusal{Reason: why, Token: rec.ID} }
	if rec.Kind != c.kind {
		l.hasher.Fast(use(c.kind, c.id), c.secret)
		return refuse(UnknownToken)
	}
	if len(rec.Verifier) == 0 { // a tombstone: nothing to compare with
		l.hasher.Fast(use(c.kind, c.id), c.secret)
		return refuse(TokenRevoked)
	}
	ok, err := l.checkSecret(ctx, c, v, now)
	if err != nil {
		return err
	}
	if !ok {
		return refuse(WrongSecret)
	}
	return v.admit(now)
}

// admit checks state and owner of a token whose secret is right, and says whom it
// stands for.
func (v *verdict) admit(now time.Time) error {
	rec, a := &v.of.record, v.of.account
	if why := state(rec, a, now); why != "" {
		return &Refusal{Reason: why, Token: rec.ID}
	}
	v.identity = token.Identity{
		Kind: rec.Kind, ID: rec.ID, Owner: rec.Owner, Service: rec.Service,
		Connection: rec.Connection, ExpiresAt: rec.ExpiresAt, Roles: a.AllRoles(now),
	}
	if v.of.federated { // nobody can be asked: what comes of it ends with it
		v.identity.Until = rec.ExpiresAt
	}
	if rec.Kind == token.Refresh {
		v.identity.Roles = token.IntersectRoles(rec.Roles, a.AllRoles(now))
	}
	return nil
}

// checkSecret compares with the present secret, then with the one before the
// last rotation while its grace lasts.
func (l *Local) checkSecret(ctx context.Context, c credential, v *verdict, now time.Time) (bool, error) {
	res, err := l.check(ctx, c, v.of.record.Verifier)
	if err != nil {
		return false, err
	}
	v.outdated, v.renewed = res.Outdated, res.OK && !v.of.record.RotatedAt.IsZero()
	if res.OK || len(v.of.record.Previous) == 0 || !now.Before(v.of.record.PreviousUntil) {
		return res.OK, nil
	}
	res, err = l.check(ctx, c, v.of.record.Previous)
	v.previous = res.OK
	return res.OK, err
}

// check compares a secret with a verifier; a key that another process has
// added to the key file is fetched.
func (l *Local) check(ctx context.Context, c credential, v secret.Verifier) (secret.Result, error) {
	res, err := l.hasher.Check(ctx, use(c.kind, c.id), c.secret, v)
	if errors.Is(err, secret.ErrUnknownKey) {
		err = l.withKeys(func() (err error) {
			res, err = l.hasher.Check(ctx, use(c.kind, c.id), c.secret, v)
			return err
		})
	}
	if err != nil {
		return res, token.Errorf(token.ErrCannotTell, "the secret cannot be checked: %w", err)
	}
	return res, nil
}

// state says why a token is refused whose secret is right; empty: it is not.
func state(rec *token.Record, a *token.Account, now time.Time) Reason {
	switch rec.StatusAt(now) {
	case token.Revoked:
		return TokenRevoked
	case token.Expired:
		return TokenExpired
	case token.Suspended:
		return TokenSuspended
	}
	switch {
	case a.Owner.IsZero():
		return OwnerGone
	case a.Off():
		return OwnerDisabled
	}
	return ""
}

// judgeAccess checks one of our access tokens: its signature, times and
// issuer, then its parent, whose end ends it at once.
func (l *Local) judgeAccess(ctx context.Context, jwt string) (v verdict, err error) {
	v.of = nobody
	k, err := l.knownAccess(ctx, jwt)
	if err != nil {
		return v, err
	}
	v.of, v.claims = k.parent, &k.claims
	// What is known of the parent goes along: it can be revoked by its child.
	refuse := func(why Reason) (verdict, error) { return v, &Refusal{Reason: why, Token: k.claims.Parent} }
	now := l.now()
	switch err := k.claims.Hold(now); {
	case errors.Is(err, signer.ErrExpired):
		return refuse(TokenExpired)
	case err != nil:
		return refuse(WrongSignature)
	}
	if why := state(&v.of.record, k.parent.account, now); why != "" {
		return refuse(why)
	}
	v.identity = token.Identity{
		Kind: token.Access, ID: v.of.record.ID, Owner: v.of.record.Owner, Connection: k.claims.ClientID, ExpiresAt: k.claims.ExpiresAt,
		Until:  v.of.record.ExpiresAt,
		Issuer: k.claims.Issuer, Audience: k.claims.Audience, JWTID: k.claims.ID, IssuedAt: k.claims.IssuedAt, Provider: k.claims.Provider,
		// What the owner has lost since is lost here too.
		Roles: token.IntersectRoles(k.claims.Roles, k.parent.account.AllRoles(now)),
	}
	return v, nil
}

// readAccess is what the store says of an access token, whatever time it is but
// for the signature's.
func (l *Local) readAccess(r store.Reader, jwt string) (*knownAccess, error) {
	claims, err := l.signer.Check(r, jwt, l.now())
	switch {
	case errors.Is(err, signer.ErrExpired):
		return nil, &Refusal{Reason: TokenExpired}
	case errors.Is(err, token.ErrRefused):
		return nil, &Refusal{Reason: WrongSignature}
	case err != nil:
		return nil, err
	}
	refuse := func(why Reason) error { return &Refusal{Reason: why, Token: claims.Parent} }
	p, err := policy(r)
	if err != nil {
		return nil, err
	}
	if claims.Issuer != p.Issuer {
		return nil, refuse(WrongIssuer)
	}
	has, err := store.Connections.Has(r, claims.ClientID)
	if err != nil {
		return nil, err
	}
	if !has {
		return nil, refuse(WrongConnection)
	}
	if claims.Provider != "" {
		parent, err := l.readVouched(r, &claims)
		if err != nil {
			return nil, err
		}
		return &knownAccess{claims: claims, parent: parent}, nil
	}
	parent, err := l.readKnown(r, claims.Parent)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(UnknownToken)
	}
	if err != nil {
		return nil, err
	}
	if claims.Subject != parent.record.Owner.String() || claims.Audience != parent.record.Audience {
		return nil, refuse(WrongSignature)
	}
	return &knownAccess{claims: claims, parent: parent}, nil
}
