package cmd

import (
	"context"
	"iter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newListCommand(a *app) *cobra.Command {
	var sel selectorFlags
	var ended, services bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List tokens",
		Long: `List your own live tokens, or with --all-owners, --owner or --realm those of
others. Secrets are not shown: they are not kept. Lists are written while they
are read; -o jsonl and -o csv begin before the last token was read.

With --services it lists the services that are enabled, each with your password
for it or none; --owner names somebody else.`,
		Example: `  tokenctl list
  tokenctl list --all-owners --unused-for 90d -o csv
  tokenctl list --kind refresh --jq '.[].name'
  tokenctl list --services`,
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
			if services {
				if chosen.Owner.IsZero() || sel.choosesBeyondOwner() || ended {
					return token.Errorf(token.ErrUsage, "--services goes with no other selector than --owner")
				}
				return answerList(ctx, a, render.ServiceSlots(), serviceSlots(ctx, s, chosen.Owner), "no services")
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
	c.Flags().BoolVar(&services, "services", false, "the enabled services, with the password for each or none")
	return c
}

// serviceSlots are the enabled services with an owner's token for each, if there
// is one.
func serviceSlots(ctx context.Context, s authority.Service, o token.Owner) iter.Seq2[render.ServiceSlot, error] {
	return func(yield func(render.ServiceSlot, error) bool) {
		held := map[string]token.Token{}
		for t, err := range s.List(ctx, token.Selector{Kind: token.Service, Owner: o}) {
			if err != nil {
				yield(render.ServiceSlot{}, err)
				return
			}
			held[t.Service] = t
		}
		for svc, err := range s.ListServices(ctx) {
			if err == nil && !svc.Enabled {
				continue
			}
			if !yield(render.ServiceSlot{Service: svc, Token: held[svc.Name]}, err) || err != nil {
				return
			}
		}
	}
}
