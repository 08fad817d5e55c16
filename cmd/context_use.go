package cmd

import "github.com/spf13/cobra"

func newContextUseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "use NAME",
		Short:             "Make a context the current one",
		Long:              `Make a context the current one, in which all commands work from now on.`,
		Example:           `  tokenctl context use prod`,
		Args:              exactly("NAME"),
		ValidArgsFunction: a.completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			w, err := a.wallet()
			if err != nil {
				return err
			}
			if err := w.Use(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("the current context is now %s", args[0])
			return nil
		},
	}
}
