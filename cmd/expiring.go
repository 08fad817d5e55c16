package cmd

import (
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newExpiringCommand(a *app) *cobra.Command {
	var sel selectorFlags
	var within string
	c := &cobra.Command{
		Use:   "expiring",
		Short: "List tokens that expire soon",
		Long: `List your own live tokens that expire within a time, two weeks unless said
otherwise, chosen by the same flags as those of "tokenctl list". The exit code
is 0 when there are none and 3 when there are some.`,
		Example: `  tokenctl expiring
  tokenctl expiring --within 30d --kind refresh -o name
  tokenctl expiring --quiet || echo "renew them"`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx := c.Context()
			if c.Flags().Changed("expires-within") {
				return token.Errorf(token.ErrUsage, "--expires-within is --within here")
			}
			now := time.Now()
			before, err := parseTime(within, now, true)
			if err != nil {
				return token.Errorf(token.ErrUsage, "--within: %w", err).WithHint("write a time such as 14d, or a date")
			}
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			me, err := s.WhoAmI(ctx)
			if err != nil {
				return err
			}
			chosen, err := sel.selector(me.Owner, now)
			if err != nil {
				return err
			}
			chosen.ExpiresBefore = before
			kind := render.Tokens()
			if chosen.Owner == me.Owner {
				kind = kind.Without("OWNER")
			}
			some := false
			if err := answerList(ctx, a, kind, noting(&some, s.List(ctx, chosen)), "nothing expires within "+within); err != nil {
				return err
			}
			if some {
				return errQuietly
			}
			return nil
		},
	}
	sel.bind(a, c)
	c.Flags().MarkHidden("expires-within")
	c.Flags().StringVar(&within, "within", "14d", "how soon, such as 14d")
	return c
}

// noting sets some when a value goes by.
func noting[T any](some *bool, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for v, err := range list {
			*some = *some || err == nil
			if !yield(v, err) {
				return
			}
		}
	}
}
