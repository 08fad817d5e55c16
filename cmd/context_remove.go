package cmd

import "github.com/spf13/cobra"

func newContextRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a context",
		Long: `Remove a context, and its credential from this machine. The credential itself
goes on working: "tokenctl revoke" ends it.`,
		Example:           `  tokenctl context remove lab`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.wallet()
			if err != nil {
				return err
			}
			if err := w.Remove(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("removed the context %s", args[0])
			return nil
		},
	}
}
