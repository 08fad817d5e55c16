package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/tokenctl/tokenctl/pkg/provision"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// takeBackWindow is how long a Generate or Rotate can be undone.
const takeBackWindow = 10 * time.Minute

// writesPerToken bounds what one change of one token writes: record, indexes,
// audit entry and head. What other systems are told of it comes on top.
const (
	writesPerToken    = 8
	writesPerDelivery = 3
)

// batch is how many of the tokens one Update can change.
func (s *session) batch(ctx context.Context, refs []token.Ref) (n int, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		left := s.store.Limit() - writesPerToken
		for n = 0; n < len(refs); n++ {
			states, err := provision.States(r, refs[n].ID)
			if err != nil {
				return err
			}
			if left -= writesPerToken + writesPerDelivery*len(states); left < 0 {
				break
			}
		}
		return nil
	})
	return max(1, n), err
}

// find reads the token of a reference for a change, and checks the caller's
// right to it.
func (c *change) find(ref token.Ref) (token.Record, error) {
	rec, err := store.GetToken(c, ref.ID)
	if err != nil {
		return rec, noToken(err, ref.ID)
	}
	if err := c.by.mayManage(c, rec.Owner, "token "+ref.ID.String()); err != nil {
		return rec, err
	}
	if ref.Revision != 0 && ref.Revision != rec.Revision {
		return rec, token.Errorf(token.ErrConflict, "token %s has changed meanwhile", ref.ID).WithHint("look again: tokenctl show %s", ref.ID)
	}
	return rec, nil
}

func noToken(err error, id token.ID) error {
	if errors.Is(err, store.ErrNotFound) {
		return token.Errorf(token.ErrNotFound, "there is no token %s", id)
	}
	return err
}

// put writes a changed token and notes the change.
func (c *change) put(was, now *token.Record, kind token.Change, action, reason, detail string) error {
	now.Revision++
	now.Replaced = nil
	if now.LastChange = kind; kind != token.Rotated {
		now.Undo = nil
	}
	c.noteToken(action, now, reason, detail)
	if err := store.PutToken(c, was, now); err != nil {
		return err
	}
	return c.told(now)
}

