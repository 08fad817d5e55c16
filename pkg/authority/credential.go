package authority

import (
	"context"
	"fmt"
	"strings"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// credential is a presented text taken apart, without a look at the store.
type credential struct {
	kind   token.Kind
	id     token.ID
	secret secret.Secret
	jwt    string // access tokens
}

// parseCredential tells the kinds of credential apart by their text. Whatever
// cannot be one of ours is a Malformed refusal. Nothing is trimmed or folded:
// a credential that was copied badly is not guessed at.
func parseCredential(s secret.Secret) (credential, error) {
	text := s.Reveal()
	// No other form holds a colon.
	if code, pass, pair := strings.Cut(text, ":"); pair {
		id, err := secret.ParseID(code)
		if err != nil {
			return credential{}, &Refusal{Reason: Malformed}
		}
		c, err := parseSecret(pass)
		// Both were made together: a code with another's passcode is a mix-up.
		if err != nil || c.kind != token.User || c.id != id {
			return credential{}, &Refusal{Reason: Malformed}
		}
		return c, nil
	}
	// RFC 7515 §7.1: three parts between two periods, which no form of ours has.
	if strings.Count(text, ".") == 2 {
		return credential{kind: token.Access, jwt: text}, nil
	}
	return parseSecret(text)
}

// parse is parseCredential, which tells a JWT of an identity provider from one
// of ours.
func (l *Local) parse(ctx context.Context, s secret.Secret) (credential, error) {
	c, err := parseCredential(s)
	if err != nil || c.kind != token.Access {
		return c, err
	}
	foreign, err := l.isFederated(ctx, c.jwt)
	if foreign {
		c.kind = token.Federated
	}
	return c, err
}

func parseSecret(text string) (credential, error) {
	t, err := secret.Parse(text)
	if err != nil {
		return credential{}, &Refusal{Reason: Malformed}
	}
	kind := token.User
	switch t.Form {
	case secret.ClientSecret: // it says which client asks, and stands for nobody
		return credential{}, &Refusal{Reason: WrongKind}
	case secret.RefreshToken:
		kind = token.Refresh
	case secret.StrongPassword:
		kind = token.Service
	}
	return credential{kind: kind, id: t.ID, secret: t.Secret}, nil
}

// parsePassword recognises the password of a service token: a strong one names
// its token, of a plain one only the user's name says whose it is.
func parsePassword(s secret.Secret) (credential, error) {
	for _, f := range []secret.Form{secret.Plain08, secret.Plain15} {
		if plain, err := secret.ParsePlain(f, s.Reveal()); err == nil {
			return credential{kind: token.Service, secret: plain}, nil
		}
	}
	c, err := parseSecret(s.Reveal())
	if err == nil && c.kind != token.Service {
		err = &Refusal{Reason: WrongKind}
	}
	return c, err
}

// use separates the hashes of one kind and token from all others.
func use(kind token.Kind, id token.ID) secret.Use { return secret.Use{Kind: kind.String(), ID: id} }

// form is the text form of a kind's secret.
func form(kind token.Kind) secret.Form {
	switch kind {
	case token.User:
		return secret.Passcode
	case token.Refresh:
		return secret.RefreshToken
	}
	panic(fmt.Sprintf("authority: no form of secret for the kind %s", kind))
}

// CheckForm refuses, without a look at any store, what cannot be a credential
// of ours: a wrong length, character or checksum.
func CheckForm(s secret.Secret) error {
	_, err := parseCredential(s)
	return err
}
