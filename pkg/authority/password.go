package authority

import (
	"context"
	"crypto/sha256"
	"errors"
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
		if err := s.checkOld(ctx, o, old); err != nil {
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
		return c.putAccount(now)
	})
}

// checkOld checks the old password. A try counts before it is made, whatever
// way it came, so that many at once are not more; a wrong one too many disables
// the account.
func (s *session) checkOld(ctx context.Context, o token.Owner, old secret.Secret) error {
	a, last, err := s.countTry(ctx, o, 1)
	if err != nil {
		return err
	}
	right := false
	if !old.IsZero() {
		if right, err = s.checkPassword(ctx, &a, old); err != nil {
			_, _, back := s.countTry(ctx, o, -1)
			return errors.Join(err, back)
		}
	}
	if right {
		return nil
	}
	off := false
	err = s.update(ctx, func(c *change) error {
		now, err := account(c, o)
		if err != nil {
			return err
		}
		c.noteAccount("account.password-refused", &now, fmt.Sprintf("wrong old password, %d in a row", a.WrongPasswords))
		if off = last && !now.Disabled; !off {
			return nil
		}
		c.noteAccount("account.disable", &now, fmt.Sprintf("%d wrong old passwords in a row", a.WrongPasswords))
		now.Disabled = true
		now.Revision++
		return c.putAccount(now)
	})
	if err == nil && off {
		err = token.Errorf(token.ErrRefused, "the old password is wrong once too often: the account %s is disabled", o).
			WithHint("an administrator can restore it: tokenctl admin user enable %s", o)
	} else if err == nil {
		err = errWrongOld
	}
	return err
}

// countTry counts a try, or takes back one that could not be made. last says
// that one more is not allowed: it is refused without a look at the password.
func (s *session) countTry(ctx context.Context, o token.Owner, n int) (a token.Account, last bool, err error) {
	refused := false
	err = s.update(ctx, func(c *change) error {
		p, err := policy(c)
		if err != nil {
			return err
		}
		if a, err = account(c, o); err != nil {
			return err
		}
		a.WrongPasswords = max(a.WrongPasswords+n, 0)
		last = a.WrongPasswords > p.Lockout
		if refused = n > 0 && (a.Disabled || a.WrongPasswords > p.Lockout+1); refused && !a.Disabled {
			a.Disabled = true
			c.noteAccount("account.disable", &a, fmt.Sprintf("%d old passwords tried in a row", a.WrongPasswords))
		}
		a.Revision++
		return c.putAccount(a)
	})
	if err == nil && refused {
		err = errWrongOld
	}
	return a, last, err
}

// errWrongOld is said of a right one, too, once the account is disabled: guesses
// that were under way then learn nothing.
var errWrongOld = token.Errorf(token.ErrRefused, "the old password is wrong, or the account is disabled")
