package cmd

import "github.com/spf13/cobra"

func newContextListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List contexts",
		Long:    `List the contexts of this machine; a star marks the current one.`,
		Example: `  tokenctl context list -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			list, err := a.shownContexts()
			if err != nil {
				return err
			}
			return answerList(c.Context(), a, contextKind(), all(list), "no contexts")
		},
	}
}
