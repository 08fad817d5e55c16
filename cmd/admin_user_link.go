package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newAdminUserLinkCommand(a *app) *cobra.Command {
	return newIdentityCommand(a, "link", authority.Accounts.LinkIdentity, &cobra.Command{
		Short: "Let an identity provider vouch for an account",
		Long: `Link a subject of an identity provider to an account: its JWTs stand for the
account from now on, whatever else the account logs in with. The subject is the
value of the claim that the provider is read by, as tokenctl admin idp test
shows it. An account may have several; a subject has one account.`,
		Example: `  tokenctl admin user link alice --idp corp --subject 00u1a2b3`,
	})
}

func newAdminUserUnlinkCommand(a *app) *cobra.Command {
	return newIdentityCommand(a, "unlink", authority.Accounts.UnlinkIdentity, &cobra.Command{
		Short: "End that an identity provider vouches for an account",
		Long: `End that the JWTs of a subject stand for an account. The roles that the provider
gave go with it; the account and its tokens stay.

A provider that is gone, or has another issuer by now, is named by its issuer.`,
		Example: `  tokenctl admin user unlink alice --idp corp --subject 00u1a2b3
  tokenctl admin user unlink alice --idp https://old.example.org --subject 00u1a2b3`,
	})
}

// newIdentityCommand completes a command that links a subject or ends a link.
func newIdentityCommand(a *app, verb string, change func(authority.Accounts, context.Context, token.Owner, string, string) (token.Account, error), c *cobra.Command) *cobra.Command {
	var provider, subject string
	c.Use, c.Args, c.ValidArgsFunction = verb+" OWNER", exactly("OWNER"), a.completeOwnerArgument
	c.Flags().StringVar(&provider, "idp", "", "the identity provider")
	c.Flags().StringVar(&subject, "subject", "", "whom it vouches for, as it names them")
	c.RegisterFlagCompletionFunc("idp", a.completeProviderFlag)
	c.RunE = func(c *cobra.Command, args []string) error {
		for _, flag := range []string{"idp", "subject"} {
			if !c.Flags().Changed(flag) {
				return token.Errorf(token.ErrUsage, "--%s is missing", flag)
			}
		}
		o, err := token.ParseOwner(args[0])
		if err != nil {
			return err
		}
		s, err := a.service(c.Context())
		if err != nil {
			return err
		}
		acc, err := change(s, c.Context(), o, provider, subject)
		if err != nil {
			return err
		}
		return accounts.tell(c.Context(), a, acc, verb+"ed")
	}
	return c
}
