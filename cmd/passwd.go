package cmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/terminal"
	"github.com/tokenctl/tokenctl/pkg/token"
)

type passwdOptions struct {
	old, fresh secretInput
	owner      string
}

func newPasswdCommand(a *app) *cobra.Command {
	var o passwdOptions
	c := &cobra.Command{
		Use:   "passwd",
		Short: "Change a password",
		Long: `Change your own password of the realm local, or as an administrator set that of
somebody else. At a terminal the old password is asked for, and the new one
twice. After ten wrong old passwords in a row one more disables the account.`,
		Example: `  tokenctl passwd --context prod
  tokenctl passwd --owner alice --password-file initial.txt`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runPasswd(c.Context(), a, &o) },
	}
	o.old.bind(c, "old-password", "old password")
	o.fresh.bind(c, "password", "new password")
	c.Flags().StringVar(&o.owner, "owner", "", "whose password; needs tokenctl:admin")
	c.RegisterFlagCompletionFunc("owner", a.completeOwners)
	return c
}

func runPasswd(ctx context.Context, a *app, o *passwdOptions) error {
	s, err := a.service(ctx)
	if err != nil {
		return err
	}
	me, err := s.WhoAmI(ctx)
	if err != nil {
		return err
	}
	owner := me.Owner
	if o.owner != "" {
		if owner, err = token.ParseOwner(o.owner); err != nil {
			return err
		}
	}
	var old secret.Secret
	if owner == me.Owner {
		acc, err := s.Account(ctx, owner)
		if err != nil && !errors.Is(err, token.ErrNotFound) {
			return err
		}
		if acc.HasPassword {
			if old, err = o.old.read(ctx, a); err != nil {
				return err
			}
		}
	}
	fresh, err := a.newPassword(ctx, &o.fresh)
	if err != nil {
		return err
	}
	if err := s.SetPassword(ctx, owner, old, fresh); err != nil {
		return err
	}
	a.say("the password of %s is changed", owner)
	return nil
}

// newPassword takes a new password from what a flag names, from standard input,
// or, twice, from a person.
func (a *app) newPassword(ctx context.Context, in *secretInput) (secret.Secret, error) {
	first, err := in.read(ctx, a)
	if err != nil || in.given() || !terminal.IsTerminal(a.stdin) {
		return first, err
	}
	again := secretInput{name: in.name, what: in.what + " again"}
	second, err := again.read(ctx, a)
	if err == nil && second.Reveal() != first.Reveal() {
		err = token.Errorf(token.ErrUsage, "the two passwords are not the same")
	}
	return first, err
}