// each applies a change to every token, in one transaction unless there are
// more than the store takes at once.
func (s *session) each(ctx context.Context, refs []token.Ref, apply func(*change, token.Record) error) error {
	total := len(refs)
	for len(refs) > 0 {
		n, err := s.batch(ctx, refs)
		if err != nil {
			return err
		}
		now := refs[:min(n, len(refs))]
		refs = refs[len(now):]
		err = s.update(ctx, func(c *change) error {
			for _, ref := range now {
				rec, err := c.find(ref)
				if err != nil {
					return err
				}
				if err := apply(c, rec); err != nil {
					return err
				}
			}
			return nil
		})
		if done := total - len(refs) - len(now); err != nil && done > 0 {
			return token.Errorf(err, "%d of %d tokens were changed, then: %w", done, total, err).WithHint("the same command again goes on with the others")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ended is the conflict of changing a token that has ended.
func ended(rec *token.Record, now time.Time) error {
	switch rec.StatusAt(now) {
	case token.Revoked:
		return token.Errorf(token.ErrConflict, "token %s is revoked", rec.ID).WithHint("generate a new one")
	case token.Expired:
		return token.Errorf(token.ErrConflict, "token %s has expired", rec.ID).WithHint("generate a new one")
	}
	return nil
}

// Rotate implements [Tokens].
func (s *session) Rotate(ctx context.Context, ref token.Ref, r Rotation) (Issued, error) {
	if r.Grace < 0 || r.Grace > token.MaxLifetime {
		return Issued{}, token.Errorf(token.ErrUsage, "grace %s is not between 0s and %s", token.FormatDuration(r.Grace), token.FormatDuration(token.MaxLifetime))
	}
	// The kind decides the form of the secret and never changes.
	shown, err := s.Get(ctx, ref.ID)
	if err != nil {
		return Issued{}, err
	}
	m, err := s.material(ctx, shown.Kind, ref.ID, shown.Owner, shown.Service, rand.Text())
	if err != nil {
		return Issued{}, err
	}
	plain := m.plain
	err = s.once(ctx, func(c *change) (string, error) {
		was, err := c.find(ref)
		if err != nil {
			return "", err
		}
		if err := ended(&was, c.now); err != nil {
			return "", err
		}
		if err := c.mayRotate(&was); err != nil {
			return "", err
		}
		if was.Kind == token.Service {
			owner, err := account(c, was.Owner)
			if err == nil {
				err = c.holds(&m, &was, &owner)
			}
			if err != nil {
				return "", err
			}
		}
		rec := was
		if !was.RotatedAt.IsZero() {
			undo := was.RotationState()
			rec.Undo = &undo
		}
		if rec.Kind == token.Refresh {
			rec.Family = &token.Family{Tag: m.tag, Before: familyTag(&was)}
		}
		rec.Previous, rec.Verifier, rec.RotatedAt = was.Verifier, m.verifier, c.now
		rec.PreviousUntil, rec.PreviousUntilUsed = c.now.Add(r.Grace.Truncate(time.Second)), r.UntilUsed
		if r.UntilUsed && r.Grace == 0 {
			rec.PreviousUntil = c.now.Add(token.MaxLifetime)
		}
		if err := c.put(&was, &rec, token.Rotated, "token.rotate", "", graceText(r)); err != nil {
			return "", err
		}
		oldUntil := rec.PreviousUntil
		if !c.now.Before(oldUntil) {
			oldUntil = time.Time{}
		}
		if err := c.renew(&rec, m.prepared, oldUntil); err != nil {
			return "", err
		}
		shown, err = s.show(c, rec)
		return rec.ID.String() + " " + plain.Reveal(), err
	}, func(c *change, first string) (err error) {
		var rec token.Record
		if plain, rec, err = c.replayToken("token.rotate", first); err == nil {
			shown, err = s.show(c, rec)
		}
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	return Issued{Token: shown, Secret: plain}, nil
}

func graceText(r Rotation) string {
	switch {
	case r.UntilUsed && r.Grace > 0:
		return "old secret good for " + token.FormatDuration(r.Grace) + " or until the new one is used"
	case r.UntilUsed:
		return "old secret good until the new one is used"
	case r.Grace > 0:
		return "old secret good for " + token.FormatDuration(r.Grace)
	}
	return ""
}

// mayRotate keeps a narrowed credential from getting hold of a wider one: the
// new secret of an existing token has all rights of that token.
func (c *change) mayRotate(rec *token.Record) error {
	if !c.by.caller.Narrowed {
		return nil
	}
	if rec.Kind != token.Refresh {
		return errWider
	}
	owner, err := store.Accounts.Get(c, rec.Owner.Realm, rec.Owner.Name)
	if err != nil {
		return err
	}
	p, err := policy(c)
	if err != nil {
		return err
	}
	return c.admitRoles(rec, &owner, &p)
}

// TakeBack implements [Tokens].
func (s *session) TakeBack(ctx context.Context, ref token.Ref) error {
	return s.update(ctx, func(c *change) error {
		if ref.Revision == 0 {
			return token.Errorf(token.ErrUsage, "taking back needs the revision that was made")
		}
		was, err := c.find(ref)
		if err != nil {
			return err
		}
		since := was.CreatedAt
		if was.LastChange == token.Rotated {
			since = was.RotatedAt
		}
		// A new secret whose use has ended the old one has been handed over.
		arrived := was.LastChange == token.Rotated && len(was.Previous) == 0
		if was.LastChange == token.Other || arrived || c.now.Sub(since) > takeBackWindow {
			return token.Errorf(token.ErrConflict, "token %s can no longer be taken back", ref.ID).WithHint("revoke it: tokenctl revoke %s", ref.ID)
		}
		if was.LastChange == token.Made {
			// What it replaced comes back with all its rights.
			if was.Replaced != nil {
				if err := c.mayRotate(&was); err != nil {
					return err
				}
			}
			c.noteToken("token.take-back", &was, "", "never handed over")
			if err := store.DeleteToken(c, &was); err != nil {
				return err
			}
			if err := c.told(&was); err != nil || was.Replaced == nil {
				return err
			}
			return c.revive(was.Replaced)
		}
		// The old secret comes back with all its rights, as by a rotation.
		if err := c.mayRotate(&was); err != nil {
			return err
		}
		rec := was
		rec.Verifier = was.Previous
		if was.Family != nil {
			rec.Family = &token.Family{Tag: was.Family.Before}
		}
		rec.SetRotationState(token.RotationState{})
		if was.Undo != nil {
			rec.SetRotationState(*was.Undo)
		}
		if was.Kind == token.Service {
			if err := provision.TakeBack(c, was.ID, was.Revision, c.now); err != nil {
				return err
			}
		}
		return c.put(&was, &rec, token.Other, "token.take-back", "", "the secret before the rotation is good again")
	})
}

// Revoke implements [Tokens].
func (s *session) Revoke(ctx context.Context, refs []token.Ref, reason string) error {
	if err := token.CheckReason(reason); err != nil {
		return err
	}
	return s.each(ctx, refs, func(c *change, rec token.Record) error { return c.revoke(rec, reason) })
}

func (c *change) revoke(was token.Record, reason string) error {
	if !was.RevokedAt.IsZero() && (was.RevokedReason != replacedReason || reason == replacedReason) {
		return nil // what was replaced might be given back, and is not to be
	}
	rec := was
	rec.Bury(c.now, c.by.caller.Owner, reason)
	return c.put(&was, &rec, token.Other, "token.revoke", reason, "")
}

// RevokeSecret implements [Tokens].
func (s *session) RevokeSecret(ctx context.Context, text secret.Secret, reason string) (token.Token, error) {
	if err := token.CheckReason(reason); err != nil {
		return token.Token{}, err
	}
	k, err := s.judgePasted(ctx, text)
	if err != nil {
		return token.Token{}, err
	}
	foreign := func(rec *token.Record) error {
		if s.caller.Client != "" && rec.Connection != s.caller.Client {
			return ErrOtherClient
		}
		return nil
	}
	if k.record.Kind == token.Access {
		if err := foreign(&k.record); err != nil {
			return token.Token{}, err
		}
		rec, err := s.endAccess(ctx, k, reason)
		return token.NewToken(rec, s.now()), err
	}
	id, rec := k.record.ID, token.Record{}
	err = s.update(ctx, func(c *change) error {
		var err error
		// Whatever has happened to it meanwhile, it is to end.
		if rec, err = store.GetToken(c, id); err != nil {
			return noToken(err, id)
		}
		if err := foreign(&rec); err != nil {
			return err
		}
		if err := c.revoke(rec, reason); err != nil {
			return err
		}
		rec, err = store.GetToken(c, rec.ID)
		return err
	})
	return token.NewToken(rec, s.now()), err
}

// ErrOtherClient: the token is not of the client that asks (RFC 7009 §2.1).
var ErrOtherClient = token.Errorf(token.ErrConflict, "the token was issued to another client")

// ErrNotOurs: nothing that is here can be ended, for another vouches for it.
var ErrNotOurs = token.Errorf(token.ErrUsage, "this is a token of an identity provider, which alone can revoke it").
	WithHint("tokenctl admin user disable refuses its owner here")

// judgePasted finds the token of a secret, whatever state it is in: one that
// is suspended or expired, or whose owner is disabled, can still be revoked. An
// access token stands for its parent, for nothing less can be ended.
func (s *session) judgePasted(ctx context.Context, text secret.Secret) (*known, error) {
	c, err := s.parse(ctx, text)
	if err != nil {
		return nil, err
	}
	if c.kind == token.Access {
		if k, err := s.pastedVouched(ctx, c.jwt); k != nil || err != nil {
			return k, err
		}
	}
	v, err := s.judge(ctx, c)
	if err == nil && c.kind == token.Federated { // who made it up learns nothing
		return nil, ErrNotOurs
	}
	var no *Refusal
	if !errors.As(err, &no) {
		return v.of, err
	}
	switch no.Reason {
	case WrongSecret:
		if s.usedUp(ctx, c) { // who has an old one of the family may end it
			return &known{record: token.Record{ID: c.id}}, nil
		}
	case TokenExpired, TokenSuspended, OwnerDisabled, OwnerGone, ServiceOff:
		if v.of.record.ID != no.Token {
			return &known{record: token.Record{ID: no.Token}}, nil
		}
		return v.of, nil
	}
	return nil, err
}

// Suspend implements [Tokens].
func (s *session) Suspend(ctx context.Context, refs []token.Ref, until time.Time) error {
	until = until.UTC().Truncate(time.Second)
	if !until.IsZero() && !until.After(s.clock()) {
		return token.Errorf(token.ErrUsage, "%s is not in the future", until.Format(time.RFC3339))
	}
	if until.Year() > 9999 { // which nothing could show (RFC 3339 §1)
		return token.Errorf(token.ErrUsage, "%s is after the year 9999", until.Format(time.RFC3339)).WithHint("without a time it lasts until it is resumed")
	}
	detail := ""
	if !until.IsZero() {
		detail = "until " + until.Format(time.RFC3339)
	}
	return s.each(ctx, refs, func(c *change, was token.Record) error {
		if err := ended(&was, c.now); err != nil {
			return err
		}
		rec := was
		rec.SuspendedAt, rec.SuspendedUntil = c.now, until
		return c.put(&was, &rec, token.Other, "token.suspend", "", detail)
	})
}

// Resume implements [Tokens].
func (s *session) Resume(ctx context.Context, refs []token.Ref) error {
	return s.each(ctx, refs, func(c *change, was token.Record) error {
		if err := ended(&was, c.now); err != nil {
			return err
		}
		if was.SuspendedAt.IsZero() {
			return nil
		}
		rec := was
		rec.SuspendedAt, rec.SuspendedUntil = time.Time{}, time.Time{}
		return c.put(&was, &rec, token.Other, "token.resume", "", "")
	})
}

// Delete implements [Tokens].
func (s *session) Delete(ctx context.Context, refs []token.Ref) error {
	return s.each(ctx, refs, func(c *change, rec token.Record) error {
		if !rec.RevokedAt.IsZero() {
			return token.Errorf(token.ErrConflict, "token %s is revoked: its tombstone stays", rec.ID).
				WithHint("tombstones go by themselves after the retention that policy sets")
		}
		c.noteToken("token.delete", &rec, "", "")
		if err := store.DeleteToken(c, &rec); err != nil {
			return err
		}
		return c.told(&rec)
	})
}
