package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
)

func newAdminStatsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "stats",
		Short:   "Count what is in the store",
		Long:    `Count tokens by kind, status and realm, accounts, connections and audit entries.`,
		Example: `  tokenctl admin stats -o json`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.service(c.Context())
			if err != nil {
				return err
			}
			p := a.progress("counting", true)
			stats, err := s.Stats(c.Context())
			p.Done()
			if err != nil {
				return err
			}
			return answer(c.Context(), a, render.Object[authority.Stats](), stats)
		},
	}
}
