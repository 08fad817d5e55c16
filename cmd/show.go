package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
)

func newShowCommand(a *app) *cobra.Command {
	var owner string
	c := &cobra.Command{
		Use:   "show TOKEN",
		Short: "Show one token",
		Long: `Show one token: an id, or the name of a live token of your own. Its secret is
not kept and cannot be shown.`,
		Example: `  tokenctl show ci-deploy
  tokenctl show 1k7q9v2mabcd3fgh -o json`,
		Args:              exactly("TOKEN"),
		ValidArgsFunction: a.completeTokens,
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			t, err := resolve(c.Context(), s, owner, args[0])
			if err != nil {
				return err
			}
			return answer(c.Context(), a, render.Tokens(), t)
		},
	}
	c.Flags().StringVar(&owner, "owner", "", "whose name it is (administrators and auditors)")
	c.RegisterFlagCompletionFunc("owner", a.completeOwners)
	return c
}
