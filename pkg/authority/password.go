package authority

import (
	"context"
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/store"
	"github.com/tokenctl/tokenctl/pkg/token"
)

// The length of passwords, in characters and bytes (NIST SP 800-63B-4
// §3.1.1.2: at least 8, better 15, at most not less than 64).
const (
	minPassword = 12
	maxPassword = 1024
)

// wrongPasswordsAllowed is how many wrong old passwords in a row leave an
// account as it is. The one after disables it.
const wrongPasswordsAllowed = 10

func checkNewPassword(o token.Owner, s secret.Secret) error {
	text := s.Reveal()
	switch n := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		return token.Errorf(token.ErrUsage, "the password is not valid UTF-8")
	case n < minPassword:
		return token.Errorf(token.ErrUsage, "the password has %d characters, fewer than %d", n, minPassword).WithHint("a few words make a good one")
	case len(text) > maxPassword:
		return token.Errorf(token.ErrUsage, "the password has %d bytes, more than %d", len(text), maxPassword)
	case text == o.Name || text == o.String():
		return token.Errorf(token.ErrUsage, "the password is the name of the account")
	}
	return nil
}

// passwordUse separates the hashes of one account's password from all others.
func passwordUse(o token.Owner) secret.Use {
	u := secret.Use{Kind: "password"}
	sum := sha256.Sum256([]byte(o.Realm + "\x00" + o.Name))
	copy(u.ID[:], sum[:])
	return u
}

// SetPassword implements [Accounts].
func (s *session) SetPassword(ctx context.Context, o token.Owner, old, fresh secret.Secret) error {
	if o.IsZero() {
		o = s.caller.Owner
	}
	if o.Realm != token.LocalRealm {
		return token.Errorf(token.ErrUsage, "%s has no password here: the directory keeps it", o)
	}
	if err := checkNewPassword(o, fresh); err != nil {
		return err
	}
	if s.caller.Narrowed {
		return errWider
	}
	var a token.Account
	own := o == s.caller.Owner
	err := s.view(ctx, func(r store.Reader) (err error) {
		if !own {
			if err := s.needs(r, "set the password of "+o.String(), token.Admin); err != nil {
				return err
			}
		} else if _, err := s.rights(r); err != nil {
			return err
		}
		a, err = account(r, o)
		return err
	})
	if err != nil {
		return err
	}
	// Whoever has one must know it, but an administrator helps others who do not,
	// and to a first one: a token alone must not become a password.
	if own && len(a.Password) == 0 {
		if err := s.view(ctx, func(r store.Reader) error { return s.needs(r, "set a first password", token.Admin) }); err != nil {
			return err
		}
	}
	if own && len(a.Password) > 0 {
		if err := s.checkOld(ctx, &a, old); err != nil {
			return err
		}
	}
	verifier, err := s.hasher.Slow(ctx, passwordUse(o), fresh)
	if err != nil {
		return token.Errorf(token.ErrCannotTell, "the password cannot be hashed now: %w", err)
	}
	return s.update(ctx, func(c *change) error {
		now, err := account(c, o)
		if err != nil {
			return err
		}
		if now.Disabled && own {
			return errWrongOld // others, at the same moment, guessed it away
		}
		if string(now.Password) != string(a.Password) {
			return token.Errorf(token.ErrConflict, "the password of %s has changed meanwhile", o)
		}
		now.Password, now.WrongPasswords = verifier, 0
		now.Revision++
		c.noteAccount("account.password", &now, "")
		return store.Accounts.Put(c, now)
	})
}

// checkOld checks the old password. A wrong one is counted before that is said,
// whatever way it came, and one too many disables the account.
func (s *session) checkOld(ctx context.Context, a *token.Account, old secret.Secret) error {
	right := false
	if !old.IsZero() {
		var err error
		if right, err = s.checkPassword(ctx, a, old); err != nil {
			return err
		}
	}
	if right && !a.Disabled {
		return nil
	}
	off := false
	err := s.update(ctx, func(c *change) error {
		now, err := account(c, a.Owner)
		if err != nil {
			return err
		}
		now.WrongPasswords++
		now.Revision++
		c.noteAccount("account.password-refused", &now, fmt.Sprintf("wrong old password, %d in a row", now.WrongPasswords))
		if off = now.WrongPasswords > wrongPasswordsAllowed && !now.Disabled; off {
			now.Disabled = true
			c.noteAccount("account.disable", &now, fmt.Sprintf("%d wrong old passwords in a row", now.WrongPasswords))
		}
		return store.Accounts.Put(c, now)
	})
	if err != nil {
		return err
	}
	if off {
		return token.Errorf(token.ErrRefused, "the old password is wrong once too often: the account %s is disabled", a.Owner).
			WithHint("an administrator can restore it: tokenctl admin user enable %s", a.Owner)
	}
	return errWrongOld
}

// errWrongOld is said of a right one, too, once the account is disabled: guesses
// that were under way then learn nothing.
var errWrongOld = token.Errorf(token.ErrRefused, "the old password is wrong, or the account is disabled")
