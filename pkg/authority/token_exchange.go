package authority

import (
	"context"
	"errors"
	"slices"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/signer"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// exchangeSubject makes an access token for whom another token stands (RFC 8693
// §2). What comes of a provider's JWT lives as long as the connection says, for
// the JWT is there to prove who it is; what comes of an access token ends with
// it, and with what ends it.
func (s *session) exchangeSubject(ctx context.Context, e Exchange) (AccessToken, error) {
	if !e.RefreshToken.IsZero() {
		return AccessToken{}, token.Errorf(token.ErrUsage, "a refresh token and a subject token are two ways to ask for one access token")
	}
	c, err := s.parse(ctx, e.SubjectToken)
	if err != nil {
		return AccessToken{}, err
	}
	if c.kind != token.Access && c.kind != token.Federated {
		return AccessToken{}, &Refusal{Reason: WrongKind}
	}
	for {
		v, err := s.judgeSubject(ctx, c, e.From)
		if err != nil {
			s.noteRefusal(err, e.From)
			return AccessToken{}, err
		}
		name := v.clientOf(e.ClientID)
		if e.ClientID == "" {
			if err := s.admitClient(ctx, &e, &token.Record{Connection: name}); err != nil {
				return AccessToken{}, err
			}
		}
		access, algorithm, err := s.signSubject(ctx, &v, e, name)
		if errors.Is(err, signer.ErrNoKey) {
			if _, err = s.installKeys(ctx, algorithm); err == nil {
				access, _, err = s.signSubject(ctx, &v, e, name)
			}
		}
		if !errors.Is(err, errChanged) || ctx.Err() != nil {
			return access, err
		}
	}
}

// judgeSubject finds out whom a subject token stands for. Rights are taken from
// the answer for long: their directory is asked, as it is for a refresh token.
func (s *session) judgeSubject(ctx context.Context, c credential, from string) (verdict, error) {
	again := func() (verdict, error) { return s.judge(ctx, c) }
	v, err := again()
	if err == nil && v.said != nil && !s.now().Before(v.said.ExpiresAt) { // the leeway is for clocks, not for lives
		err = &Refusal{Reason: TokenExpired}
	}
	if err == nil && v.said != nil {
		v, err = s.acquaint(ctx, v, from)
	}
	if err == nil {
		v, err = s.judgeToday(ctx, v, again)
	}
	return v, err
}

// clientOf is the connection whose access token is asked for.
func (v *verdict) clientOf(asked string) string {
	switch {
	case asked != "":
		return asked
	case v.said != nil:
		return token.DefaultConnection
	}
	return v.identity.Connection
}

func (s *session) signSubject(ctx context.Context, v *verdict, e Exchange, name string) (access AccessToken, algorithm token.Algorithm, err error) {
	err = s.view(ctx, func(r store.Reader) error {
		if err := s.stillVouched(r, v); err != nil {
			return err
		}
		rec := v.of.record
		if v.said == nil && name != v.identity.Connection {
			return &Refusal{Reason: WrongConnection, Token: rec.ID}
		}
		conn, err := connections.find(r, name)
		if errors.Is(err, token.ErrNotFound) {
			return &Refusal{Reason: WrongConnection, Token: rec.ID}
		}
		if err != nil {
			return err
		}
		algorithm = conn.Algorithm
		if v.said != nil {
			rec = token.Record{ID: secret.NewID(s.now()), Owner: v.identity.Owner, Audience: conn.EntityID}
		} else {
			rec.ExpiresAt = v.identity.ExpiresAt
		}
		if e.Resource != "" && e.Resource != rec.Audience {
			return token.Errorf(ErrInvalidTarget, "connection %q is not for resource %q", conn.Name, e.Resource).WithHint("it is for %s", rec.Audience)
		}
		roles, err := subjectRoles(&conn, v.identity.Roles, e.Roles)
		if err != nil {
			return err
		}
		p, err := policy(r)
		if err != nil {
			return err
		}
		access, err = s.mint(r, &rec, &conn, &p, roles, v.vouchedBy())
		return err
	})
	return access, algorithm, err
}

// subjectRoles are those of the wanted roles that are held and on offer; nothing
// that is asked for by name is left out.
func subjectRoles(conn *token.Connection, held, wanted []token.Role) ([]token.Role, error) {
	onOffer := held
	if len(conn.Roles) > 0 {
		onOffer = token.IntersectRoles(conn.Roles, held)
	}
	if wanted == nil {
		return onOffer, nil
	}
	roles := token.IntersectRoles(wanted, onOffer)
	for _, r := range wanted {
		if !slices.Contains(roles, r) {
			return nil, token.Errorf(ErrInvalidScope, "the role %q is not on offer at connection %q, or the subject does not have it", r, conn.Name)
		}
	}
	return roles, nil
}

// stillVouched looks again at what a subject token was judged by: an end that was
// acknowledged meanwhile counts.
func (s *session) stillVouched(r store.Reader, v *verdict) error {
	if v.said == nil && v.identity.Provider == "" {
		return s.stillGood(r, v)
	}
	a, err := store.Accounts.Get(r, v.identity.Owner.Realm, v.identity.Owner.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &Refusal{Reason: OwnerGone}
	case err != nil:
		return err
	case a.Revision != v.of.account.Revision:
		return errChanged
	}
	if v.said == nil {
		_, err = s.readVouched(r, v.claims)
		return err
	}
	if err := stillJudged(r, v.said); !errors.Is(err, errRejudge) {
		return err
	}
	return errChanged
}
