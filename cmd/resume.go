package cmd

import (
	"github.com/spf13/cobra"
)

func newResumeCommand(a *app) *cobra.Command {
	var t targets
	c := &cobra.Command{
		Use:   "resume TOKEN…",
		Short: "End a suspension",
		Long:  `Accept suspended tokens again, with the secrets that they had.`,
		Example: `  tokenctl resume ci-deploy
  tokenctl resume --status suspended --yes`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			found, err := t.find(ctx, a, s, args)
			if err != nil {
				return err
			}
			return t.change(ctx, a, s, found, "resume", "resumed", s.Resume)
		},
	}
	t.bind(a, c)
	return c
}
