package directory

import (
	"context"
	"errors"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// Unavailable stands in for a directory that cannot be set up, such as one whose
// password file is gone. The realm stays that of a directory, with canonical
// names, and on nobody in it can it tell: cause says why.
func Unavailable(realm string, cause error) Directory { return &unavailable{realm, cause} }

type unavailable struct {
	realm string
	cause error
}

func (d *unavailable) Realm() string { return d.realm }

func (d *unavailable) Canonical(name string) (token.Owner, error) { return Fold(d.realm, name) }

func (d *unavailable) Canary() token.Owner { return token.Owner{} }

func (d *unavailable) Presence(context.Context, []token.Owner) ([]Verdict, error) {
	return nil, d.err()
}

func (d *unavailable) Lookup(context.Context, token.Owner) (Verdict, error) {
	return Verdict{}, d.err()
}

func (d *unavailable) Authenticate(_ context.Context, _ string, password secret.Secret) (Identity, error) {
	if password.IsZero() {
		return Identity{}, token.Errorf(token.ErrRefused, "the password is empty")
	}
	return Identity{}, d.err()
}

func (d *unavailable) Close() error { return nil }

// err tells the cause, and not its kind: wrong options are no wrong question.
func (d *unavailable) err() error {
	told := token.Errorf(token.ErrCannotTell, "the realm %s is without its directory: %v", d.realm, d.cause)
	var e *token.Error
	if errors.As(d.cause, &e) {
		told.Hint = e.Hint
	}
	return told
}
