package cmd

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
)

func newListCommand(a *app) *cobra.Command {
	var sel selectorFlags
	var ended bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Long: `List your own live tokens, or with --all-owners, --owner or --realm those of
others. Secrets are not shown: they are not kept. Lists are written while they
are read; -o jsonl and -o csv begin before the last token was read.`,
		Example: `  tokenctl list
  tokenctl list --all-owners --unused-for 90d -o csv
  tokenctl list --kind refresh --jq '.[].name'`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			me, err := s.WhoAmI(ctx)
			if err != nil {
				return err
			}
			chosen, err := sel.selector(me.Owner, time.Now())
			if err != nil {
				return err
			}
			chosen.Ended = ended
			kind := render.Tokens()
			if ended {
				kind = kind.With("REVOKED", "REASON")
			}
			if chosen.Owner == me.Owner {
				kind = kind.Without("OWNER")
			}
			return answerList(ctx, a, kind, s.List(ctx, chosen), "no tokens")
		},
	}
	sel.bind(a, c)
	c.Flags().BoolVar(&ended, "all", false, "also expired and revoked ones")
	return c
}
