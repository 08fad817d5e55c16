package cmd

import "github.com/spf13/cobra"

func newSavedListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List saved refresh tokens",
		Long: `List the refresh tokens that this machine keeps, by name, of all servers and
stores. The tokens themselves are not shown, and nobody is asked about them.`,
		Example: `  tokenctl saved list -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			w, err := a.wallet()
			if err != nil {
				return err
			}
			list, err := w.AllSaved()
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, savedKind(), all(list), "no saved refresh tokens")
		},
	}
}
