package cmd

import (
	"context"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/secret"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminUserCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Accounts: the owners of tokens",
		Long: `An account is what is known of an owner: display name, roles, kind, status.
Disabling one refuses all of its tokens at once.`,
		Example: `  tokenctl admin user add alice --role deploy
  tokenctl admin user disable alice`,
	}
	asGroup(c)
	c.AddCommand(
		newAdminUserAddCommand(a), newAdminUserListCommand(a), newAdminUserShowCommand(a), newAdminUserSetCommand(a),
		newAdminUserStatusCommand(a, "enable", "Accept an account's tokens again", false),
		newAdminUserStatusCommand(a, "disable", "Refuse all of an account's tokens", true),
		newAdminUserLinkCommand(a), newAdminUserUnlinkCommand(a), newAdminUserDeleteCommand(a),
	)
	return c
}

// accountFlags are the properties of an account that can be given.
type accountFlags struct {
	displayName, kind, steward string
	roles                      []string
}

func (f *accountFlags) bind(a *app, c *cobra.Command) {
	c.Flags().StringVar(&f.displayName, "display-name", "", "the name for people")
	c.Flags().StringSliceVar(&f.roles, "role", nil, "a role of the account; may be repeated (set: these and no others, or none)")
	c.Flags().StringVar(&f.kind, "kind", "", "person or service")
	c.Flags().StringVar(&f.steward, "steward", "", "the person who answers for a service account")
	c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"person", "service"}, cobra.ShellCompDirectiveNoFileComp))
	c.RegisterFlagCompletionFunc("steward", a.completeOwners)
	c.RegisterFlagCompletionFunc("role", a.completeRoles)
}

// none is the role that stands for having none.
const none = "none"

// apply changes of an account what the command line names.
func (f *accountFlags) apply(c *cobra.Command, acc *token.Account) (err error) {
	if c.Flags().Changed("display-name") {
		acc.DisplayName = f.displayName
	}
	if c.Flags().Changed("kind") {
		if acc.Kind, err = token.ParseAccountKind(f.kind); err != nil {
			return err
		}
		if acc.Kind == token.Person {
			acc.Steward = token.Owner{}
		}
	}
	if c.Flags().Changed("steward") {
		if acc.Steward, err = token.ParseOwner(f.steward); err != nil {
			return err
		}
	}
	if c.Flags().Changed("role") {
		if acc.Roles, err = rolesOrNone(f.roles); err != nil {
			return err
		}
	}
	return nil
}

func rolesOrNone(names []string) ([]token.Role, error) {
	if len(names) == 1 && names[0] == none {
		return nil, nil
	}
	return token.ParseRoles(names)
}

func newAdminUserAddCommand(a *app) *cobra.Command {
	var f accountFlags
	var password secretInput
	c := &cobra.Command{
		Use:   "add NAME [-]",
		Short: "Add an account",
		Long: `Add an account of the realm local. With - it gets a password, which is read from
standard input or typed unseen.`,
		Example: `  tokenctl admin user add alice --display-name "Alice Example" --role deploy
  tokenctl admin user add build-bot --kind service --steward alice`,
		Args: ownerAndStdin,
		RunE: func(c *cobra.Command, args []string) error {
			acc := token.Account{Kind: token.Person}
			var err error
			if acc.Owner, err = token.ParseOwner(args[0]); err != nil {
				return err
			}
			if err := f.apply(c, &acc); err != nil {
				return err
			}
			var fresh secret.Secret
			if len(args) == 2 || password.given() {
				if fresh, err = a.newPassword(c.Context(), &password); err != nil {
					return err
				}
			}
			_, err = accounts.add(c.Context(), a, func(s authority.Service) (token.Account, error) { return addAccount(c.Context(), s, acc, fresh) })
			return err
		},
	}
	f.bind(a, c)
	password.bind(c, "password", "password")
	return c
}

// ownerAndStdin is the name of an account, and - for its password.
func ownerAndStdin(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return token.Errorf(token.ErrUsage, "NAME is missing")
	}
	return wantsStdin(nil, args[1:])
}

// addAccount adds an account with a password, or neither.
func addAccount(ctx context.Context, s authority.Accounts, acc token.Account, password secret.Secret) (token.Account, error) {
	acc, err := s.AddAccount(ctx, acc)
	if err != nil || password.IsZero() {
		return acc, err
	}
	if err := s.SetPassword(ctx, acc.Owner, secret.Secret{}, password); err != nil {
		if gone := s.DeleteAccount(context.WithoutCancel(ctx), acc.Owner); gone != nil {
			return acc, token.Errorf(token.ErrCannotTell, "%w; and the account %s is left without a password: %w", err, acc.Owner, gone)
		}
		return acc, err
	}
	return s.Account(ctx, acc.Owner)
}

func newAdminUserListCommand(a *app) *cobra.Command {
	var realm string
	c := &cobra.Command{
		Use:     "list",
		Short:   "List accounts",
		Long:    `List accounts, by realm and name.`,
		Example: `  tokenctl admin user list --realm local -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, render.Accounts(), s.ListAccounts(c.Context(), realm, token.Owner{}), "no accounts")
		},
	}
	c.Flags().StringVar(&realm, "realm", "", "only accounts of a realm")
	return c
}

func newAdminUserShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show an account",
		Long:              `Show an account: realm/name, or a bare name of the realm local.`,
		Example:           `  tokenctl admin user show alice`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeOwnerArgument,
		RunE:              accounts.show(a),
	}
}

func newAdminUserSetCommand(a *app) *cobra.Command {
	var f accountFlags
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Change an account",
		Long: `Change the properties that are named and leave the others. --role names all
roles that the account is to have; --role none takes them all away.`,
		Example: `  tokenctl admin user set alice --role deploy --role tokenctl:auditor`,
		Args:    exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error {
			if err := changesSomething(c); err != nil {
				return err
			}
			_, err := accounts.change(c.Context(), a, args[0], "changed", func(acc *token.Account) error { return f.apply(c, acc) })
			return err
		},
		ValidArgsFunction: a.completeOwnerArgument,
	}
	f.bind(a, c)
	return c
}

// changesSomething refuses a set without anything to set, which some flags are
// not.
func changesSomething(c *cobra.Command, not ...string) error {
	named := false
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { named = named || f.Changed && !slices.Contains(not, f.Name) })
	if named {
		return nil
	}
	return token.Errorf(token.ErrUsage, "nothing to change is named").WithHint("%s --help shows what can be", c.CommandPath())
}

func newAdminUserStatusCommand(a *app, verb, short string, disable bool) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " NAME",
		Short:             short,
		Long:              short + `. It takes effect at the next verification; the tokens themselves stay as they are.`,
		Example:           "  tokenctl admin user " + verb + " alice",
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeOwnerArgument,
		RunE: func(c *cobra.Command, args []string) error {
			_, err := accounts.change(c.Context(), a, args[0], verb+"d", func(acc *token.Account) error {
				acc.Disabled = disable
				return nil
			})
			return err
		},
	}
}

func newAdminUserDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove an account and revoke its tokens",
		Long: `Revoke all tokens of an account, then remove it. An account that is added
later under the same name does not get them back.`,
		Example:           `  tokenctl admin user delete alice --yes`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeOwnerArgument,
		RunE:              accounts.delete(a),
	}
}
