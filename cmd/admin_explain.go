package cmd

import (
	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
)

func newAdminExplainCommand(a *app) *cobra.Command {
	var in secretInput
	c := &cobra.Command{
		Use:   "explain [-]",
		Short: "Say why a credential is refused",
		Long: `Say why a credential from standard input is accepted or refused: expired when,
revoked by whom and why, suspended until when, owner disabled … Strangers never
learn this: to them all refusals are the same.`,
		Example: `  printf %s "$TOKEN" | tokenctl admin explain`,
		Args:    wantsStdin,
		RunE: func(c *cobra.Command, _ []string) error {
			text, err := in.read(c.Context(), a)
			if err != nil {
				return err
			}
			s, err := a.existing(c.Context())
			if err != nil {
				return err
			}
			e, err := s.Explain(c.Context(), text)
			if err != nil {
				return err
			}
			return answer(c.Context(), a, render.Explanations(), e)
		},
	}
	in.bind(c, "credential", "credential")
	return c
}
