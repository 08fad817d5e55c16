package authority

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Explain implements [Tokens].
func (s *session) Explain(ctx context.Context, text secret.Secret) (Explanation, error) {
	err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "ask why a credential is refused", token.Auditor) })
	if err != nil {
		return Explanation{}, err
	}
	c, err := s.parse(ctx, text)
	var no *Refusal
	if errors.As(err, &no) && no.Reason == WrongKind {
		return Explanation{Reason: WrongKind, Text: "this is the secret of an OAuth client, and no token: it goes with a client_id, to the token endpoint"}, nil
	}
	if errors.Is(err, token.ErrMalformed) {
		return Explanation{Reason: Malformed, Text: "this is no credential of ours: a wrong length, character or checksum"}, nil
	}
	if err != nil {
		return Explanation{}, err
	}
	v, err := s.judge(ctx, c)
	if err != nil && !errors.As(err, &no) {
		return Explanation{}, err
	}
	var e Explanation
	id := v.of.record.ID
	if no == nil {
		e.Accepted = true
	} else {
		// A refused access token names its parent, which says when and by whom.
		e.Reason, id = no.Reason, no.Token
	}
	if t, err := s.Get(ctx, id); err == nil {
		v.of, e.Token = &known{record: t.Record}, &t
	} else if !errors.Is(err, token.ErrNotFound) {
		return Explanation{}, err
	}
	if e.Text = explain(&e, &v); no != nil && no.why != "" {
		e.Text += ": " + no.why
	}
	return e, nil
}

func explain(e *Explanation, v *verdict) string {
	rec := &v.of.record
	at := func(t time.Time) string { return t.Format(time.RFC3339) }
	switch e.Reason {
	case "":
		return fmt.Sprintf("accepted: it stands for %s", v.identity.Owner)
	case UnknownToken:
		return "there is no such token: it was deleted, is of another store, or never was"
	case WrongSecret:
		if !rec.RotatedAt.IsZero() {
			return fmt.Sprintf("the secret is wrong: it may be one from before the rotation of %s", at(rec.RotatedAt))
		}
		return "the secret is wrong: the token is there, with another secret"
	case TokenExpired:
		if rec.ID.IsZero() {
			return "the access token has expired"
		}
		return fmt.Sprintf("the token expired on %s", at(rec.ExpiresAt))
	case TokenRevoked:
		return fmt.Sprintf("the token was revoked on %s%s", at(rec.RevokedAt), revoked(rec))
	case TokenSuspended:
		if rec.SuspendedUntil.IsZero() {
			return fmt.Sprintf("the token is suspended since %s, until it is resumed", at(rec.SuspendedAt))
		}
		return fmt.Sprintf("the token is suspended since %s, until %s", at(rec.SuspendedAt), at(rec.SuspendedUntil))
	case OwnerDisabled:
		return strings.TrimSpace(fmt.Sprintf("the account %s", rec.Owner)) + " is disabled"
	case OwnerGone:
		return fmt.Sprintf("the owner %s has no account any more", rec.Owner)
	case ServiceOff:
		return fmt.Sprintf("the service %s is disabled, or gone", rec.Service)
	case WrongJWT:
		return "the JWT of an identity provider is not accepted"
	case UnlinkedSubject:
		return "nobody here is meant by what the identity provider says"
	case ProviderOff:
		return "the identity provider that vouched for it is disabled, or gone"
	case WrongSignature:
		return "the access token is changed, or not signed by a key of this store"
	case WrongIssuer:
		return "the access token was issued under another issuer than the policy now names"
	case WrongConnection:
		return "the connection of the access token is gone"
	}
	return string(e.Reason)
}

// revoked says by whom a token was revoked, and why. Who hands in a credential
// has no name.
func revoked(rec *token.Record) (text string) {
	switch {
	case !rec.RevokedBy.IsZero():
		text = " by " + rec.RevokedBy.String()
	case rec.RevokedReason == reusedReason:
		text = " by the server itself"
	}
	if rec.RevokedReason != "" {
		text += ": " + rec.RevokedReason
	}
	return text
}
