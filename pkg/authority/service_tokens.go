package authority

import (
	"context"
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/audit"
	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// replacedReason is why a service token was revoked whose place another took.
const replacedReason = "replaced"

// leastFast is how many bits a secret needs for the fast scheme (NIST SP
// 800-63B-4 §3.1.2.2).
const leastFast = 112

// material is a new secret and all that is made of it before the transaction
// that takes it, since that may run again and must not take long.
type material struct {
	plain    secret.Secret
	verifier secret.Verifier
	tag      string // of refresh tokens: their family's
	// Of service tokens: what it was made by, and for whom.
	service  token.ServiceConfig
	entryID  string
	prepared []provision.Made
}

// material makes a secret of a token of a kind, for the owner; name is that of
// the service. tag begins another family of refresh tokens.
func (s *session) material(ctx context.Context, kind token.Kind, id token.ID, o token.Owner, name, tag string) (m material, err error) {
	switch kind {
	case token.Refresh:
		m.tag = tag
		m.plain = s.hasher.NewTagged(form(kind), family(id, m.tag))
	case token.User:
		m.plain = secret.New(form(kind), id)
	}
	if kind != token.Service {
		m.verifier = s.hasher.Fast(use(kind, id), m.plain)
		return m, nil
	}
	var a token.Account
	err = s.view(ctx, func(r store.Reader) (err error) {
		if err := s.mayManage(r, o, "tokens of "+o.String()); err != nil {
			return err
		}
		if m.service, err = services.find(r, name); err != nil {
			return err
		}
		if !m.service.Enabled {
			return errServiceOff(name)
		}
		if a, err = account(r, o); errors.Is(err, token.ErrNotFound) && s.caller.FileOwner && o == s.caller.Owner {
			a, err = token.Account{Owner: o}, nil // made by this very change
		}
		return err
	})
	if err != nil {
		return m, err
	}
	m.entryID = a.EntryID
	f := m.service.TokenType.Form()
	m.plain = secret.New(f, id)
	if f.Bits() >= leastFast {
		m.verifier = s.hasher.Fast(use(kind, id), m.plain)
	} else if m.verifier, err = s.hasher.Slow(ctx, use(kind, id), m.plain); err != nil {
		return m, token.Errorf(token.ErrCannotTell, "the password cannot be hashed now: %w", err)
	}
	m.prepared, err = s.prepare(ctx, &m.service, &a, id, m.plain)
	return m, err
}

// holds fails if a secret was made by a service, or for a person, that is
// another by now.
func (c *change) holds(m *material, rec *token.Record, owner *token.Account) error {
	if rec.Kind != token.Service {
		return nil
	}
	now, err := services.find(c, rec.Service)
	if err != nil {
		return err
	}
	if !now.Enabled {
		return errServiceOff(now.Name)
	}
	if now.Revision != m.service.Revision || owner.EntryID != m.entryID {
		return token.Errorf(token.ErrConflict, "the service %q or the account %s has changed meanwhile", now.Name, rec.Owner).WithHint("try again")
	}
	return nil
}

func errServiceOff(name string) error {
	return token.Errorf(token.ErrRefused, "the service %q is disabled", name).WithHint("tokenctl admin service enable %s", name)
}

// replace ends the service token in whose place a new one comes, and keeps what
// is needed to give it back.
func (c *change) replace(rec *token.Record) error {
	holder, err := store.Slot(c, rec)
	if errors.Is(err, store.ErrNotFound) || err == nil && !holder.Live(c.now) {
		return nil
	}
	if err != nil {
		return err
	}
	rec.Replaced = &token.Replaced{ID: holder.ID, Verifier: holder.Verifier, Rotation: holder.RotationState()}
	return c.revoke(holder, replacedReason)
}

// revive gives a token its place back, after the one that took it was taken
// back.
func (c *change) revive(old *token.Replaced) error {
	was, err := store.GetToken(c, old.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && was.RevokedReason != replacedReason {
		return nil
	}
	if err != nil {
		return err
	}
	rec := was
	rec.SetRotationState(old.Rotation)
	rec.RevokedAt, rec.RevokedBy, rec.RevokedReason, rec.Verifier = time.Time{}, token.Owner{}, "", old.Verifier
	return c.put(&was, &rec, token.Other, "token.take-back", "", "the one that replaced it was never handed over")
}

// told has other systems told of a change of a token.
func (c *change) told(rec *token.Record) error {
	if rec.Kind != token.Service {
		return nil
	}
	return provision.Reconcile(c, rec.ID, c.now)
}

// putAccount writes an account, and has other systems told if its tokens are
// good no more, or again.
func (c *change) putAccount(a token.Account) error {
	was, err := store.Accounts.Get(c, a.Owner.Realm, a.Owner.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if was.Off() != a.Off() {
		if err := provision.ReconcileOwner(c, a.Owner, c.now); err != nil {
			return err
		}
	}
	if err := c.putIdentities(&was, &a); err != nil {
		return err
	}
	return store.Accounts.Put(c, a)
}

// knownSlot reads the token of an owner at a service with the owner's account,
// or remembers them.
func (l *Local) knownSlot(ctx context.Context, d door) (*known, error) {
	return remember(ctx, l, &l.slots, d, func(r store.Reader) (*known, error) {
		rec, err := store.Slot(r, &token.Record{Kind: token.Service, Owner: d.owner, Service: d.service})
		if err != nil {
			return nil, err
		}
		return l.readKnown(r, rec.ID)
	})
}

// serviceNow reads a service, or remembers it.
func (l *Local) serviceNow(ctx context.Context, name string) (*token.ServiceConfig, error) {
	return remember(ctx, l, &l.services, name, func(r store.Reader) (*token.ServiceConfig, error) {
		s, err := store.Services.Get(r, name)
		return &s, err
	})
}

// judgeAt finds out whether a password is the user's at a service.
func (l *Local) judgeAt(ctx context.Context, p *Presented) (v verdict, c credential, err error) {
	v.of = nobody
	svc, err := l.serviceNow(ctx, p.Service)
	unknown := errors.Is(err, store.ErrNotFound)
	if unknown {
		svc, err = &token.ServiceConfig{Realm: token.LocalRealm}, nil
	}
	if err != nil {
		return v, c, err
	}
	c, err = parsePassword(p.Credential)
	if err != nil {
		return v, c, err
	}
	owner, _, err := l.canonicalLogin(p.User, svc.Realm)
	if err != nil {
		return v, c, &Refusal{Reason: Malformed}
	}
	d := door{owner, p.Service}
	if !c.id.IsZero() {
		// Nobody guesses such a one: no turn, no slow hash.
		if v, err = l.judge(ctx, c); err == nil && (v.of.record.Service != p.Service || v.of.record.Owner != owner) {
			err = &Refusal{Reason: WrongService, Token: v.of.record.ID}
		}
		return v, c, err
	}
	k, err := l.knownSlot(ctx, d)
	if errors.Is(err, store.ErrNotFound) {
		k, err = nobody, nil
	}
	if err != nil {
		return v, c, err
	}
	c.id, v.of = k.record.ID, k
	// What was right of late goes on without a turn, whoever guesses beside it.
	// At a service that is none there is nothing to guess.
	if !l.serving || unknown || l.rememberedAt(c, &k.record) {
		err = l.judgePlain(ctx, c, &v)
		return v, c, err
	}
	if err := l.knock(ctx, d, p.From); err != nil {
		return v, c, err
	}
	err = l.judgePlain(ctx, c, &v)
	var no *Refusal
	switch {
	case errors.As(err, &no):
		l.attempts.failed(d, l.now())
	case err != nil:
		l.attempts.nobodyKnows(d)
	default:
		l.attempts.succeeded(d)
	}
	return v, c, err
}

// rememberedAt says whether a password was right of late: the present one, or one
// in its grace.
func (l *Local) rememberedAt(c credential, rec *token.Record) bool {
	u := use(c.kind, c.id)
	return l.hasher.Remembered(u, c.secret, rec.Verifier) ||
		l.now().Before(rec.PreviousUntil) && l.hasher.Remembered(u, c.secret, rec.Previous)
}

// judgePlain costs a slow hash, whoever the user is; a second one while the
// secret before a rotation has its grace.
func (l *Local) judgePlain(ctx context.Context, c credential, v *verdict) error {
	rec := &v.of.record
	if !rec.Verifier.Slow() && !(rec.Previous.Slow() && l.now().Before(rec.PreviousUntil)) {
		if err := l.hasher.Waste(ctx); err != nil {
			return token.Errorf(token.ErrCannotTell, "the secret cannot be checked: %w", err)
		}
		return &Refusal{Reason: UnknownToken, Token: v.of.record.ID}
	}
	if err := l.judgeSecret(ctx, c, v); err != nil {
		return err
	}
	return l.judgeService(ctx, v)
}

// judgeService refuses tokens of a service that is disabled or gone.
func (l *Local) judgeService(ctx context.Context, v *verdict) error {
	rec := &v.of.record
	if rec.Kind != token.Service {
		return nil
	}
	svc, err := l.serviceNow(ctx, rec.Service)
	if errors.Is(err, store.ErrNotFound) || err == nil && !svc.Enabled {
		return &Refusal{Reason: ServiceOff, Token: rec.ID}
	}
	return err
}

// noteAttempt samples refusals at a service into the audit log.
func (l *Local) noteAttempt(err error, p *Presented) {
	var no *Refusal
	if !l.serving || !errors.As(err, &no) {
		return
	}
	l.noted.refusal(audit.Entry{
		Time: l.clock(), Action: credentialRefused, Token: no.Token, Object: p.Service, Reason: string(no.Reason), Source: p.From,
	}, false)
}
