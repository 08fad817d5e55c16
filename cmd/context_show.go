package cmd

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func newContextShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show [NAME]",
		Short: "Show a context",
		Long: `Show a context, without a name the current one. Of its credential it tells only
whether there is one, and where it is kept.`,
		Example: `  tokenctl context show
  tokenctl context show prod -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return token.Errorf(token.ErrUsage, "unexpected argument %q", args[1])
			}
			return nil
		},
		ValidArgsFunction: a.completeContexts,
		RunE: func(c *cobra.Command, args []string) error {
			list, err := a.shownContexts()
			if err != nil {
				return err
			}
			i := slices.IndexFunc(list, func(s shownContext) bool {
				return len(args) == 0 && s.current || len(args) == 1 && s.Name == args[0]
			})
			switch {
			case i >= 0:
				return answer(c.Context(), a, contextKind(), list[i])
			case len(args) == 0:
				return token.Errorf(token.ErrNotFound, "no context is the current one").WithHint("tokenctl context list shows them")
			}
			return token.Errorf(token.ErrNotFound, "there is no context %q", args[0]).WithHint("tokenctl context list shows them")
		},
	}
}
