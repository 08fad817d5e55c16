package cmd

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func newSuspendCommand(a *app) *cobra.Command {
	var t targets
	var until string
	c := &cobra.Command{
		Use:   "suspend TOKEN…",
		Short: "Refuse tokens for a while",
		Long: `Refuse tokens at once, until a time or until "tokenctl resume". Their secrets
stay as they are.`,
		Example: `  tokenctl suspend ci-deploy
  tokenctl suspend --kind refresh --name 'ci-*' --until 2027-01-02 --yes`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			end, err := untilTime(until)
			if err != nil {
				return err
			}
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			found, err := t.find(ctx, a, s, args)
			if err != nil {
				return err
			}
			return t.change(ctx, a, s, found, "suspend", "suspended", func(ctx context.Context, refs []token.Ref) error {
				return s.Suspend(ctx, refs, end)
			})
		},
	}
	t.bind(a, c)
	c.Flags().StringVar(&until, "until", "", "resume by itself at a time, or after a while such as 12h")
	return c
}

// untilTime reads the --until of a suspension: nothing is until resumed.
func untilTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := parseTime(text, time.Now(), true)
	if err != nil {
		return t, token.Errorf(token.ErrUsage, "--until: %w", err).WithHint("write 2026-01-31T12:00:00Z, 2026-01-31 (UTC), or a distance such as 12h")
	}
	return t, nil
}
