package authority

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Generate implements [Tokens].
func (s *session) Generate(ctx context.Context, spec token.Spec) (Issued, error) {
	if err := spec.Check(); err != nil {
		return Issued{}, err
	}
	if spec.Owner.IsZero() {
		spec.Owner = s.caller.Owner
	}
	var err error
	if spec.Owner, err = s.canonicalOwner(spec.Owner); err != nil {
		return Issued{}, err
	}
	if spec.Kind == token.Refresh && spec.Connection == "" {
		spec.Connection = token.DefaultConnection
	}
	// Made outside of the transaction, which may run again.
	id := secret.NewID(s.now())
	m, err := s.material(ctx, spec.Kind, id, spec.Owner, spec.Service, "")
	if err != nil {
		return Issued{}, err
	}
	plain := m.plain

	var rec token.Record
	err = s.once(ctx, func(c *change) (string, error) {
		rec = token.Record{
			ID: id, Kind: spec.Kind, Owner: spec.Owner, Name: spec.Name, Service: spec.Service, Roles: spec.Roles,
			CreatedAt: id.Time(), CreatedBy: s.caller.Owner, Verifier: m.verifier, Revision: 1, LastChange: token.Made,
		}
		if err := c.admit(&rec, spec, &m); err != nil {
			return "", err
		}
		if spec.Replace {
			if err := c.replace(&rec); err != nil {
				return "", err
			}
		}
		if err := c.vacant(&rec); err != nil {
			return "", err
		}
		if err := store.PutToken(c, nil, &rec); err != nil {
			return "", err
		}
		c.noteToken("token.generate", &rec, "", "")
		return id.String() + " " + plain.Reveal(), c.renew(&rec, m.prepared, time.Time{})
	}, func(c *change, first string) (err error) {
		plain, rec, err = c.replayToken("token.generate", first)
		return err
	})
	if err != nil {
		return Issued{}, err
	}
	return Issued{Token: token.NewToken(rec, s.now()), Secret: plain}, nil
}

// admit checks the request against caller, owner, connection and policy, and
// fills in what they decide.
func (c *change) admit(rec *token.Record, spec token.Spec, m *material) error {
	if err := c.by.mayManage(c, rec.Owner, "tokens of "+rec.Owner.String()); err != nil {
		return err
	}
	owner, err := store.Accounts.Get(c, rec.Owner.Realm, rec.Owner.Name)
	if errors.Is(err, store.ErrNotFound) {
		return token.Errorf(token.ErrNotFound, "%s has no account", rec.Owner).WithHint("make it first: tokenctl admin user add %s", rec.Owner)
	}
	if err != nil {
		return err
	}
	if owner.Off() {
		return token.Errorf(token.ErrRefused, "the account %s is disabled", rec.Owner).WithHint("tokenctl admin user enable %s", rec.Owner)
	}
	if err := c.holds(m, rec, &owner); err != nil {
		return err
	}
	p, err := policy(c)
	if err != nil {
		return err
	}
	if err := c.admitRoles(rec, &owner, &p); err != nil {
		return err
	}
	if rec.Kind == token.Refresh {
		conn, err := connections.find(c, spec.Connection)
		if err != nil {
			return err
		}
		for _, r := range rec.Roles {
			if len(conn.Roles) > 0 && !slices.Contains(conn.Roles, r) {
				return token.Errorf(token.ErrUsage, "connection %q does not offer the role %q", conn.Name, r).WithHint("it offers %v", conn.Roles)
			}
		}
		rec.Connection, rec.Audience = conn.Name, conn.EntityID
	}
	federated, err := onlyFederated(c, &owner)
	if err != nil {
		return err
	}
	lifetime := p.LifetimeFor
	if federated {
		lifetime = p.LifetimeForFederated
	}
	life, err := lifetime(rec.Kind, spec.Lifetime)
	if err != nil {
		return err
	}
	if life > 0 {
		rec.ExpiresAt = rec.CreatedAt.Add(life.Truncate(time.Second))
	}
	if end := c.by.caller.Until; !end.IsZero() && (rec.ExpiresAt.IsZero() || rec.ExpiresAt.After(end)) {
		rec.ExpiresAt = end
	}
	return nil
}

// admitRoles sees to it that no credential makes a wider one.
func (c *change) admitRoles(rec *token.Record, owner *token.Account, p *token.Policy) error {
	have, err := c.by.rights(c)
	if err != nil {
		return err
	}
	if rec.Kind == token.Refresh && p.RefreshTokens == token.Administrators && !slices.Contains(have, token.Admin) {
		return token.Errorf(token.ErrRefused, "refresh tokens are for administrators").
			WithHint("an administrator may allow them to all: tokenctl admin policy set refresh_tokens everyone")
	}
	if !c.by.caller.Narrowed {
		return nil
	}
	// User and service tokens have all roles of their owner, those of tomorrow too.
	if rec.Kind != token.Refresh || len(token.IntersectRoles(rec.Roles, have)) < len(rec.Roles) {
		return errWider
	}
	return nil
}

var errWider = token.Errorf(token.ErrRefused, "the credential in use has fewer roles than the token would have").
	WithHint("log in with a credential that has all of your roles")

// vacant fails with a conflict while a live token holds the slot.
func (c *change) vacant(rec *token.Record) error {
	if _, err := store.GetToken(c, rec.ID); !errors.Is(err, store.ErrNotFound) {
		if err != nil {
			return err
		}
		return token.Errorf(token.ErrConflict, "the id %s is taken", rec.ID).WithHint("try again")
	}
	holder, err := store.Slot(c, rec)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !holder.Live(c.now) {
		return nil
	}
	last, err := store.GetUse(c, holder.ID)
	if err != nil {
		return err
	}
	what, again := "a user token", ""
	if rec.Kind == token.Service {
		what, again = fmt.Sprintf("a password for the service %q", rec.Service), "replace it (--yes), "
	}
	if rec.Kind == token.Refresh {
		what = fmt.Sprintf("a refresh token named %q", rec.Name)
	}
	last = c.by.noted.lastUse(holder.ID, last)
	used := "never used"
	if !last.At.IsZero() {
		used = "last used " + ago(c.now, last.At)
	}
	return token.Errorf(token.ErrConflict, "%s already has %s: %s, made %s, %s", rec.Owner, what, holder.ID, ago(c.now, holder.CreatedAt), used).
		WithHint(again+"give it a new secret (tokenctl rotate %s), or delete it (tokenctl delete %s) and generate again", holder.ID, holder.ID)
}

// ago tells an age in its largest unit.
func ago(now, t time.Time) string {
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{token.Day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		switch n := now.Sub(t) / u.d; {
		case n == 1:
			return "1 " + u.name + " ago"
		case n > 1:
			return fmt.Sprintf("%d %ss ago", n, u.name)
		}
	}
	return "just now"
}
