package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/token"
)

func newDeleteCommand(a *app) *cobra.Command {
	var t targets
	c := &cobra.Command{
		Use:   "delete [TOKEN…]",
		Short: "Remove tokens",
		Long: `Remove tokens at once, without a tombstone; only the audit log remembers them.
Without an argument this is your own user token.`,
		Example: `  tokenctl delete
  tokenctl delete ci-deploy --yes`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			var found []token.Token
			if len(args) == 0 && !t.choosesBeyondOwner() {
				t.named = true
				found, err = ownUserToken(ctx, s, t.owner)
			} else {
				found, err = t.find(ctx, a, s, args)
			}
			if err != nil {
				return err
			}
			return t.change(ctx, a, s, found, "delete", "deleted", s.Delete)
		},
	}
	t.bind(a, c)
	return c
}

// ownUserToken is the user token of the owner (empty: the caller).
func ownUserToken(ctx context.Context, s tokensAndMe, owner string) ([]token.Token, error) {
	o, err := ownerOrMe(ctx, s, owner)
	if err != nil {
		return nil, err
	}
	for t, err := range s.List(ctx, token.Selector{Kind: token.User, Owner: o}) {
		return []token.Token{t}, err
	}
	return nil, token.Errorf(token.ErrNotFound, "%s has no user token", o).WithHint("tokenctl generate makes one")
}
