package cmd

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newRevokeCommand(a *app) *cobra.Command {
	var t targets
	var in secretInput
	var reason string
	var fromStdin bool
	c := &cobra.Command{
		Use:   "revoke TOKEN…",
		Short: "End tokens and keep a tombstone",
		Long: `End tokens for good, at once, and keep a tombstone that says when, by whom and
why. Name tokens, choose them by flags, or paste a secret that was found
somewhere with --secret-stdin: whoever has the secret may end it.`,
		Example: `  tokenctl revoke ci-deploy --reason "laptop lost"
  tokenctl revoke --kind refresh --unused-for 90d --yes
  tokenctl revoke --secret-stdin < leaked.txt`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			if fromStdin || in.given() {
				if len(args) > 0 || t.given() {
					return token.Errorf(token.ErrUsage, "a secret names its token: name or choose no other")
				}
				if fromStdin && in.given() {
					return token.Errorf(token.ErrUsage, "the secret is on standard input or elsewhere, not both")
				}
				return revokeSecret(ctx, a, &in, reason, t.dryRun)
			}
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			found, err := t.find(ctx, a, s, args)
			if err != nil {
				return err
			}
			return t.change(ctx, a, s, found, "revoke", "revoked", func(ctx context.Context, refs []token.Ref) error {
				return s.Revoke(ctx, refs, reason)
			})
		},
	}
	t.bind(a, c)
	in.bind(c, "secret", "secret")
	c.Flags().BoolVar(&fromStdin, "secret-stdin", false, "revoke the token whose secret is on standard input")
	c.Flags().StringVar(&reason, "reason", "", "why, for the tombstone and the audit log")
	return c
}

func revokeSecret(ctx context.Context, a *app, in *secretInput, reason string, dryRun bool) error {
	if dryRun {
		return token.Errorf(token.ErrUsage, "--dry-run does not go with a secret").WithHint("tokenctl admin explain says whose it is")
	}
	text, err := in.read(ctx, a)
	if err != nil {
		return err
	}
	if err := authority.CheckForm(text); err != nil {
		return err
	}
	s, err := a.existing(ctx)
	if err != nil {
		return err
	}
	tok, err := s.RevokeSecret(ctx, text, reason)
	if err != nil {
		return err
	}
	a.say("revoked the %s token %s of %s", tok.Kind, tok.ID, tok.Owner)
	if !a.settings.FormatSet() {
		return nil
	}
	return answer(ctx, a, render.Tokens(), tok)
}
