package cmd

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/tokenctl/tokenctl/pkg/authority"
	"github.com/tokenctl/tokenctl/pkg/render"
	"github.com/tokenctl/tokenctl/pkg/token"
)

func newRotateCommand(a *app) *cobra.Command {
	var t targets
	var h handover
	var grace string
	var untilUsed bool
	c := &cobra.Command{
		Use:   "rotate TOKEN…",
		Short: "Give a token a new secret",
		Long: `Give a token a new secret; its id, name, roles and expiry stay. The old secret
ends at once, or goes on working for --grace, or until the new one is first
used. Several tokens come one to a line; each secret holds its token's id, but
for passwords of services, which need -o jsonl or the like.`,
		Example: `  tokenctl rotate ci-deploy --grace 24h
  tokenctl rotate 1k7q9v2mabcd3fgh --until-used`,
		RunE: func(c *cobra.Command, args []string) error {
			ctx := c.Context()
			r := authority.Rotation{UntilUsed: untilUsed}
			if grace != "" {
				var err error
				if r.Grace, err = token.ParseDuration(grace); err != nil {
					return err
				}
			}
			if !t.dryRun {
				if err := readyToShow(a, &h, render.Issued()); err != nil {
					return err
				}
			}
			s, err := a.service(ctx)
			if err != nil {
				return err
			}
			found, err := t.find(ctx, a, s, args)
			if err != nil {
				return err
			}
			if t.dryRun {
				return answerList(ctx, a, render.Tokens(), all(found), "")
			}
			if len(found) > 1 && (h.file != "" || h.copy != "") {
				return token.Errorf(token.ErrUsage, "--output-file and --copy take one token, not %d", len(found))
			}
			if f, _ := a.settings.Format(); len(found) > 1 && (f == render.JSON || f == render.YAML) {
				return token.Errorf(token.ErrUsage, "-o %s takes one token, not %d", f, len(found)).WithHint("-o jsonl writes them one after the other, as each is rotated")
			}
			if len(found) > 1 && !a.settings.FormatSet() && slices.ContainsFunc(found, func(tok token.Token) bool { return tok.Kind == token.Service }) {
				return token.Errorf(token.ErrUsage, "passwords of services do not say whose they are, and %d come one to a line", len(found)).
					WithHint("-o jsonl writes each with its token")
			}
			if err := t.ask(ctx, a, found, "rotate"); err != nil {
				return err
			}
			for _, tok := range found {
				issued, err := s.Rotate(ctx, tok.Ref(), r)
				if err != nil {
					return err
				}
				if err := a.handOver(ctx, s, &h, issued); err != nil {
					return err
				}
			}
			return nil
		},
	}
	t.bind(a, c)
	h.bind(c, "pass", "code", "pair")
	c.Flags().StringVar(&grace, "grace", "", "how long the old secret goes on working, such as 24h")
	c.Flags().BoolVar(&untilUsed, "until-used", false, "the old secret works until the new one is first used")
	return c
}
