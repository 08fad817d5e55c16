package cmd

import "github.com/spf13/cobra"

func newSavedRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a saved refresh token from this machine",
		Long: `Remove a refresh token from what this machine keeps, of the server or store that
you work with; --server or --store name another, as "tokenctl saved list" shows
it, which need not be there any more. The token itself goes on working:
"tokenctl revoke" ends it.`,
		Example: `  tokenctl saved remove ci-deploy
  tokenctl saved remove ci-deploy --server https://old.example.org`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeSaved,
		RunE: func(c *cobra.Command, args []string) error {
			w, place, err := a.keeper(args[0])
			if err != nil {
				return err
			}
			if err := w.Forget(c.Context(), place, args[0]); err != nil {
				return err
			}
			a.say("removed the saved refresh token %s", args[0])
			return nil
		},
	}
}
