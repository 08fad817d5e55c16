package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminIdpCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "idp",
		Short: "Identity providers whose JWTs are accepted",
		Long: `An identity provider is an external issuer whose JWTs are accepted beside our
own tokens: a company's log-in, or the system that runs CI jobs. A JWT stands
for the account that its subject is linked to (tokenctl admin user link), or,
where that is allowed, for the subject itself: NAME/SUBJECT.`,
		Example: `  tokenctl admin idp add corp --issuer https://id.example.org --audience tokenctl
  tokenctl admin idp test --jwt-file sample.jwt`,
	}
	asGroup(c)
	c.AddCommand(
		newAdminIdpAddCommand(a), newAdminIdpListCommand(a), newAdminIdpShowCommand(a), newAdminIdpSetCommand(a),
		newAdminIdpDeleteCommand(a), newAdminIdpTestCommand(a),
	)
	return c
}

func newAdminIdpListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List identity providers",
		Long:    `List identity providers, by name, disabled ones too.`,
		Example: `  tokenctl admin idp list -o wide`,
		Args:    noArguments,
		RunE:    providers.showAll(a),
	}
}

func newAdminIdpShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "Show an identity provider",
		Long:              `Show an identity provider.`,
		Example:           `  tokenctl admin idp show corp`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeProviders,
		RunE:              providers.show(a),
	}
}

func newAdminIdpSetCommand(a *app) *cobra.Command {
	var f providerFlags
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Change an identity provider",
		Long: `Change the properties that are named and leave the others. A flag that may be
repeated names all that there are to be from now on; none alone takes them all
away, as it does with --jwks-url, --role-claim and --client-id. What --require
names counts for JWTs that come from now on.

With --disabled its JWTs, and the access tokens that came of them, are refused
at once; --disabled=false accepts them again. Tokens that somebody has made after
a log-in with it stay: tokenctl revoke --all-owners --realm NAME ends those of its
own owners. If its issuer or its keys change, it is asked about itself as by
tokenctl admin idp add.`,
		Example: `  tokenctl admin idp set corp --audience tokenctl --audience tokenctl-ci
  tokenctl admin idp set corp --certificate new.pem --certificate old.pem
  tokenctl admin idp set corp --disabled`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeProviders,
		RunE: func(c *cobra.Command, args []string) error {
			if err := changesSomething(c, "no-check"); err != nil {
				return err
			}
			p, err := providers.change(c.Context(), a, args[0], "changed", func(p *token.Provider) error { return f.apply(c, p) })
			changed := c.Flags().Changed
			if err == nil && changed("disabled") && p.Disabled {
				a.say("tokens made after log-ins with it stay; to end those of its own owners: tokenctl revoke --all-owners --realm %s", p.Name)
			}
			if err == nil && (changed("issuer") || changed("jwks-url") || changed("certificate")) {
				f.ask(c.Context(), a, &p)
			}
			return err
		},
	}
	f.bind(a, c)
	return c
}

func newAdminIdpDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove an identity provider",
		Long: `Remove an identity provider in whose realm there are no accounts. Its JWTs, and
the access tokens that came of them, are refused at once.`,
		Example:           `  tokenctl admin idp delete corp --yes`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeProviders,
		RunE:              providers.delete(a),
	}
}

// completeProviders offers the identity providers.
func (a *app) completeProviders(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 && c.ValidArgsFunction != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.providerCandidates(c)
}

// completeProviderFlag offers them for a flag, whatever arguments there are.
func (a *app) completeProviderFlag(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.providerCandidates(c)
}

func (a *app) providerCandidates(c *cobra.Command) ([]string, cobra.ShellCompDirective) {
	return a.candidates(c, func(ctx context.Context, s authority.Service) (list []string) {
		for p, err := range s.ListProviders(ctx) {
			if err != nil || len(list) >= completeMost {
				break
			}
			list = append(list, described(p.Name, p.Issuer))
		}
		return list
	})
}
