package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
)

func newWhoamiCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "whoami",
		Short: "Show who you are",
		Long: `Show who you are where the tokens are, and with which roles: on a local file by
your operating-system user, at a server by the credential in use.`,
		Example: `  tokenctl whoami
  tokenctl whoami --context prod -o json`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			me, err := s.WhoAmI(c.Context())
			if err != nil {
				return err
			}
			return answer(c.Context(), a, render.Identities(), me)
		},
	}
}
