package cmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
)

func newAdminCheckCommand(a *app) *cobra.Command {
	var deep bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the store",
		Long: `Read every token and check that it is whole and that the key file has its key;
with --deep also every index both ways and the audit log. Exit code 1 if
anything is wrong. Nothing is repaired.`,
		Example: `  tokenctl admin check --deep`,
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.existing(c.Context())
			if err != nil {
				return err
			}
			p := a.progress("checking the store", true)
			report, err := s.Check(c.Context(), deep)
			p.Done()
			if err != nil {
				return err
			}
			if err := answer(c.Context(), a, render.Object[authority.CheckReport](), report); err != nil {
				return err
			}
			if len(report.Problems) > 0 {
				return errDamage("the store has %d problems", len(report.Problems))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&deep, "deep", false, "also check every index and the audit log")
	return c
}

// errDamage is what a check has found: it worked, and the answer is bad.
func errDamage(format string, args ...any) error { return fmt.Errorf(format, args...) }
